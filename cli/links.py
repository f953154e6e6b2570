"""How a person gets into the pages: a link that works once, printed, or given to a browser that is started."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
import webbrowser
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import httpx
from rich.console import Console

from pages.login import invitation, is_proof
from ratchet import git
from ratchet.errors import BadInput
from ratchet.settings import Settings, read_secret

READ_WITHIN_S = 5.0  # a browser has read the file of the link by then
SECRET = "pages"  # noqa: S105 - its name


def person_named(settings: Settings, given: str | None) -> str:
    """Who the pages take this person for: as given, or git's user.name.

    Raises:
        BadInput: a name that cannot be shown.
    """
    name = given if given is not None else git.identity(settings.repo)[0]
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise BadInput("--as needs a name of 1 to 100 printable characters")
    return name.strip()


def link_to(settings: Settings, address: str, person: str, path: str = "/") -> str:
    """A link that logs a person in once, within ten minutes, and leads to a page."""
    token = invitation(read_secret(settings, SECRET), person, datetime.now(UTC))
    return f"{address}/login{'' if path == '/' else f'?to={quote(path)}'}#{token}"


def is_running(settings: Settings) -> bool:
    """Whether the pages of this RATCHET_HOME answer at their address, and not something else that listens there."""
    challenge = secrets.token_hex(16)
    try:
        answer = httpx.get(f"{settings.pages_url}/healthz/{challenge}", timeout=3, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and is_proof(read_secret(settings, SECRET), challenge, answer.text)


def hand_out(settings: Settings, person: str, path: str, *, is_shown: bool) -> None:
    """Tell a person the way into the pages that are served already, and open it where there is a screen."""
    link = link_to(settings, settings.pages_url, person, path)
    tell(f"open {link}\n  it works once, within ten minutes")
    if is_shown:
        with shown_in_browser(settings.home, link) as is_open:
            time.sleep(READ_WITHIN_S if is_open else 0)


def tell(text: str) -> None:
    """Say something to the person at the terminal, beside what a command prints for programs."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


@contextlib.contextmanager
def shown_in_browser(home: Path, link: str) -> Iterator[bool]:
    """Open a link where there is a screen, by a file that only this user reads, for as long as the block lasts.

    Everybody on this machine sees what a browser is started with, and the link holds the token.
    """
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        yield False
        return
    path = home / "review" / f"open-{os.getpid()}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as page:
        page.write(f'<!doctype html><meta http-equiv="refresh" content="0;url={link}"><title>Ratchet</title>')
    try:
        # In a thread: a browser of the terminal returns when it is closed, and needs the server until then.
        threading.Thread(target=webbrowser.open, args=(path.as_uri(),), daemon=True).start()
        yield True
    finally:
        path.unlink(missing_ok=True)
