import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.errors import BadInput, BadRecord
from ratchet.features import Feature
from ratchet.jsonl import MAX_LINE_BYTES
from ratchet.records import (
    Feedback,
    Interaction,
    Rejected,
    check_value,
    parse_feedback,
    parse_interaction,
    read_holdout,
    read_jsonl,
)

ASKED = {"messages": [{"role": "user", "content": "my card is lost"}]}
INTERACTION = {"interaction_id": "i1", "feature": "f", "at": "2026-01-02T03:04:05+02:00", "input": ASKED}
INTERACTION |= {"output": {"content": "ok"}}
FEEDBACK = {"feedback_id": "f1", "interaction_id": "i1", "at": "2026-01-02T03:04:05Z", "kind": "thumb", "value": True}
FEEDBACK |= {"source": {"type": "user", "id": "u1"}}
SCHEMA = {"type": "object", "properties": {"route": {"enum": ["cards", "loans"]}}}
POLICY = {"name": "routing", "intent": "x", "owners": ["a"], "scorer": "label_accuracy", "output_schema": SCHEMA}
FEATURE = Feature.model_validate(POLICY)
NESTED = "[" * 400 + "]" * 400
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


def lines(path: Path, content: bytes) -> list[tuple[str, dict[str, Any] | Rejected]]:
    path.write_bytes(content)
    return list(read_jsonl(path))


def holdout(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "holdout.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_interaction_time_is_turned_to_utc_and_defaults_are_filled() -> None:
    record = parse_interaction(INTERACTION, "f:1")
    assert isinstance(record, Interaction)
    assert record.at == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC) and record.at.tzinfo is UTC
    assert (record.tenant, record.consent, record.fallback, record.contexts) == ("default", None, False, ())


def test_unknown_fields_are_kept_under_attributes() -> None:
    record = parse_interaction(INTERACTION | {"trace": "t1", "attributes": {"a": 1}}, "f:1")
    assert isinstance(record, Interaction) and record.attributes == {"a": 1, "trace": "t1"}


@pytest.mark.parametrize("field", ["interaction_id", "feature", "at", "input", "output"])
def test_interaction_without_a_required_field_is_rejected_by_its_name(field: str) -> None:
    found = parse_interaction({k: v for k, v in INTERACTION.items() if k != field}, "log:7")
    expected = None if field == "interaction_id" else "i1"
    assert found == Rejected("log:7", f"{field}: Field required", expected)


@pytest.mark.parametrize("field", ["feedback_id", "interaction_id", "at", "kind", "value", "source"])
def test_feedback_without_a_required_field_is_rejected_by_its_name(field: str) -> None:
    found = parse_feedback({k: v for k, v in FEEDBACK.items() if k != field}, "log:7")
    assert isinstance(found, Rejected) and found.reason == f"{field}: Field required"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"at": "2026-01-02T03:04:05"}, "at"),
        ({"at": "yesterday"}, "at"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "at"),
        ({"at": "9999-12-31T23:59:59-14:00"}, "at"),
        ({"tenant": "../../etc"}, "tenant"),
        ({"interaction_id": ""}, "interaction_id"),
        ({"interaction_id": 7}, "interaction_id"),
        ({"propensity": 0}, "propensity"),
        ({"input": {"messages": []}}, "input.messages"),
        ({"input": {"messages": [{"role": "king", "content": "x"}]}}, "input.messages.0.role"),
        ({"input": {"messages": "x"}}, "input.messages"),
        ({"output": {}}, "output.content"),
        ({"output": None}, "output"),
        ({"usage": {"input_tokens": -1}}, "usage.input_tokens"),
        ({"attributes": 5}, "attributes"),
        ({"attributes": 5, "trace": "t1"}, "attributes"),
    ],
)
def test_bad_field_is_named(changes: dict[str, Any], key: str) -> None:
    found = parse_interaction(INTERACTION | changes, "log:1")
    assert isinstance(found, Rejected) and found.reason.startswith(f"{key}: ")


@pytest.mark.parametrize("row", [None, 3, "x", [], True])
def test_row_that_is_no_object_is_rejected(row: Any) -> None:
    assert isinstance(parse_interaction(row, "log:1"), Rejected) and isinstance(parse_feedback(row, "log:1"), Rejected)


def test_rejection_never_repeats_what_the_user_wrote() -> None:
    found = parse_interaction(INTERACTION | {"input": {"messages": "my secret is 1234"}}, "log:1")
    assert isinstance(found, Rejected) and "1234" not in found.reason


@pytest.mark.parametrize("value", ["\ud800", json.loads(NESTED)], ids=["lone surrogate", "nested too deeply"])
def test_value_that_could_not_be_stored_is_rejected(value: Any) -> None:
    asked = ASKED | {"variables": {"x": value}}
    assert isinstance(parse_interaction(INTERACTION | {"input": asked}, "log:1"), Rejected)
    assert isinstance(parse_feedback(FEEDBACK | {"kind": "correction", "value": {"x": value}}, "log:1"), Rejected)


@pytest.mark.parametrize(
    ("kind", "fits", "misfits"),
    [
        ("thumb", [True, False], [1, "up", None]),
        ("rating", [0, 1, 0.5], [1.1, -1, True, "5", float("nan")]),
        ("correction", ["cards", {"route": "cards"}], ["", "  ", 3, None, ["x"], True]),
        ("preference", [{"chosen": "a", "rejected": "b"}], [{"chosen": "a"}, "a", None]),
        ("comment", ["fine"], [3, None, {}]),
        ("accept", [True, 0.3], ["yes", 2, None]),
    ],
)
def test_value_must_fit_its_kind(kind: str, fits: list[Any], misfits: list[Any]) -> None:
    for value in fits:
        check_value(kind, value)
        assert isinstance(parse_feedback(FEEDBACK | {"kind": kind, "value": value}, "log:1"), Feedback)
    for value in misfits:
        with pytest.raises(ValueError, match="the value of"):
            check_value(kind, value)


