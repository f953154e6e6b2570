import contextlib
import copy
import gzip
import json
import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratchet.records import Feedback, Interaction, Rejected
from ratchet.store import open_store
from tasks.formats import FORMATS, read_rows
from tasks.import_records import import_file
from tests.tasks.format_rows import ROWS, as_csv, needs

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SECRET = "hunter2"  # what a user wrote: it may stand in records, never in a reason
QUICK, FULL = 130, 1000  # cases of each of the 11 formats
"""What people and programs put where something else was expected."""
ODD = st.one_of(
    st.sampled_from([None, True, False, 0, -1, 1e308, 2**63, 2**70, "", " ", SECRET, "\x00", "\ud800", "=cmd|'/c'!A1"]),
    st.sampled_from([[], {}, [[]], [None], {"": SECRET}, {SECRET: 1}, "[1", '{"a":', "9999-12-31T23:59:59-14:00"]),
    st.sampled_from(["2999-01-01T00:00:00Z", "now", "1e999", "user", "assistant", "tool", '"\\ud800"', "[" * 70]),
    st.text(st.characters(), max_size=6),
    st.integers(),
    st.floats(allow_nan=True),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a JSON document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*at, key)
        yield from places(item, (*at, key))


def changed(row: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    made = copy.deepcopy(row)
    holder = made
    for key in path[:-1]:
        holder = holder[key]
    change(holder, path[-1])
    return made


@st.composite
def odd_rows(draw: st.DrawFn, format: str) -> Any:
    """A sound row with up to three of its values missing, replaced, wrapped or doubled."""
    row = draw(st.sampled_from(ROWS[format]))
    for _ in range(draw(st.integers(0, 3))):
        found = list(places(row))
        if not found:
            break
        path, way, odd = draw(st.sampled_from(found)), draw(st.integers(0, 3)), draw(ODD)
        changes: list[Callable[[Any, Any], None]] = [
            lambda holder, key, odd=odd: holder.__setitem__(key, odd),
            lambda holder, key: holder.__delitem__(key),
            lambda holder, key: holder.__setitem__(key, [holder[key]]),
            lambda holder, key, odd=odd: holder.__setitem__(key, {"type": odd, "content": holder[key]}),
        ]
        row = changed(row, path, changes[way])
    return row


@st.composite
def files(draw: st.DrawFn, format: str) -> bytes:
    """A file of a format whose rows are odd and whose bytes may be damaged."""
    rows = draw(st.lists(odd_rows(format), min_size=1, max_size=5))
    content = as_csv(*rows) if format == "zendesk-csv" else b"".join(json.dumps(r).encode() + b"\n" for r in rows)
    damage, at = draw(st.integers(0, 13)), draw(st.integers(0, len(content)))
    damages = {
        1: lambda: content[:at],
        2: lambda: content[:at] + b"\x00" + content[at:],
        3: lambda: content[:at] + b"\xff\xfe" + content[at:],
        4: lambda: content[:at] + b"\n" + content[at:],
        5: lambda: content.decode("utf-8", "replace").encode("utf-16"),
        6: lambda: b"\xef\xbb\xbf" + content,
        7: lambda: gzip.compress(content),
        8: lambda: gzip.compress(content)[: max(3, at % 60)],
        9: lambda: content[:at] + b"[" * 3000 + content[at:],
        10: lambda: content[:at] + b'"' + content[at:],
        11: lambda: b"[" + b",".join(content.splitlines()) + b"]",
        12: lambda: (b"[\n" + b", ".join(content.splitlines()) + b"]")[: at + 9],
    }
    return damages.get(damage, lambda: content)()


def count_rows(path: Path, format: str) -> int | None:
    """The rows of a file, counted apart from the reader; None where a row is not simply a line."""
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if format in ("zendesk-csv", "openai-batch") or content.startswith(b"\x1f\x8b"):
        return None
    if content.lstrip().startswith(b"["):
        with contextlib.suppress(ValueError, RecursionError):
            return len(json.loads(content))
        return None
    return sum(1 for line in content.split(b"\n") if line.strip())


def check_reading(path: Path, format: str) -> None:
    """Every row gives a record that can be stored, or a reason that repeats nothing that a user wrote."""
    rows = list(read_rows(path, format, feature="f", now=NOW))
    assert all(rows), "a row gave nothing"
    assert count_rows(path, format) in (None, len(rows))
    for record in (record for records in rows for record in records):
        assert isinstance(record, (Interaction, Feedback, Rejected))
        if isinstance(record, Rejected):
            assert record.reason and record.where.startswith(path.name) and SECRET not in record.reason
        else:
            assert type(record).model_validate_json(record.model_dump_json()).at == record.at <= NOW.replace(day=2)


def check_import(path: Path, format: str, folder: Path) -> None:
    """Rows in = used + known + rejected, as the report and the store say, and a second import adds nothing."""
    with open_store(f"sqlite:///{folder / 'store.db'}") as store:
        for is_again in (False, True):
            report = import_file(
                store, path, feature="f", rejects=folder / "rejects", on_progress=lambda _: None, format=format
            )
            assert report.records == report.accepted + report.known + report.rejected.total() >= report.rows
            listed = (folder / "rejects").read_text().splitlines() if report.rejected else []
            assert len(listed) == report.rejected.total() and (not is_again or report.accepted == 0)
            if not is_again:
                with store.reader.connect() as connection:
                    tables = ("interactions", "feedback")
                    counts = [connection.exec_driver_sql(f"SELECT count(*) FROM {t}").scalar_one() for t in tables]
                assert sum(counts) == report.accepted


def fuzz(format: str, folder: Path, cases: int, check: Callable[[Path, str], None]) -> None:
    needs(format)
    path = folder / ("odd.csv" if format == "zendesk-csv" else "odd.jsonl")

    @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(content=files(format))
    def run(content: bytes) -> None:
        path.write_bytes(content)
        check(path, format)

    run()


@pytest.mark.parametrize("format", FORMATS)
def test_any_file_is_read_row_by_row_or_refused_with_a_reason(format: str, tmp_path: Path) -> None:
    fuzz(format, tmp_path, QUICK, check_reading)


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_any_file_is_read_row_by_row_or_refused_with_a_reason_at_full_size(format: str, tmp_path: Path) -> None:
    fuzz(format, tmp_path, FULL, check_reading)


@pytest.mark.parametrize("format", FORMATS)
def test_every_record_of_any_file_is_stored_known_or_rejected(format: str, tmp_path: Path) -> None:
    numbers = iter(range(10**6))

    def check(path: Path, format: str) -> None:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        check_import(path, format, folder)

    fuzz(format, tmp_path, 6, check)


def test_random_bytes_are_no_traceback_in_any_format(tmp_path: Path) -> None:
    rng = random.Random(7)
    for number in range(40):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(os.urandom(0) + rng.randbytes(rng.randint(0, 400)))
        for format in FORMATS:
            check_reading(path, format)
