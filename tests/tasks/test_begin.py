import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet import git
from ratchet.channels import Channels
from ratchet.errors import BadInput, GitIdentityMissing, LeaseHeld, NothingNew, UnknownFeature
from ratchet.files import write_json
from ratchet.ledger import Ledger
from ratchet.release import read_manifest
from ratchet.runs import Run, change_run, find_run, runs_of
from ratchet.settings import Settings
from ratchet.store import Store
from tasks import version
from tasks.begin import anchor_of, end, prepare, reference_of, refuse_if_unchanged, take_up
from tasks.first_release import ensure_first_release


def begin(settings: Settings, store: Store, run_id: str = "r1", *, ended: bool = False, **changes: Any) -> Run:
    fields: dict[str, Any] = {"feature": "routing", "flow_run_id": "flow", "arms": None}
    return take_up(settings, store, run_id=run_id, has_ended=lambda _: ended, **(fields | changes))


def harvest(settings: Settings, content: str = "1\n") -> None:
    with version.harvest_worktree(settings, "routing") as tree:
        (tree / "data" / "routing" / "raw" / "log.jsonl").write_text(content)
        write_json(tree / "data" / "routing" / "harvest.json", {"after_seq": 1})
        version.seal_harvest(settings, tree, "routing", "harvest")


def first_release(settings: Settings, store: Store) -> tuple[str, Channels]:
    channels = Channels(settings.channels_dir)
    return ensure_first_release(settings, store, Ledger(store.engine), channels, "routing"), channels


def test_run_is_recorded_with_its_owner_and_holds_the_lease(routing: Settings, store: Store) -> None:
    run = begin(routing, store, arms=("sft",))
    assert run.owner is not None and run.owner.is_alive() and run.arms == ("sft",)
    assert store.lease_owner("improve:routing") == "r1" and find_run(store, "r1") == run


def test_second_run_is_refused_and_told_what_the_first_does(routing: Settings, store: Store) -> None:
    begin(routing, store)
    with pytest.raises(LeaseHeld, match=r"run r1 is running \(opening\); .*`ratchet status routing`"):
        begin(routing, store, "r2")
    assert [run.run_id for run in runs_of(store)] == ["r1"]


def test_run_beside_one_that_waits_is_told_to_decide_first(routing: Settings, store: Store) -> None:
    begin(routing, store)
    change_run(store, "r1", state="awaiting")
    with pytest.raises(LeaseHeld, match="`ratchet approve r1` or `ratchet reject r1` comes first"):
        begin(routing, store, "r2")


def test_lease_of_a_run_that_is_gone_is_swept(routing: Settings, store: Store) -> None:
    begin(routing, store)
    assert begin(routing, store, "r2", ended=True).run_id == "r2"
    assert find_run(store, "r1").state == "failed" and find_run(store, "r1").error == "its process ended"


def test_finished_run_that_was_killed_before_it_gave_its_lease_back_stays_done(routing: Settings, store: Store) -> None:
    begin(routing, store)
    change_run(store, "r1", state="done", outcome="accept")
    begin(routing, store, "r2", ended=True)
    assert (find_run(store, "r1").state, find_run(store, "r1").error) == ("done", None)


def test_run_is_taken_up_again_where_it_stands(routing: Settings, store: Store) -> None:
    begin(routing, store)
    change_run(store, "r1", now="tune@sft")
    assert begin(routing, store).now == "tune@sft"


def test_lease_whose_run_was_never_recorded_is_swept(routing: Settings, store: Store) -> None:
    store.acquire_lease("improve:routing", "killed-between-lease-and-record")
    assert begin(routing, store).run_id == "r1"
    assert store.lease_owner("improve:routing") == "r1"


def test_unknown_feature_stops_before_anything_is_recorded(routing: Settings, store: Store) -> None:
    with pytest.raises(UnknownFeature, match="there are: routing"):
        begin(routing, store, feature="nothing")
    assert runs_of(store) == [] and store.lease_owner("improve:nothing") is None


def test_missing_git_identity_stops_before_anything_is_recorded(
    routing: Settings, store: Store, no_git_identity: None
) -> None:
    with pytest.raises(GitIdentityMissing):
        begin(routing, store)
    assert runs_of(store) == [] and store.lease_owner("improve:routing") is None