@given(row=st.dictionaries(st.sampled_from([*Interaction.model_fields, "x"]), JSON_VALUES), base=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_row_becomes_a_record_that_can_be_stored_or_a_rejection(row: dict[str, Any], base: bool) -> None:
    found = parse_interaction({**(INTERACTION if base else {}), **row}, "log:1")
    if isinstance(found, Interaction):
        assert Interaction.model_validate_json(found.model_dump_json()).interaction_id == found.interaction_id
    else:
        assert found.where == "log:1" and found.reason


@given(value=JSON_VALUES, kind=st.sampled_from(["thumb", "rating", "correction", "preference", "comment", "accept"]))
@settings(max_examples=150, deadline=None)
def test_any_feedback_value_is_kept_or_rejected(value: Any, kind: str) -> None:
    found = parse_feedback(FEEDBACK | {"kind": kind, "value": value}, "log:1")
    assert isinstance(found, Rejected) or Feedback.model_validate_json(found.model_dump_json()).kind == kind


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "malformed JSON"),
        (b'{"a": 1} x', "malformed JSON"),
        (b"\x00\x00", "malformed JSON"),
        (b'{"a": "\x00"}', "malformed JSON"),
        (b'{"a": "\xe9"}', "not UTF-8"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"9" * 5000, "malformed JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "' + b"x" * MAX_LINE_BYTES + b'"}', "line over 1 MiB"),
    ],
)
def test_bad_line_is_rejected_with_its_number_and_the_rest_goes_on(tmp_path: Path, line: bytes, reason: str) -> None:
    found = lines(tmp_path / "log.jsonl", b'{"a": 1}\n\n' + line + b'\n{"b": 2}')
    assert [where for where, _ in found] == ["log.jsonl:1", "log.jsonl:3", "log.jsonl:4"]
    assert (found[0][1], found[2][1]) == ({"a": 1}, {"b": 2})
    assert isinstance(found[1][1], Rejected) and reason in found[1][1].reason


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\r\n", b"  \n"])
def test_file_without_rows_gives_none(tmp_path: Path, content: bytes) -> None:
    assert lines(tmp_path / "log.jsonl", content) == []


def test_windows_line_ends_and_a_last_line_without_one_are_read(tmp_path: Path) -> None:
    assert [row for _, row in lines(tmp_path / "a", b'{"a": 1}\r\n{"b": 2}')] == [{"a": 1}, {"b": 2}]


def test_line_without_an_end_does_not_fill_memory(tmp_path: Path) -> None:
    path = tmp_path / "endless.jsonl"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    assert [type(row) for _, row in read_jsonl(path)] == [Rejected]
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


@given(st.lists(st.binary(max_size=40).filter(lambda b: b"\n" not in b and bool(b.strip())), max_size=8))
@settings(max_examples=60, deadline=None)
def test_every_line_is_counted(tmp_path_factory: pytest.TempPathFactory, rows: list[bytes]) -> None:
    found = lines(tmp_path_factory.mktemp("l") / "a", b"\n".join([b"{}", *rows]))
    assert [where for where, _ in found] == [f"a:{number}" for number in range(1, len(rows) + 2)]


def test_holdout_takes_text_or_messages_and_wraps_the_expected(tmp_path: Path) -> None:
    shown = {"messages": ASKED["messages"], "expected": {"route": "loans"}, "contexts": [{"id": "c", "text": "t"}]}
    items = read_holdout(holdout(tmp_path, {"text": "hi", "expected": "cards"}, shown), FEATURE)
    assert [i.expected for i in items] == ['{"route": "cards"}', '{"route": "loans"}']
    assert items[0].messages[0].content == "hi" and items[1].contexts[0].text == "t"
    assert items[0].item_id != items[1].item_id


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "malformed JSON"),
        ({"text": "x"}, 'needs "text" or "messages", and "expected"'),
        ({"expected": "cards"}, 'needs "text" or "messages", and "expected"'),
        ({"text": "x", "expected": "boats"}, "not in the schema; allowed: cards, loans"),
        ({"text": 3, "expected": "cards"}, "messages.0.content"),
        ({"messages": 3, "expected": "cards"}, "messages"),
        ({"text": "x", "expected": "cards", "contexts": 5}, "contexts"),
        ({"text": "x", "expected": "cards", "contexts": [{"id": 1}]}, "id"),
        ({"text": "x", "expected": "cards", "variables": {"x": "\ud800"}}, "not Unicode"),
        ({"text": "x", "expected": "cards", "variables": {"x": json.loads(NESTED)}}, "too deeply"),
        ({"text": "x", "expected": {"route": "cards", "note": "\ud800"}}, "not Unicode"),
    ],
)
def test_bad_holdout_line_stops_with_file_and_line(tmp_path: Path, row: Any, reason: str) -> None:
    with pytest.raises(BadRecord, match=rf"^holdout\.jsonl:2: .*{reason}"):
        read_holdout(holdout(tmp_path, {"text": "fine", "expected": "cards"}, row), FEATURE)


def test_same_holdout_item_twice_is_refused_even_with_another_label(tmp_path: Path) -> None:
    path = holdout(tmp_path, {"text": "x", "expected": "cards"}, {"text": "x", "expected": "loans"})
    with pytest.raises(BadRecord, match=r"holdout\.jsonl:2: the same item stands twice"):
        read_holdout(path, FEATURE)


def test_missing_holdout_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="ratchet holdout add routing"):
        read_holdout(tmp_path / "none.jsonl", FEATURE)
