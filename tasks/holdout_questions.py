"""What holdout and showcase ask, read without what they expect: curate keeps its examples away from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from ratchet.errors import BadInput, BadRecord
from ratchet.files import read_json
from ratchet.questions import question_text
from ratchet.records import MAX_LINE_BYTES


def read_questions(folder: Path, feature: str) -> list[str]:
    """The questions of holdout and showcase, each as `question_text` gives it.

    Raises:
        BadInput: there is no holdout.
        BadRecord: a malformed line.
    """
    holdout = folder / "holdout.jsonl"
    if not holdout.is_file():
        raise BadInput(f"{holdout} is missing; make it with `ratchet holdout add {feature} FILE`")
    showcase = folder / "showcase.jsonl"
    return [text for path in (holdout, showcase) if path.is_file() for text in questions_in(path)]


def read_cut(folder: Path) -> datetime | None:
    """When the holdout was labelled; None where nobody wrote it down.

    Raises:
        BadRecord: meta.json is malformed.
    """
    path = folder / "meta.json"
    if not path.is_file():
        return None
    try:
        cut = datetime.fromisoformat(read_json(path)["labelled_at"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadRecord(f'{path}: needs {{"labelled_at": a time such as "2026-01-05T10:00:00+00:00"}}') from error
    if cut.tzinfo is None:
        raise BadRecord(f"{path}: labelled_at needs a time zone")
    return cut


def questions_in(path: Path) -> Iterator[str]:
    """The question of each line of a JSONL file of "text" or "messages"; what is expected is not looked at.

    Raises:
        BadRecord: a malformed line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), start=1):
            if line.strip():
                try:
                    row = json.loads(line, object_pairs_hook=_without_answer)
                    messages = row.get("messages") or [{"role": "user", "content": row["text"]}]
                    yield question_text(messages, row.get("variables") or {})
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    raise BadRecord(f'{path.name}:{number}: needs "text" or "messages"') from error


def _without_answer(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if name != "expected"}
