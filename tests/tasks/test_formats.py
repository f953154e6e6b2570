import gzip
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ratchet.errors import BadInput
from ratchet.records import Feedback, Interaction, Rejected
from tasks.formats import FORMATS, detect_format, read_records, read_rows
from tasks.formats.rows import to_time
from tests.tasks.format_rows import FLYWHEEL, OPENAI_CHAT, RATCHET, ROWS, as_file, as_jsonl, needs

PUBLIC = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "peer_formats"
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def written(tmp_path: Path, *rows: Any, name: str = "log.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(as_jsonl(*rows))
    return path


def reasons(path: Path, format: str = "auto", **more: Any) -> list[str]:
    return [r.reason for r in read_records(path, format, feature="f", **more) if isinstance(r, Rejected)]


@pytest.mark.parametrize("format", FORMATS)
def test_format_is_told_from_its_rows(format: str, tmp_path: Path) -> None:
    path = tmp_path / "export"
    path.write_bytes(as_file(format, *ROWS[format]))
    assert detect_format(path) == format


@pytest.mark.parametrize("format", FORMATS)
def test_sound_rows_give_records_and_no_rejection(format: str, tmp_path: Path) -> None:
    needs(format)
    path = tmp_path / "export"
    path.write_bytes(as_file(format, *ROWS[format]))
    found = [r for records in read_rows(path, format, feature="f", now=NOW) for r in records]
    assert not [r for r in found if isinstance(r, Rejected)]
    assert {r.feature for r in found if isinstance(r, Interaction)} == {"f"}


@pytest.mark.parametrize("format", FORMATS)
def test_ids_come_from_content_so_that_reading_again_gives_the_same(format: str, tmp_path: Path) -> None:
    needs(format)
    first, second = tmp_path / "a", tmp_path / "b.gz"
    first.write_bytes(as_file(format, *ROWS[format]))
    second.write_bytes(gzip.compress(first.read_bytes()))
    assert list(read_records(first, format, feature="f")) == list(read_records(second, format, feature="f"))


def test_unlike_rows_name_no_format(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="like no format that is known; name one with --format"):
        detect_format(written(tmp_path, {"a": 1}))


def test_rows_like_two_formats_name_both(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="may be flywheel or openai-chat; name one"):
        detect_format(written(tmp_path, *FLYWHEEL, *OPENAI_CHAT))


def test_rows_that_cannot_be_read_do_not_hide_the_format(tmp_path: Path) -> None:
    assert detect_format(written(tmp_path, "{", "[1]", *OPENAI_CHAT)) == "openai-chat"
    assert detect_format(written(tmp_path, "{")) == detect_format(written(tmp_path)) == "ratchet"


@pytest.mark.parametrize(("path", "format"), [("none", "auto"), ("none", "ratchet"), (".", "auto"), ("none", "xml")])
def test_missing_file_and_unknown_format_are_named(tmp_path: Path, path: str, format: str) -> None:
    with pytest.raises(BadInput, match="no such"):
        read_rows(tmp_path / path, format, feature=None)


def test_time_of_more_than_a_day_ahead_is_no_history(tmp_path: Path) -> None:
    near, far = NOW + timedelta(hours=23), NOW + timedelta(hours=25)
    path = written(tmp_path, *({**RATCHET[0], "interaction_id": str(t), "at": t.isoformat()} for t in (near, far)))
    found = list(read_records(path, feature=None, now=NOW))
    assert isinstance(found[0], Interaction)
    assert found[1] == Rejected("log.jsonl:2", "at: more than a day in the future", str(far))


def test_ten_megabyte_field_is_refused_without_being_held(tmp_path: Path) -> None:
    big = {"messages": [{"role": "user", "content": "x" * 10_000_000}, {"role": "assistant", "content": "y"}]}
    path = written(tmp_path, big, *OPENAI_CHAT)
    assert reasons(path) == ["line over 1 MiB"] and detect_format(path) == "openai-chat"


def test_depth_bomb_is_a_reason(tmp_path: Path) -> None:
    deep = "[" * 100 + "]" * 100
    path = written(tmp_path, f'{{"messages": {deep}}}', '{"messages": ' * 5000, *OPENAI_CHAT)
    assert reasons(path) == ["JSON nested too deeply"] * 2


def test_gzip_bomb_ends_the_file_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    row = json.dumps({**RATCHET[0], "note": "x" * 100_000}).encode() + b"\n"
    path.write_bytes(gzip.compress(row * 2000))
    found = [next(iter(records)) for records in read_rows(path, "ratchet", feature=None)]
    assert isinstance(found[-1], Rejected) and "more than 200 times its size" in found[-1].reason
    assert len(found) < 1000 and all(isinstance(r, Interaction) for r in found[:-1])


def test_cut_off_gzip_keeps_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    rows = [{**RATCHET[0], "interaction_id": f"{n}", "note": str(n) * 50} for n in range(3000)]
    path.write_bytes(gzip.compress(as_jsonl(*rows))[:-2000])
    found = list(read_records(path, "ratchet", feature=None))
    assert isinstance(found[-1], Rejected) and "damaged gzip" in found[-1].reason and len(found) > 100


def test_mixed_encodings_are_told_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    row = json.dumps({**OPENAI_CHAT[0], "note": "é"}, ensure_ascii=False)
    path.write_bytes(row.encode() + b"\n" + row.encode("latin-1") + b"\n" + row.encode("utf-16") + b"\n")
    assert reasons(path, "openai-chat")[0] == "not UTF-8"
    assert isinstance(next(iter(read_records(path, "openai-chat", feature="f"))), Interaction)


@pytest.mark.parametrize(
    ("given", "year"),
    [
        ("2025-01-02T03:04:05Z", 2025),
        ("2025-01-02 03:04:05", 2025),
        (1_760_000_000, 2025),
        (1_760_000_000_000, 2025),
        ("1760000000000000000", 2025),
        (0, 1970),
    ],
)
def test_time_is_read_from_text_and_from_any_unit_since_1970(given: Any, year: int) -> None:
    assert to_time(given, "at").year == year and to_time(given, "at").tzinfo == UTC


@pytest.mark.parametrize("given", [None, "", "soon", True, [], "0001-01-01T00:00:00+14:00", float("inf"), 1e300])
def test_what_is_no_time_is_named(given: Any) -> None:
    with pytest.raises(BadInput, match=r"^at: (no|not a) time$"):
        to_time(given, "at")


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public data is not beside the clone")
@pytest.mark.parametrize(
    ("name", "format", "counts"),
    [
        ("openai_chat_finetuning.jsonl", "openai-chat", {"Interaction": 4, "messages: there is no user turn": 1}),
        ("openai_batch_support_qa.jsonl", "openai-batch", {"Interaction": 10}),
        ("langfuse_traces.jsonl", "langfuse", {"Interaction": 8, "Feedback": 15}),
        ("otlp_traces/anthropic_chat.jsonl", "otel", {"Interaction": 1}),
        ("otlp_traces/anthropic_tool_use.jsonl", "otel", {"Interaction": 2}),
        ("otlp_traces/openai_chat.jsonl", "otel", {"Interaction": 2}),
        ("otlp_traces/openai_responses.jsonl", "otel", {"Interaction": 1}),
        ("tensorzero/chat_inference.jsonl", "tensorzero", {"Interaction": 200}),
        ("tensorzero/boolean_feedback.jsonl", "tensorzero", {"Feedback": 175}),
        ("tensorzero/comment_feedback.jsonl", "tensorzero", {"Feedback": 26}),
        ("tensorzero/demonstration_feedback.jsonl", "tensorzero", {"Feedback": 150}),
        ("tensorzero/chat_datapoints.jsonl", "tensorzero", {"Interaction": 41, "Feedback": 31}),
        (
            "tensorzero/float_feedback.jsonl",
            "tensorzero",
            {"Feedback": 83, "value: a score outside 0 to 1 is no rating": 91},
        ),
    ],
)
def test_public_files_of_other_tools_are_read(name: str, format: str, counts: dict[str, int]) -> None:
    needs(format)
    assert detect_format(PUBLIC / name) == format
    found = list(read_records(PUBLIC / name, feature="f"))
    assert Counter(r.reason if isinstance(r, Rejected) else type(r).__name__ for r in found) == counts
    assert all(isinstance(r, (Interaction, Feedback, Rejected)) for r in found)
