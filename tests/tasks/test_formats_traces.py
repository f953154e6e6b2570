import copy
from pathlib import Path
from typing import Any

import pytest

from ratchet.records import Feedback, Interaction, Rejected
from tasks.formats import read_records
from tasks.formats.langfuse import records_of_trace
from tests.tasks.format_rows import FLYWHEEL, HUMANLOOP, LANGFUSE, MLFLOW, as_jsonl

PUBLIC = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "peer_formats"


def read(tmp_path: Path, format: str, row: Any, feature: str | None = None) -> list[Any]:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(as_jsonl(row))
    return list(read_records(path, format, feature=feature))


def with_score(**changes: Any) -> dict[str, Any]:
    row = copy.deepcopy(LANGFUSE[0])
    row["trace"]["scores"][0] |= changes
    return row


def with_assessment(**changes: Any) -> dict[str, Any]:
    row = copy.deepcopy(MLFLOW[0])
    row["info"]["assessments"] = [row["info"]["assessments"][0] | changes]
    return row


def test_langfuse_trace_is_a_chat_with_contexts_and_scores(tmp_path: Path) -> None:
    asked, said = read(tmp_path, "langfuse", LANGFUSE[0])
    assert asked.feature == "support" and asked.session_id == "s1" and asked.user_id == "u1"
    assert [m.role for m in asked.input.messages] == ["system", "user"] and asked.contexts[0].text[:5] == "Cards"
    assert asked.output.content == "It is on its way." and asked.usage.input_tokens == 15 and asked.latency_ms == 1500
    assert (said.kind, said.value, said.comment, said.source.type) == ("rating", 0.8, "good", "judge")


@pytest.mark.parametrize(
    ("changes", "kind", "value"),
    [
        ({"name": "toxicity", "value": 0.75}, "rating", 0.25),
        ({"dataType": "BOOLEAN", "value": 1}, "thumb", True),
        ({"dataType": "BOOLEAN", "value": 1, "name": "hallucination"}, "thumb", False),
        ({"dataType": "CATEGORICAL", "value": None, "stringValue": "thumbs_down"}, "thumb", False),
        ({"dataType": "CORRECTION", "value": 0, "longStringValue": "On Monday."}, "correction", "On Monday."),
    ],
)
def test_langfuse_score_says_its_kind(tmp_path: Path, changes: dict[str, Any], kind: str, value: Any) -> None:
    _, said = read(tmp_path, "langfuse", with_score(**changes))
    assert isinstance(said, Feedback) and (said.kind, said.value) == (kind, value)


@pytest.mark.parametrize("changes", [{"value": 7}, {"value": "blue"}, {"timestamp": None}, {"value": [1]}])
def test_langfuse_score_that_says_nothing_is_rejected_and_the_trace_kept(tmp_path: Path, changes: Any) -> None:
    asked, refused = read(tmp_path, "langfuse", with_score(**changes))
    assert isinstance(asked, Interaction) and isinstance(refused, Rejected) and refused.record_id == "sc1"


def test_langfuse_trace_of_the_api_has_everything_inside(tmp_path: Path) -> None:
    row = LANGFUSE[0]["trace"] | {"observations": LANGFUSE[0]["observations"]}
    assert read(tmp_path, "auto", row) == read(tmp_path, "langfuse", LANGFUSE[0])
    assert list(records_of_trace(row, "rows.jsonl:1", feature=None)) == read(tmp_path, "langfuse", row)


@pytest.mark.parametrize("missing", ["id", "timestamp", "name"])
def test_langfuse_trace_without_what_makes_it_one_is_rejected(tmp_path: Path, missing: str) -> None:
    row = copy.deepcopy(LANGFUSE[0])
    del row["trace"][missing]
    assert [type(r) for r in read(tmp_path, "langfuse", row)] == [Rejected]


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public data is not beside the clone")
def test_langfuse_traces_of_eight_frameworks_say_what_was_asked_and_answered() -> None:
    found = list(read_records(PUBLIC / "langfuse_traces.jsonl", feature="f"))
    turns = [(r.input.messages[-1].content, r.output.content or "") for r in found if isinstance(r, Interaction)]
    assert turns[1][0] == "Search the web for 'example' and summarize." and turns[1][1].startswith("The search for")
    assert turns[2][0] == "What's the weather like in Berlin and New York?" and turns[2][1].startswith("Great! Here's")
    assert turns[4][0] == turns[5][0] == "What is Langfuse?" and turns[7][0] == "What's the weather in Tokyo?"
    assert turns[7][1].startswith("Current conditions in Tokyo") and turns[3][1] == ""  # a tool call


def test_mlflow_trace_is_its_root_span_with_contexts_and_assessments(tmp_path: Path) -> None:
    asked, thumb, correction = read(tmp_path, "mlflow", MLFLOW[0])
    assert (asked.interaction_id, asked.feature, asked.user_id, asked.session_id) == ("tr-1", "support", "u1", "s1")
    assert asked.input.messages[0].content == "Where is my card?" and asked.output.content == "It is on its way."
    assert asked.latency_ms == 1500 and asked.contexts[0].id == "p1"
    assert (thumb.kind, thumb.value, thumb.comment, thumb.source.type) == ("thumb", False, "too vague", "agent")
    assert (correction.kind, correction.value) == ("correction", "It comes on Monday.")