def test_run_without_any_feedback_has_nothing_new(routing: Settings, store: Store) -> None:
    with pytest.raises(NothingNew, match=r"no feedback yet for routing: .*`ratchet import"):
        refuse_if_unchanged(routing, store, begin(routing, store))


def test_run_on_what_a_finished_run_started_from_has_nothing_new(
    routing: Settings, store: Store, write: Callable[[str, str], Path]
) -> None:
    harvest(routing)
    refuse_if_unchanged(routing, store, begin(routing, store))
    end(routing, store, "r1", state="done", outcome="reject")
    second = begin(routing, store, "r2")
    with pytest.raises(NothingNew, match=r"those of run r1 \(reject\)"):
        refuse_if_unchanged(routing, store, second)
    write("features/routing/prompts/default.md", "Another prompt.")
    assert refuse_if_unchanged(routing, store, second).fingerprint


def test_failed_run_may_be_tried_again_on_the_same(routing: Settings, store: Store) -> None:
    harvest(routing)
    refuse_if_unchanged(routing, store, begin(routing, store))
    end(routing, store, "r1", state="failed", error="x")
    assert refuse_if_unchanged(routing, store, begin(routing, store, "r2")).fingerprint


def test_run_without_a_holdout_says_how_to_add_one_and_leaves_no_worktree(routing: Settings, store: Store) -> None:
    _, channels = first_release(routing, store)
    with pytest.raises(BadInput, match=r"routing has no holdout, .*`ratchet holdout add routing FILE`"):
        prepare(routing, store, channels, begin(routing, store))
    assert not version.run_folder(routing, "r1").exists()


def test_run_starts_with_champion_anchor_raw_data_and_holdout(
    routing: Settings, store: Store, write: Callable[[str, str], Path]
) -> None:
    release_id, channels = first_release(routing, store)
    harvest(routing)
    write("data/routing/holdout/holdout.jsonl", json.dumps({"text": "x", "expected": "cards"}))
    version.track_holdout(routing, "routing")
    data = prepare(routing, store, channels, begin(routing, store)) / "data" / "routing"
    assert {read_manifest(data / f"{role}.json").release_id for role in ("champion", "anchor")} == {release_id}
    assert (data / "raw" / "log.jsonl").exists() and (data / "holdout" / "holdout.jsonl").exists()
    assert find_run(store, "r1").champion_id == release_id == anchor_of(store, "routing")
    assert (data / "reference.json").read_text() == "{}\n"


def test_run_is_compared_with_the_profile_of_the_last_finished_run(routing: Settings, store: Store) -> None:
    def finish(run_id: str, rows: int, **changes: Any) -> None:
        begin(routing, store, run_id, ended=True)
        tree = version.open_worktree(routing, run_id, "routing", None)
        write_json(tree / "data/routing/metrics/profile.json", {"rows": rows})
        commit = git.commit_paths(tree, ["data/routing/metrics/profile.json"], run_id)
        change_run(store, run_id, started_at=f"2026-01-0{run_id[1]}", commit=commit)
        end(routing, store, run_id, **changes)

    assert reference_of(routing, store, "routing") == "{}\n"
    finish("r1", 1, state="done", outcome="reject")
    finish("r2", 2, state="done", outcome="accept")
    finish("r3", 3, state="failed")
    assert json.loads(reference_of(routing, store, "routing")) == {"rows": 2}


def test_feature_without_a_first_release_has_no_anchor(routing: Settings, store: Store) -> None:
    with pytest.raises(BadInput, match="routing has no first release yet"):
        anchor_of(store, "routing")


def test_end_frees_the_lease_and_removes_the_worktree(routing: Settings, store: Store) -> None:
    begin(routing, store)
    tree = version.open_worktree(routing, "r1", "routing", None)
    assert end(routing, store, "r1", state="done", outcome="accept").now == ""
    assert store.lease_owner("improve:routing") is None and not tree.exists()
    assert git.resolve(routing.repo, "run/r1")


def test_end_of_a_run_leaves_the_lease_of_another(routing: Settings, store: Store) -> None:
    begin(routing, store)
    begin(routing, store, "r2", ended=True)
    end(routing, store, "r1", state="failed")
    assert store.lease_owner("improve:routing") == "r2"
