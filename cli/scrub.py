"""`ratchet scrub`: personal data out of a JSONL file, as harvest takes it out of records."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from cli.records import bar
from cli.session import console
from ratchet.errors import BadInput
from ratchet.features import Privacy, load_feature
from ratchet.pii import replace_spans
from ratchet.records import Rejected, read_jsonl
from ratchet.settings import Settings, read_secret
from tasks.ner import Detector, find_all, load_detector

CHUNK = 256


class Row(NamedTuple):
    """A row of the file: its text, or why it has none."""

    where: str
    text: str | None
    scope: str
    error: str | None = None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("scrub")(scrub_)


def scrub_(
    file: Annotated[Path, typer.Argument(help="JSONL, an object a line")],
    field: Annotated[str, typer.Option(help="the field that holds the text")] = "text",
    feature: Annotated[str | None, typer.Option(help="the feature whose privacy policy holds")] = None,
    names: Annotated[bool, typer.Option("--ner/--no-ner", help="look for names too (loads the model)")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="print a row of JSON for each row of the file")] = False,
) -> None:
    """Replace personal data in the texts of a file by pseudonyms, and say what was replaced where.

    With --json, a row out for each row in: {"text", "replaced": [{"type", "start", "end"}]}, places in characters of
    the input; {"error"} for a row that holds no text. Pseudonyms are the same inside a `session_id`, else inside a row.
    Example: [bold]ratchet scrub questions.jsonl --field question --json > clean.jsonl[/bold]
    """
    if not file.is_file():
        raise BadInput(f"{file}: no such file")
    settings = Settings.from_env()
    privacy = load_feature(settings.repo, feature).privacy if feature else Privacy()
    detector = load_detector(privacy, with_names=names)
    key = bytes.fromhex(read_secret(settings, "pseudonyms"))
    counts: Counter[str] = Counter()
    n_rows = n_errors = 0
    rows = _rows(file, field)
    with bar() as progress:
        task = progress.add_task(file.name, total=None)
        while chunk := list(itertools.islice(rows, CHUNK)):
            for fact in _scrub(chunk, detector, key):
                n_rows += 1
                n_errors += "error" in fact
                counts.update(span["type"] for span in fact.get("replaced", ()))
                if as_json:
                    typer.echo(json.dumps(fact, ensure_ascii=False))
            progress.update(task, completed=n_rows)
    if not as_json:
        found = ", ".join(f"{count} x {kind}" for kind, count in sorted(counts.items())) or "nothing"
        console.print(f"{file}: {n_rows} rows, {n_errors} without a text; found {found}", markup=False)
    if n_errors == n_rows:
        raise BadInput(f"no row of {file} has a text in the field {field!r}; name it with --field")


def _rows(file: Path, field: str) -> Iterator[Row]:
    for where, row in read_jsonl(file):
        if isinstance(row, Rejected):
            yield Row(where, None, where, row.reason)
        elif not isinstance(row.get(field), str):
            yield Row(where, None, where, f"no text in the field {field!r}")
        else:
            yield Row(where, row[field], str(row.get("session_id") or where))


def _scrub(rows: list[Row], detector: Detector, key: bytes) -> Iterator[dict[str, Any]]:
    found = iter(find_all(detector, [row.text for row in rows if row.text is not None]))
    for row in rows:
        if row.text is None:
            yield {"error": f"{row.where}: {row.error}"}
            continue
        spans = next(found)
        yield {
            "text": replace_spans(row.text, spans, key=key, scope=row.scope),
            "replaced": [span._asdict() for span in spans],
        }
