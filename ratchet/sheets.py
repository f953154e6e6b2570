"""A review queue as a file for people: CSV for a spreadsheet or JSONL, with a column `decision` to fill in.

A cell that a spreadsheet would take for a formula gets an apostrophe in front, which is taken away on the way in.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ratchet.errors import BadInput
from ratchet.files import write_whole
from ratchet.records import MAX_LINE_BYTES, Rejected, read_jsonl
from ratchet.review import LONGEST_DECISION, ORIGIN, Item

COLUMNS = ("item_id", "interaction_id", "reason", "conversation", "contexts", "answer", "suggestions", "decision")
BLIND_COLUMNS = ("item_id", "conversation", "contexts", "decision")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # OWASP, "CSV Injection"
NEEDS = "item_id and decision"

Decide = Callable[[dict[str, Any]], bool]


@dataclass
class SheetReport:
    """What became of a file's rows: rows = stored + known + empty + rejected."""

    rows: int = 0
    stored: int = 0
    known: int = 0
    empty: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    refusals: list[Rejected] = field(default_factory=list)


def write_sheet(path: Path, items: Iterable[Item], *, is_blind: bool) -> int:
    """Write items for somebody to decide, `decision` empty; returns how many.

    Raises:
        BadInput: the file's name ends neither with .csv nor with .jsonl.
    """
    rows = [_row(item, is_blind=is_blind) for item in items]
    if _kind(path) == ".jsonl":
        write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return len(rows)
    columns = BLIND_COLUMNS if is_blind else COLUMNS
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow(columns)
    table.writerows([guard_cell(_cell(row, column)) for column in columns] for row in rows)
    write_whole(path, out.getvalue().encode("utf-8-sig"))  # the mark tells a spreadsheet that it is UTF-8
    return len(rows)


def read_decisions(path: Path, decide: Decide) -> SheetReport:
    """Take each row that has a decision; a bad row is counted by its reason and the rest goes on.

    Args:
        decide: called with a row; False where it said nothing new, BadInput where the decision cannot be used.

    Raises:
        BadInput: no such file, neither CSV nor JSONL, not UTF-8, or without the columns.
    """
    report, ids = SheetReport(), set()
    for where, row in _rows(path):
        report.rows += 1
        reason, record_id = "", None
        if isinstance(row, Rejected):
            reason, record_id = row.reason, row.record_id
        else:
            record_id = row["item_id"]
            if row["decision"] in (None, ""):
                report.empty += 1
                continue
            reason = "the item stands twice in the file" if record_id in ids else _taken(decide, row, report)
            ids.add(record_id)
        if reason:
            report.rejected[reason] += 1
            report.refusals.append(Rejected(where, reason, record_id))
    if report.rows != report.stored + report.known + report.empty + report.rejected.total():
        raise AssertionError(f"{report.rows} rows of {path} do not add up")
    return report


def guard_cell(text: str) -> str:
    """The text with an apostrophe in front where a spreadsheet would compute it; `unguard_cell` takes it away."""
    is_guarded = text.startswith("'") and text[1:].startswith((*FORMULA, "'"))
    return f"'{text}" if text.startswith(FORMULA) or is_guarded else text


def unguard_cell(text: str) -> str:
    """What a guarded cell says; any other text is as it was."""
    return text[1:] if text.startswith("'") and text[1:].startswith((*FORMULA, "'")) else text


def _taken(decide: Decide, row: dict[str, Any], report: SheetReport) -> str:
    try:
        if decide(row):
            report.stored += 1
        else:
            report.known += 1
    except BadInput as error:
        return str(error)
    return ""


def _row(item: Item, *, is_blind: bool) -> dict[str, Any]:
    blind = {"item_id", "messages", "contexts", "variables"}
    return {**item.model_dump(mode="json", include=blind if is_blind else None, exclude=set(ORIGIN)), "decision": None}


def _cell(row: dict[str, Any], column: str) -> str:
    if column == "conversation":
        return "\n\n".join(f"{m['role']}: {m['content']}" for m in row["messages"])
    if column == "contexts":
        return "\n\n".join(f"{c['id']}: {c['text']}" for c in row["contexts"])
    if column == "suggestions":
        said = (f"{s['target']} (weight {s['weight']:.2g}, sources {s['sources']})" for s in row["suggestions"])
        return "\n".join(said)
    return str(row["output" if column == "answer" else column] or "")


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | Rejected]]:
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    if _kind(path) == ".csv":
        yield from _csv_rows(path)
        return
    for where, row in read_jsonl(path):
        yield where, row if isinstance(row, Rejected) else _checked(row, where)


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | Rejected]]:
    csv.field_size_limit(MAX_LINE_BYTES)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline(MAX_LINE_BYTES)
            delimiter = max(",;\t", key=head.count)  # some spreadsheets write semicolons
            file.seek(0)
            table = csv.DictReader(file, delimiter=delimiter)
            if not {"item_id", "decision"} <= set(table.fieldnames or ()):
                raise BadInput(f"{path}: the columns {NEEDS} are needed, as `ratchet review --export` writes them")
            start = table.line_num + 1
            for cells in table:
                where, start = f"{path.name}:{start}", table.line_num + 1
                if None in cells or None in cells.values():
                    yield where, Rejected(where, "more or fewer cells than the head of the file")
                else:
                    yield where, _checked({k: unguard_cell(v) for k, v in cells.items()}, where)
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8; save it as CSV UTF-8") from error
    except csv.Error as error:
        raise BadInput(f"{path}:{table.line_num + 1}: {error}; nothing from there on was read") from error


def _checked(row: dict[str, Any], where: str) -> dict[str, Any] | Rejected:
    item_id, interaction_id = row.get("item_id"), row.get("interaction_id", "")
    if not isinstance(item_id, str) or not item_id or not isinstance(interaction_id, str) or "decision" not in row:
        return Rejected(where, f"needs {NEEDS}", item_id if isinstance(item_id, str) else None)
    if not isinstance(row["decision"], (str, dict, type(None))):
        return Rejected(where, "the decision is neither text nor JSON", item_id)
    if isinstance(row["decision"], str) and len(row["decision"]) > LONGEST_DECISION:
        return Rejected(where, f"a decision of more than {LONGEST_DECISION} characters", item_id)
    return row


def _kind(path: Path) -> str:
    if path.suffix not in (".csv", ".jsonl"):
        raise BadInput(f"{path}: name it .csv or .jsonl, so that its form is known")
    return path.suffix
