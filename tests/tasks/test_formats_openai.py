import json
from pathlib import Path
from typing import Any

import pytest

from ratchet.records import Feedback, Interaction, Record, Rejected
from tasks.formats import read_records
from tests.tasks.format_rows import ASKED, CALL, COMPLETION, OPENAI_BATCH, OPENAI_DPO, REPLIED, as_jsonl

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


def read(tmp_path: Path, format: str, *rows: Any) -> list[Record | Rejected]:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(as_jsonl(*rows))
    return list(read_records(path, format, feature="f"))


def one(tmp_path: Path, format: str, row: Any) -> Interaction:
    found = read(tmp_path, format, row)[0]
    assert isinstance(found, Interaction), found
    return found


def why(tmp_path: Path, format: str, row: Any) -> str:
    found = read(tmp_path, format, row)
    assert len(found) == 1 and isinstance(found[0], Rejected), found
    return found[0].reason


def test_last_assistant_turn_is_the_output(tmp_path: Path) -> None:
    turns = [*ASKED, {"role": "assistant", "content": "Which?"}, {"role": "user", "content": "The red."}, REPLIED]
    record = one(tmp_path, "openai-chat", {"messages": turns})
    assert [m.content for m in record.input.messages] == ["You help.", "Where is my card?", "Which?", "The red."]
    assert record.output.content == "It is on its way." and record.at.year == 1970 and record.attributes == {}


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"role": "system", "content": "x"}, REPLIED], "there is no user turn"),
        (ASKED, "the last turn is not the assistant's"),
        ([REPLIED], "not a list of messages"),
        ([], "the last turn is not the assistant's"),
        ("x", "not of the type"),
        ([{"role": "king", "content": "x"}, REPLIED], "no role that is known"),
        ([*ASKED, {"role": "assistant", "content": ""}], "the assistant's turn is empty"),
        ([*ASKED, {"role": "assistant"}], "the assistant's turn is empty"),
    ],
)
def test_row_that_teaches_nothing_is_rejected_with_its_reason(tmp_path: Path, messages: Any, reason: str) -> None:
    assert reason in why(tmp_path, "openai-chat", {"messages": messages})


def test_images_and_tool_calls_are_kept_beside_the_text(tmp_path: Path) -> None:
    asked = {"role": "user", "content": [{"type": "text", "text": "What is"}, IMAGE, {"type": "text", "text": "this?"}]}
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    told = {"role": "tool", "content": "a card", "tool_call_id": "call_1"}
    record = one(tmp_path, "openai-chat", {"messages": [asked, called, told, REPLIED], "tools": [{"x": 1}]})
    assert [m.content for m in record.input.messages] == ["What is\nthis?", "", "a card"]
    assert record.attributes == {"tools": [{"x": 1}], "as_sent": {"0": asked, "1": called, "2": told}}


def test_answer_of_tool_calls_alone_is_an_answer(tmp_path: Path) -> None:
    row = {"messages": [*ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}]}
    assert one(tmp_path, "openai-chat", row).output.model_dump() == {"content": None, "tool_calls": [CALL]}


def test_same_row_of_another_feature_is_another_record(tmp_path: Path) -> None:
    row = {"messages": [*ASKED, REPLIED], "feature": "g"}
    path = tmp_path / "rows.jsonl"
    path.write_bytes(as_jsonl(row))
    ids = [next(iter(read_records(path, "openai-chat", feature=f))).interaction_id for f in (None, "g", "f")]  # type: ignore[union-attr]
    assert ids[0] == ids[1] != ids[2]


def test_row_without_a_feature_asks_for_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(as_jsonl({"messages": [*ASKED, REPLIED]}))
    (found,) = read_records(path, "openai-chat", feature=None)
    assert found == Rejected("rows.jsonl:1", "feature: the row names none; give it with --feature")