def test_mlflow_trace_of_schema_2_and_of_the_rest_api_are_read(tmp_path: Path) -> None:
    old = {
        "info": {"request_id": "r1", "timestamp_ms": 1_760_000_000_000, "execution_time_ms": 5},
        "data": {"request": '{"question": "Where?"}', "response": '"Here."', "spans": []},
    }
    (asked,) = read(tmp_path, "mlflow", old, feature="f")
    assert (asked.at.year, asked.input.messages[0].content, asked.output.content) == (2025, "Where?", "Here.")
    spans = [
        {"span_id": "1", "attributes": [{"key": "mlflow.spanInputs", "value": {"string_value": '{"q": "Where?"}'}}]}
    ]
    spans[0]["attributes"].append({"key": "mlflow.spanOutputs", "value": {"string_value": '"Here."'}})  # type: ignore[attr-defined]
    info = {"trace_id": "t", "request_time": "2026-01-01T00:00:00Z", "tags": {"mlflow.traceName": "f"}}
    (asked,) = read(tmp_path, "mlflow", {"trace_info": info, "spans": spans})
    assert (asked.input.messages[0].content, asked.output.content) == ("Where?", "Here.")


@pytest.mark.parametrize(
    ("changes", "source"),
    [
        ({"source": {"source_type": "HUMAN", "source_id": "u1"}}, "user"),
        ({"source": {"source_type": "LLM_JUDGE", "source_id": "m"}}, "judge"),
        ({"source": {"source_type": "CODE", "source_id": "x.py"}}, "system"),
        ({"source": {"source_type": "HUMAN", "source_id": "boss"}, "feedback": {"value": "no"}}, "agent"),
    ],
)
def test_mlflow_assessment_says_who_spoke(tmp_path: Path, changes: dict[str, Any], source: str) -> None:
    _, said = read(tmp_path, "mlflow", with_assessment(**changes))
    assert said.source.type == source and (said.kind, said.value) == ("thumb", False)


@pytest.mark.parametrize(
    "changes",
    [{"feedback": None}, {"feedback": {"value": "blue"}}, {"valid": False}, {"error": {"error_code": "x"}}],
)
def test_mlflow_assessment_that_says_nothing_is_rejected(tmp_path: Path, changes: dict[str, Any]) -> None:
    _, refused = read(tmp_path, "mlflow", with_assessment(**changes))
    assert isinstance(refused, Rejected)


def test_flywheel_log_is_an_interaction_of_its_workload(tmp_path: Path) -> None:
    (asked,) = read(tmp_path, "flywheel", FLYWHEEL[0])
    assert (asked.interaction_id, asked.feature, asked.user_id) == ("chatcmpl-1", "support", "u1")
    assert asked.finish_reason == "stop" and asked.usage.input_tokens == 15 and asked.at.year == 2025
    assert asked.attributes == {"workload_id": "support", "client_id": "acme", "settings": {"temperature": 0.2}}
    assert read(tmp_path, "auto", {"_index": "flywheel", "_source": FLYWHEEL[0]}) == [asked]


@pytest.mark.parametrize("missing", ["timestamp", "request", "response"])
def test_flywheel_log_without_a_part_is_rejected(tmp_path: Path, missing: str) -> None:
    row = {name: value for name, value in FLYWHEEL[0].items() if name != missing}
    assert [type(r) for r in read(tmp_path, "flywheel", row)] == [Rejected]


def test_humanloop_log_is_an_interaction_with_its_judgments(tmp_path: Path) -> None:
    asked, thumb, correction = read(tmp_path, "humanloop", HUMANLOOP[0])
    assert (asked.feature, asked.user_id, asked.session_id, asked.model) == ("support", "u1", "s1", "small-1")
    assert asked.input.variables == {"topic": "card"} and asked.cost_usd == pytest.approx(0.003)
    assert (thumb.kind, thumb.value, thumb.source.type) == ("thumb", False, "agent")
    assert (correction.kind, correction.value) == ("correction", "It comes on Monday.")


def test_humanloop_evaluation_log_and_older_feedback_are_read(tmp_path: Path) -> None:
    log = HUMANLOOP[0] | {"evaluator_logs": [], "feedback": [{"type": "rating", "value": "good"}]}
    found = read(tmp_path, "humanloop", {"run_id": "r", "log": log, "evaluator_logs": HUMANLOOP[0]["evaluator_logs"]})
    assert [getattr(r, "kind", None) for r in found] == [None, "thumb", "correction", "thumb"]


def test_humanloop_judgment_in_words_is_a_comment(tmp_path: Path) -> None:
    judged = HUMANLOOP[0]["evaluator_logs"][0] | {"judgment": "a bit slow"}
    _, said = read(tmp_path, "humanloop", HUMANLOOP[0] | {"evaluator_logs": [judged]})
    assert (said.kind, said.value) == ("comment", "a bit slow")
