"""tasks.tune.job: what an arm starts from, and the malformed inputs it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.errors import BadInput, ReleaseNotFound, UnknownFeature
from ratchet.release import BaseModelRef, write_manifest
from tasks.tune.job import load_job, read_examples, sample_validation
from tests.routing_clone import RoutingClone, example_row, target


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RoutingClone:
    monkeypatch.chdir(tmp_path)
    return RoutingClone(tmp_path)


def test_a_job_holds_examples_champion_and_policy(clone: RoutingClone) -> None:
    job = load_job(clone.params(), clone.settings(), "sft")
    assert (len(job.train), len(job.validation), job.champion.release) == (20, 10, clone.champion)
    assert job.train[0].target == target("cards") and job.train[0].messages[0].role == "user"
    assert job.out == Path("data/routing/candidates/sft") and job.model.name == "tiny"


def test_a_missing_split_names_the_stage_to_run(clone: RoutingClone) -> None:
    with pytest.raises(BadInput, match=r"none\.parquet is missing: run the stage curate"):
        read_examples(clone.root / "none.parquet")


def test_a_file_that_is_no_parquet_is_refused(clone: RoutingClone) -> None:
    with pytest.raises(BadInput, match="not the output of the stage curate"):
        read_examples(clone.write("bad.parquet", "not parquet"))


@pytest.mark.parametrize(
    "changes",
    [{"messages": "not json"}, {"messages": '[{"role": "nobody", "content": "x"}]'}, {"contexts": "{}"},
     {"variables": "["}, {"messages": None}, {"weight": None}],
)  # fmt: skip
def test_a_malformed_row_is_named(clone: RoutingClone, changes: dict[str, object]) -> None:
    clone.write_split("train", [example_row(1, "cards"), example_row(2, "loans", **changes)])
    with pytest.raises(BadInput, match="row 2: malformed example"):
        read_examples(clone.root / "data/routing/curated/train.parquet")


def test_an_empty_split_is_no_error(clone: RoutingClone) -> None:
    clone.write_split("train", [])
    assert read_examples(clone.root / "data/routing/curated/train.parquet") == []


def test_a_champion_of_another_base_model_is_refused(clone: RoutingClone) -> None:
    other = clone.champion.model_copy(update={"base_model": BaseModelRef(name="other", digest="d2")})
    write_manifest(clone.root / "data/demo/routing/champion.json", other)
    with pytest.raises(BadInput, match=r"runs on other .* but base_model in params\.yaml is tiny"):
        load_job(clone.params(), clone.settings(), "sft")


def test_a_missing_champion_is_named(clone: RoutingClone) -> None:
    (clone.root / "data/demo/routing/champion.json").unlink()
    with pytest.raises(ReleaseNotFound, match=r"champion\.json is missing"):
        load_job(clone.params(), clone.settings(), "sft")


def test_an_unknown_feature_lists_the_known_ones(clone: RoutingClone) -> None:
    with pytest.raises(UnknownFeature, match="routing"):
        load_job(clone.params().model_copy(update={"feature": "nothing"}), clone.settings(), "sft")


def test_the_validation_sample_does_not_depend_on_the_order_of_the_file(clone: RoutingClone) -> None:
    examples = read_examples(clone.root / "data/routing/curated/train.parquet")
    drawn = sample_validation(examples, 5, seed=3)
    assert drawn == sample_validation(examples[::-1], 5, seed=3) and len(drawn) == 5
    assert sample_validation(examples, 99, seed=3) == examples