def test_own_rows_may_hold_parts_too(tmp_path: Path) -> None:
    asked = {"role": "user", "content": [{"type": "text", "text": "this?"}, IMAGE]}
    row = {"interaction_id": "i", "feature": "f", "at": "2026-01-01T00:00:00Z", "input": {"messages": [asked]}}
    record = one(tmp_path, "ratchet", row | {"output": {"content": "x"}, "trace": "t"})
    assert record.input.messages[0].content == "this?"
    assert record.attributes == {"trace": "t", "as_sent": {"0": asked}}


def test_request_and_output_of_a_batch_are_one_row(tmp_path: Path) -> None:
    answered, open_question = read(tmp_path, "openai-batch", *OPENAI_BATCH)
    assert isinstance(answered, Interaction) and isinstance(open_question, Interaction)
    assert answered.output.content == "It is on its way." and answered.usage.output_tokens == 7
    assert answered.at.year == 2025 and answered.model == "small-1"
    assert open_question.output.content is None and open_question.input.messages[0].content == "Where is it?"


def test_request_is_the_same_record_with_its_output_before_or_behind(tmp_path: Path) -> None:
    request, output, _ = OPENAI_BATCH
    assert read(tmp_path, "openai-batch", output, request) == read(tmp_path, "openai-batch", request, output)


def test_output_without_its_request_is_rejected(tmp_path: Path) -> None:
    assert "an output without its request" in why(tmp_path, "openai-batch", OPENAI_BATCH[1])
    found = read(tmp_path, "openai-batch", *OPENAI_BATCH[:2], OPENAI_BATCH[1] | {"id": "again"})
    assert [type(r) for r in found] == [Interaction, Rejected]


def test_output_of_the_responses_api_is_read(tmp_path: Path) -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Soon."}]}
    call = {"type": "function_call", "name": "track", "arguments": "{}", "call_id": "c"}
    body = {"model": "m", "instructions": "You help.", "input": '{"message": "where?"}'}
    replied = {"created_at": 1_760_000_000, "output": [call, said]}
    record = one(tmp_path, "openai-batch", {"custom_id": "q", "body": body, "response": {"body": replied}})
    assert [m.content for m in record.input.messages] == ["You help.", '{"message": "where?"}']
    assert record.output.content == "Soon." and record.output.tool_calls == [call]


def test_failed_request_of_a_batch_stays_a_question(tmp_path: Path) -> None:
    row = OPENAI_BATCH[0] | {"response": None, "error": {"code": "batch_expired"}}
    record = one(tmp_path, "openai-batch", row)
    assert record.output.content is None and record.attributes["error"] == {"code": "batch_expired"}


def test_preference_is_the_refused_answer_and_feedback_on_it(tmp_path: Path) -> None:
    asked, said = read(tmp_path, "openai-dpo", *OPENAI_DPO)
    assert isinstance(asked, Interaction) and isinstance(said, Feedback)
    assert asked.output.content == "It is on its way." and said.interaction_id == asked.interaction_id
    assert (said.kind, said.source.type) == ("preference", "system")
    assert said.value == {"chosen": "It comes on Monday.", "rejected": "It is on its way."}


@pytest.mark.parametrize("side", ["preferred_output", "non_preferred_output"])
def test_preference_with_one_side_is_rejected(tmp_path: Path, side: str) -> None:
    row = {name: value for name, value in OPENAI_DPO[0].items() if name != side}
    assert "each needs an assistant's message" in why(tmp_path, "openai-dpo", row)


def test_texts_of_a_row_never_stand_in_a_reason(tmp_path: Path) -> None:
    bodies: list[Any] = [{"messages": {"secret 1234": 1}}, {"messages": [{"role": "secret 1234", "content": "x"}]}]
    for body in [*bodies, {"input": COMPLETION}, json.dumps("secret 1234")]:
        for format, row in (("openai-chat", body), ("openai-batch", {"custom_id": "secret 1234", "body": body})):
            assert all("1234" not in r.reason for r in read(tmp_path, format, row) if isinstance(r, Rejected))
