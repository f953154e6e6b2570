import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.errors import HoldoutRetired
from ratchet.features import Decoding
from ratchet.files import read_json, write_json, write_whole
from ratchet.ledger import Ledger
from ratchet.prompts import Prompt
from ratchet.release import BaseModelRef, Release, ReleasePolicy, write_candidate
from ratchet.store import Store, open_store
from tasks.look import MOST_LOOKS, holdout_digest, record_look, refuse_retired


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        yield store


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store.engine)


def tree(folder: Path, *, prompt: str = "a", holdout: str = "xyz") -> Path:
    """A worktree whose arm sft wins over fewshot with a candidate of this prompt, and a holdout of an item a letter."""
    data = folder / "data" / "ff"
    for arm, score in (("sft", 0.9), ("fewshot", 0.1)):
        release = Release(
            feature="f",
            base_model=BaseModelRef(name="tiny", digest="d"),
            prompt=Prompt(text=prompt if arm == "sft" else "never chosen"),
            decoding=Decoding(),
            policy=ReleasePolicy(scorer="exact_match"),
        )
        write_candidate(data / "candidates" / arm, release)
        write_json(data / "candidates" / arm / "report.json", {"validation": {"score": score}})
    items = "".join(json.dumps({"text": letter, "expected": "e"}) + "\n" for letter in holdout)
    write_whole(data / "holdout" / "holdout.jsonl", items)
    policy = {"name": "ff", "intent": "i", "owners": ["o"], "scorer": "exact_match", "output_schema": None}
    write_whole(folder / "features" / "ff" / "feature.yaml", json.dumps(policy))
    return folder


def looks(ledger: Ledger, folder: Path, run_id: str = "r1") -> int:
    return record_look(folder, "ff", ("sft", "fewshot"), ledger, run_id)


def test_look_is_in_the_ledger_and_handed_to_the_gate_as_a_file(ledger: Ledger, tmp_path: Path) -> None:
    assert looks(ledger, tree(tmp_path / "t")) == 1
    entry = ledger.entries(event="look")[0]
    assert (
        entry.subject == holdout_digest(tmp_path / "t" / "data" / "ff" / "holdout") and len(entry.facts["items"]) == 3
    )
    assert ledger.entries(event="look_by")[0].facts == {"run": "r1", "looks": 1}
    assert read_json(tmp_path / "t" / "data" / "ff" / "looks.json") == {"advisory": False, "looks": 1}


def test_same_candidate_again_is_the_same_look(ledger: Ledger, tmp_path: Path) -> None:
    assert [looks(ledger, tree(tmp_path / name), name) for name in ("t1", "t2")] == [1, 1]
    assert len(ledger.entries(event="look")) == 1


def test_each_other_candidate_is_one_more_look(ledger: Ledger, tmp_path: Path) -> None:
    found = [looks(ledger, tree(tmp_path / prompt, prompt=prompt)) for prompt in "abcab"]
    assert found == [1, 2, 3, 3, 3]


def test_new_holdout_begins_with_the_first_look(ledger: Ledger, tmp_path: Path) -> None:
    looks(ledger, tree(tmp_path / "a", prompt="a"))
    assert looks(ledger, tree(tmp_path / "b", prompt="b", holdout="uvw")) == 1


def test_an_edited_row_or_a_new_order_buys_nothing(ledger: Ledger, tmp_path: Path) -> None:
    looks(ledger, tree(tmp_path / "a", prompt="a", holdout="xyz"))
    assert looks(ledger, tree(tmp_path / "b", prompt="b", holdout="xyw")) == 2
    assert looks(ledger, tree(tmp_path / "c", prompt="c", holdout="zux")) == 3


def test_a_holdout_is_used_up_by_an_accept_on_any_of_its_items(ledger: Ledger, store: Store, tmp_path: Path) -> None:
    first = tree(tmp_path / "a", prompt="a")
    refuse_retired(first, "ff", ledger, store)
    looks(ledger, first)
    refuse_retired(first, "ff", ledger, store)
    candidate = ledger.entries(event="look")[0].facts["candidate"]
    ledger.append("publish", str(candidate), verdict="accept", run="r1")
    with pytest.raises(HoldoutRetired, match=r"3 of the 3 items .* `ratchet holdout add ff FILE`"):
        refuse_retired(first, "ff", ledger, store)
    with pytest.raises(HoldoutRetired, match="1 of the 3 items"):
        refuse_retired(tree(tmp_path / "b", holdout="uvx"), "ff", ledger, store)
    refuse_retired(tree(tmp_path / "c", holdout="uvw"), "ff", ledger, store)


def test_a_refused_candidate_leaves_the_holdout_in_use_until_its_error_is_spent(
    ledger: Ledger, store: Store, tmp_path: Path
) -> None:
    for number in range(MOST_LOOKS):
        folder = tree(tmp_path / str(number), prompt=str(number))
        refuse_retired(folder, "ff", ledger, store)
        looks(ledger, folder)
        ledger.append("publish", str(ledger.entries(event="look")[-1].facts["candidate"]), verdict="reject", run="r")
    with pytest.raises(HoldoutRetired, match="6 candidates have met ff's holdout"):
        refuse_retired(folder, "ff", ledger, store)


def test_an_accept_of_a_run_that_was_killed_uses_nothing_up(ledger: Ledger, store: Store, tmp_path: Path) -> None:
    folder = tree(tmp_path / "a")
    looks(ledger, folder)
    ledger.append("publish", str(ledger.entries(event="look")[0].facts["candidate"]), verdict="accept", run="r1")
    document = store.create_document("run", "r1", "ff", {"state": "awaiting"})
    with pytest.raises(HoldoutRetired):
        refuse_retired(folder, "ff", ledger, store)
    store.change_document("run", document, {"state": "failed"})
    refuse_retired(folder, "ff", ledger, store)


def test_showcase_is_not_part_of_the_holdouts_digest(tmp_path: Path) -> None:
    folder = tree(tmp_path) / "data" / "ff" / "holdout"
    before = holdout_digest(folder)
    write_whole(folder / "showcase.jsonl", "shown")
    assert holdout_digest(folder) == before
    write_whole(folder / "holdout.jsonl", "changed")
    assert holdout_digest(folder) != before
