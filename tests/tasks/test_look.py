from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.features import Decoding
from ratchet.files import read_json, write_json, write_whole
from ratchet.ledger import Ledger
from ratchet.prompts import Prompt
from ratchet.release import BaseModelRef, Release, ReleasePolicy, write_candidate
from ratchet.store import open_store
from tasks.look import holdout_digest, record_look


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        yield Ledger(store.engine)


def tree(folder: Path, *, prompt: str = "a", holdout: str = "h") -> Path:
    """A worktree whose arm sft wins over fewshot with a candidate of this prompt."""
    data = folder / "data" / "f"
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
    write_whole(data / "holdout" / "holdout.jsonl", holdout)
    return folder


def looks(ledger: Ledger, folder: Path, run_id: str = "r1") -> int:
    return record_look(folder, "f", ("sft", "fewshot"), ledger, run_id)


def test_look_is_in_the_ledger_and_handed_to_the_gate_as_a_file(ledger: Ledger, tmp_path: Path) -> None:
    assert looks(ledger, tree(tmp_path / "t")) == 1
    entry = ledger.entries(event="look")[0]
    assert entry.subject == holdout_digest(tmp_path / "t" / "data" / "f" / "holdout") and entry.facts["run"] == "r1"
    assert read_json(tmp_path / "t" / "data" / "f" / "looks.json") == {"advisory": False, "looks": 1}


def test_same_candidate_again_is_the_same_look(ledger: Ledger, tmp_path: Path) -> None:
    assert [looks(ledger, tree(tmp_path / name), name) for name in ("t1", "t2")] == [1, 1]


def test_each_other_candidate_is_one_more_look(ledger: Ledger, tmp_path: Path) -> None:
    found = [looks(ledger, tree(tmp_path / prompt, prompt=prompt)) for prompt in "abcab"]
    assert found == [1, 2, 3, 3, 3]


def test_new_holdout_begins_with_the_first_look(ledger: Ledger, tmp_path: Path) -> None:
    looks(ledger, tree(tmp_path / "a", prompt="a"))
    assert looks(ledger, tree(tmp_path / "b", prompt="b", holdout="other")) == 1


def test_showcase_is_not_part_of_the_holdouts_digest(tmp_path: Path) -> None:
    folder = tree(tmp_path) / "data" / "f" / "holdout"
    before = holdout_digest(folder)
    write_whole(folder / "showcase.jsonl", "shown")
    assert holdout_digest(folder) == before
    write_whole(folder / "holdout.jsonl", "changed")
    assert holdout_digest(folder) != before
