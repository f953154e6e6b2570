import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratchet.records import Feedback, Interaction, Rejected
from ratchet.store import Store, open_store
from tasks.formats import read_records
from tasks.import_records import ImportReport, import_file
from tests.tasks.format_rows import EPISODE, INFERENCE, TENSORZERO, as_jsonl

PUBLIC = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "peer_formats" / "tensorzero"
LATER = INFERENCE[:-1] + "b"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as opened:
        yield opened


def read(tmp_path: Path, *rows: Any) -> list[Any]:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(as_jsonl(*rows))
    return list(read_records(path, "tensorzero", feature=None))


def load(store: Store, path: Path) -> ImportReport:
    return import_file(store, path, feature="f", rejects=path.parent / "r", on_progress=lambda _: None)


def test_inference_is_an_interaction_with_variables_and_its_ids_time(tmp_path: Path) -> None:
    asked = read(tmp_path, TENSORZERO[0])[0]
    assert isinstance(asked, Interaction) and (asked.interaction_id, asked.session_id) == (INFERENCE, EPISODE)
    assert asked.feature == "support" and asked.at.year == 2024 and asked.latency_ms == 20
    assert asked.input.variables == {"topic": "card"} and asked.input.messages[0].content == '{"topic":"card"}'
    assert asked.output.content == "It is on its way."


def test_feedback_comes_after_the_inferences_of_its_file(tmp_path: Path) -> None:
    found = read(tmp_path, *reversed(TENSORZERO))
    assert isinstance(found[0], Interaction)
    assert [(r.kind, r.value) for r in found[1:]] == [
        ("comment", "slow"),
        ("correction", "It comes on Monday."),
        ("rating", 0.5),
        ("thumb", False),
    ]


def test_metrics_with_one_id_are_two_feedbacks(tmp_path: Path) -> None:
    both = [TENSORZERO[1], TENSORZERO[1] | {"metric_name": "rating", "value": 0.5}]
    assert len({r.feedback_id for r in read(tmp_path, *both)}) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"value": 1.5}, "a score outside 0 to 1 is no rating"),
        ({"target_id": None}, "target_id: missing"),
        ({"id": "not-a-uuid"}, "no time, and the id holds none"),
        ({"id": "6f1a2b3c-1b7e-4d91-847d-3c7ebf1973ec"}, "no time, and the id holds none"),
    ],
)
def test_feedback_that_cannot_be_used_is_rejected(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    (found,) = read(tmp_path, TENSORZERO[1] | changes)
    assert isinstance(found, Rejected) and reason in found.reason


def test_json_function_and_image_are_kept(tmp_path: Path) -> None:
    image = {"type": "image", "image": {"url": "https://example.org/a.png"}}
    asked = {"system": "You help.", "messages": [{"role": "user", "content": ["What?", image]}]}
    (found,) = read(tmp_path, TENSORZERO[0] | {"input": asked, "output": {"raw": '{"a": 1}', "parsed": {"a": 1}}})
    assert [m.content for m in found.input.messages] == ["You help.", "What?"] and found.output.content == '{"a": 1}'
    assert found.attributes["as_sent"] == {"1": asked["messages"][0]}  # type: ignore[index]


def test_deleted_datapoint_is_rejected_and_one_without_output_is_a_question(tmp_path: Path) -> None:
    row = TENSORZERO[0] | {"dataset_name": "d", "output": None}
    (asked,) = read(tmp_path, row)
    assert asked.output.content is None
    assert read(tmp_path, row | {"is_deleted": True}) == [Rejected("rows.jsonl:1", "deleted in its dataset")]


def test_feedback_on_an_episode_finds_its_last_inference(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_bytes(as_jsonl(TENSORZERO[2], TENSORZERO[0] | {"id": LATER}, TENSORZERO[0]))
    assert load(store, path).accepted == 3 and load(store, path).accepted == 0
    assert [said.interaction_id for _, _, said in store.feedback("f")] == [LATER]


def test_feedback_on_an_episode_waits_and_is_resolved_by_importing_it_again(store: Store, tmp_path: Path) -> None:
    said, asked = tmp_path / "said.jsonl", tmp_path / "asked.jsonl"
    said.write_bytes(as_jsonl(TENSORZERO[2]))
    asked.write_bytes(as_jsonl(TENSORZERO[0]))
    assert load(store, said).accepted == load(store, asked).accepted == 1 and not list(store.feedback("f"))
    load(store, said)
    assert [said.interaction_id for _, _, said in store.feedback("f")] == [INFERENCE]


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public data is not beside the clone")
def test_public_tables_import_together_and_every_feedback_finds_its_inference(store: Store, tmp_path: Path) -> None:
    names = ("chat_inference", "boolean_feedback", "float_feedback", "comment_feedback", "demonstration_feedback")
    reports = []
    for name in names:
        shutil.copy(PUBLIC / f"{name}.jsonl", tmp_path / f"{name}.jsonl")
        reports.append(load(store, tmp_path / f"{name}.jsonl"))
    assert [r.rows for r in reports] == [200, 175, 174, 26, 150]
    assert sum(r.accepted for r in reports[1:]) == 175 + 83 + 26 + 150 == store.counts("f")["feedback"]
    assert all(isinstance(said, Feedback) for _, _, said in store.feedback("f"))
