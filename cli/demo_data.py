"""What the demo replays: the bundled feature's messages, or a split of the user's own."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cli.feature import make_feature
from cli.session import Session, console
from ratchet.errors import BadInput, BadRecord
from ratchet.features import feature_names
from ratchet.files import write_whole
from ratchet.records import Rejected, read_jsonl
from tasks.new_feature import NAME, Label

PER_ROUTE = {"traffic": 40, "holdout": 25, "later": 10, "showcase": 3}
FEWEST = 12
Row = tuple[str, str]


class DemoData(NamedTuple):
    """The feature and the files of its customers' messages."""

    feature: str
    traffic: Path
    later: Path
    holdout: Path
    showcase: Path


def bundled(session: Session) -> DemoData:
    """The bundled feature support_routing."""
    folder = session.settings.repo / "data" / "demo" / "support_routing"
    held = folder / "holdout"
    return DemoData(
        "support_routing",
        folder / "traffic.jsonl",
        folder / "later.jsonl",
        held / "holdout.jsonl",
        held / "showcase.jsonl",
    )


def from_source(session: Session, source: Path, routes: int) -> DemoData:
    """Split the user's labelled messages and make a feature of them, once.

    A folder with train.jsonl and test.jsonl keeps its split: the holdout comes from test only. Everything else is
    split at random (seeded). Routes with fewer than a dozen messages are left out.

    Raises:
        BadInput: no such file, or fewer than two usable routes.
    """
    name = _feature_name(source)
    folder = session.settings.home / "demo" / name
    data = DemoData(name, *(folder / f"{part}.jsonl" for part in ("traffic", "later", "holdout", "showcase")))
    if data.showcase.exists():
        return data
    train, test = _read_source(source)
    counts = Counter(label for _, label in train)
    chosen = [label for label, count in sorted(counts.items(), key=lambda x: (-x[1], x[0])) if count >= FEWEST][:routes]
    if len(chosen) < 2:
        raise BadInput(f"{source}: {len(chosen)} labels have {FEWEST} messages or more; two are needed")
    parts = split(train, test, chosen)
    for part, rows in parts.items():
        key = "expected" if part in ("holdout", "showcase") else "label"
        lines = [_line(part, i, text, key, label) for i, (text, label) in enumerate(rows)]
        write_whole(folder / f"{part}.jsonl", "".join(lines))
    told = ", ".join(f"{len(rows)} {part}" for part, rows in parts.items())
    origin = "traffic and later from train, holdout and showcase from test" if test else "at random, seeded"
    console.print(
        f"{source}: {len(chosen)} most frequent of {len(counts)} labels; split {origin}: {told}", markup=False
    )
    if name not in feature_names(session.settings.repo):
        make_feature(session, name, source="support_routing", labels=[Label(label) for label in chosen])
    return data


def split(train: list[Row], test: list[Row], labels: list[str]) -> dict[str, list[Row]]:
    """Draw each part per label without overlap, then mix the order. Deterministic."""
    draw = random.Random(17)
    parts: dict[str, list[Row]] = {part: [] for part in PER_ROUTE}
    for label in labels:
        pools = {False: [r for r in train if r[1] == label], True: [r for r in test if r[1] == label]}
        for pool in pools.values():
            draw.shuffle(pool)
        share = 1.0 if test else min(1.0, len(pools[False]) / sum(PER_ROUTE.values()))
        for part, most in PER_ROUTE.items():
            pool = pools[bool(test) and part in ("holdout", "showcase")]
            taken = pool[: max(1, int(most * share))]
            parts[part] += taken
            del pool[: len(taken)]
    for rows in parts.values():
        draw.shuffle(rows)
    return parts


def _read_source(source: Path) -> tuple[list[Row], list[Row]]:
    if source.is_dir():
        train, test = source / "train.jsonl", source / "test.jsonl"
        if train.is_file():
            return _unique(_rows(train)), _unique(_rows(test)) if test.is_file() else []
        files = sorted(source.glob("*.jsonl"))
        if not files:
            raise BadInput(f'{source} holds no .jsonl file; give JSONL of {{"text","label"}}')
        return _unique(row for file in files for row in _rows(file)), []
    if not source.is_file():
        raise BadInput(f"{source}: no such file or folder")
    return _unique(_rows(source)), []


def _rows(path: Path) -> Iterable[Row]:
    for where, row in read_jsonl(path):
        if isinstance(row, Rejected):
            raise BadRecord(f"{where}: {row.reason}")
        text, label = row.get("text"), row.get("label")
        if not isinstance(text, str) or not isinstance(label, str) or not text.strip() or not label.strip():
            raise BadRecord(f'{where}: needs "text" and "label", both non-empty texts')
        yield text.strip(), label.strip()


def _unique(rows: Iterable[Row]) -> list[Row]:
    """Each text once; a text with two labels is left out."""
    labels: dict[str, set[str]] = {}
    texts: dict[str, Row] = {}
    for text, label in rows:
        labels.setdefault(text.casefold(), set()).add(label)
        texts.setdefault(text.casefold(), (text, label))
    return [texts[key] for key, found in labels.items() if len(found) == 1]


def _line(part: str, number: int, text: str, key: str, label: str) -> str:
    row = {"text": text, key: label}
    if key == "label":
        row |= {"session": f"{part}-{number:04d}", "user": f"{part}-user-{number:04d}"}
    return json.dumps(row, ensure_ascii=False) + "\n"


def _feature_name(source: Path) -> str:
    stem = source.resolve().stem if source.is_file() else source.resolve().name
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in stem.lower()).strip("_")[:40]
    name = name if NAME.fullmatch(name) else f"routes_{name}"[:40].rstrip("_")
    return name
