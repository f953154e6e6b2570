import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ratchet.errors import BadInput
from ratchet.store import Store, open_store
from tasks.import_records import BATCH, ImportReport, import_file
from tests.tasks.format_rows import LANGFUSE, OPENAI_CHAT


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as opened:
        yield opened


def asked(number: int, **changes: Any) -> dict[str, Any]:
    asked_for = {"messages": [{"role": "user", "content": "hi"}]}
    row = {"interaction_id": f"i{number}", "feature": "f", "at": "2026-01-01T00:00:00Z", "input": asked_for}
    return row | {"output": {"content": "x"}} | changes


def said(number: int, **changes: Any) -> dict[str, Any]:
    row = {"feedback_id": f"f{number}", "interaction_id": f"i{number}", "at": "2026-01-01T00:00:00Z", "kind": "thumb"}
    return row | {"value": True, "source": {"type": "user", "id": "u"}} | changes


def load(store: Store, folder: Path, *rows: Any, feature: str | None = None, **more: Any) -> ImportReport:
    path = folder / "log.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    rejects = folder / "rejects.jsonl"
    return import_file(store, path, feature=feature, rejects=rejects, on_progress=lambda _: None, **more)


def test_interactions_and_feedback_may_be_mixed_in_any_order(store: Store, tmp_path: Path) -> None:
    report = load(store, tmp_path, said(1), asked(1), asked(2))
    assert (report.rows, report.accepted, report.known, report.rejects_file) == (3, 3, 0, None)
    assert store.counts("f") == {"interactions": 2, "feedback": 1}


def test_importing_again_adds_nothing(store: Store, tmp_path: Path) -> None:
    load(store, tmp_path, asked(1), said(1))
    report = load(store, tmp_path, asked(1), said(1), asked(1))
    assert (report.accepted, report.known) == (0, 3)


def test_bad_rows_are_counted_by_reason_and_the_rest_goes_on(store: Store, tmp_path: Path) -> None:
    report = load(store, tmp_path, "{", asked(1), {"x": 1}, said(1, value="yes"), "[1]", asked(2, at="now"), '"\x00"')
    assert report.rows == 7 and report.accepted == 1 and report.rejected.total() == 6
    rows = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [row["where"] for row in rows] == [f"log.jsonl:{n}" for n in (1, 3, 4, 5, 6, 7)]
    assert [row["id"] for row in rows] == [None, None, "f1", None, "i2", None]


def test_rejects_never_hold_what_a_user_wrote(store: Store, tmp_path: Path) -> None:
    load(store, tmp_path, asked(1, input={"messages": "my pin is 1234"}), '{"a": "my pin is 1234"')
    assert "1234" not in (tmp_path / "rejects.jsonl").read_text()


def test_every_row_is_accounted_for_beyond_one_batch(store: Store, tmp_path: Path) -> None:
    report = load(store, tmp_path, *(asked(n % 1500) for n in range(BATCH * 2 + 1)), "{")
    assert report.rows == report.accepted + report.known + report.rejected.total() == 2 * BATCH + 2
    assert report.accepted == 1500


def test_rows_without_a_feature_take_the_one_that_is_given(store: Store, tmp_path: Path) -> None:
    row = {k: v for k, v in asked(1).items() if k != "feature"}
    assert load(store, tmp_path, row).rejected == {"feature: Field required": 1}
    assert load(store, tmp_path, row, asked(2), feature="g").accepted == 2
    assert store.counts("g")["interactions"] == store.counts("f")["interactions"] == 1


def test_row_may_give_several_records_each_accounted_for(store: Store, tmp_path: Path) -> None:
    report = load(store, tmp_path, *LANGFUSE, feature="f", format="langfuse")
    assert (report.rows, report.records, report.accepted) == (1, 2, 2)
    assert store.counts("f") == {"interactions": 1, "feedback": 1}


def test_dry_run_counts_and_stores_nothing(store: Store, tmp_path: Path) -> None:
    report = load(store, tmp_path, asked(1), said(1), "{", is_dry_run=True)
    assert (report.rows, report.accepted, report.known, report.rejected.total()) == (3, 2, 0, 1)
    assert store.counts("f") == {"interactions": 0, "feedback": 0} and report.rejects_file is not None


def test_time_of_rows_without_any_is_given(store: Store, tmp_path: Path) -> None:
    at = datetime(2025, 2, 3, tzinfo=UTC)
    load(store, tmp_path, *OPENAI_CHAT, feature="f", at=at)
    assert [record.at for _, record in store.interactions("f")] == [at] * len(OPENAI_CHAT)
    assert load(store, tmp_path, *OPENAI_CHAT, feature="f").accepted == 0


def test_json_array_is_read_element_by_element(store: Store, tmp_path: Path) -> None:
    report = load(store, tmp_path, json.dumps([asked(1), 5, asked(2)], indent=1))
    assert report.accepted == 2 and report.first_rejected == "log.jsonl[2]: not a JSON object"


def test_feedback_before_its_interaction_or_for_none_waits(store: Store, tmp_path: Path) -> None:
    assert load(store, tmp_path, said(1), said(2)).accepted == 2 and store.counts("f")["feedback"] == 0
    load(store, tmp_path, asked(1))
    assert [record.feedback_id for _, _, record in store.feedback("f")] == ["f1"]


def test_list_of_an_earlier_import_goes_when_nothing_is_rejected(store: Store, tmp_path: Path) -> None:
    load(store, tmp_path, "{")
    assert (tmp_path / "rejects.jsonl").is_file()
    load(store, tmp_path, asked(1))
    assert sorted(p.name for p in tmp_path.iterdir() if "rejects" in p.name) == []


def test_many_rejected_rows_do_not_fill_memory(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("{\n" * 60_000)
    tracemalloc.start()
    report = import_file(store, path, feature=None, rejects=tmp_path / "r", on_progress=lambda _: None)
    assert report.rejected.total() == 60_000 and tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_progress_is_told_up_to_the_last_row(store: Store, tmp_path: Path) -> None:
    path, told = tmp_path / "log.jsonl", list[int]()
    path.write_text("\n".join(json.dumps(asked(n)) for n in range(BATCH + 5)))
    import_file(store, path, feature=None, rejects=tmp_path / "r", on_progress=told.append)
    assert told == [BATCH, BATCH + 5]


def test_empty_file_has_no_rows(store: Store, tmp_path: Path) -> None:
    assert load(store, tmp_path) == ImportReport()


@pytest.mark.parametrize("name", ["nothing.jsonl", "."])
def test_path_that_is_no_file_is_named(store: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="no such file"):
        import_file(store, tmp_path / name, feature=None, rejects=tmp_path / "r", on_progress=lambda _: None)
