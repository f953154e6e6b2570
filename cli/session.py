"""What a command opens - settings, store, ledger, channels, releases - and how it prints facts."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console

from ratchet.channels import Channels
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.settings import Settings
from ratchet.store import Store, open_store

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
STEERING = re.compile("[\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # JSON itself escapes those below a space
Json = Annotated[bool, typer.Option("--json", help="print the facts as one JSON object")]


@dataclass(frozen=True)
class Session:
    """The open parts that a command works on."""

    settings: Settings
    store: Store
    ledger: Ledger
    channels: Channels
    releases: ReleaseStore


@contextmanager
def open_session() -> Iterator[Session]:
    """Open the parts, close the store at the end of the block."""
    settings = Settings.from_env()
    with open_store(settings.database_url) as store:
        yield Session(
            settings,
            store,
            Ledger(store.engine),
            Channels.of(settings),
            ReleaseStore.of(settings),
        )


def print_json(facts: Any) -> None:
    """Print facts for programs; what could steer a terminal is escaped, as JSON allows."""
    text = json.dumps(facts, indent=2, sort_keys=True, ensure_ascii=False, default=str)
    typer.echo(STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def neutral(text: str, limit: int = 300) -> str:
    """Text from outside made safe for a terminal: no control characters, no markup, bounded."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return (plain[: limit - 1] + "…" if len(plain) > limit else plain).replace("[", "\\[")


def short(release_id: str | None) -> str:
    """A release id as people read it."""
    return release_id[:16] if release_id else "-"
