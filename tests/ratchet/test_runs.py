import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ratchet.errors import BadInput
from ratchet.runs import Owner, Run, change_run, find_run, open_run, runs_of
from ratchet.store import Store, open_store


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url) as opened:
        yield opened


def run(run_id: str = "r1", **changes: str) -> Run:
    return Run.model_validate({"run_id": run_id, "feature": "f", "started_at": "2026-01-01T00:00:00+00:00"} | changes)


def test_run_is_opened_once_and_found_again(store: Store) -> None:
    assert open_run(store, run()).state == "running"
    change_run(store, "r1", state="done", outcome="accept", owner=Owner.me().model_dump())
    assert open_run(store, run()) == find_run(store, "r1")
    assert find_run(store, "r1").outcome == "accept"


def test_unknown_run_says_where_runs_are_listed(store: Store) -> None:
    with pytest.raises(BadInput, match="no run r9; `ratchet status`"):
        find_run(store, "r9")


def test_runs_are_listed_oldest_first_by_feature(store: Store) -> None:
    open_run(store, run("a", started_at="2026-01-02T00:00:00+00:00"))
    open_run(store, run("b"))
    open_run(store, run("c", feature="g"))
    assert [r.run_id for r in runs_of(store, "f")] == ["b", "a"] and len(runs_of(store)) == 3


def test_change_to_a_value_that_is_not_allowed_is_refused(store: Store) -> None:
    open_run(store, run())
    with pytest.raises(ValueError, match="state"):
        change_run(store, "r1", state="paused")
    assert find_run(store, "r1").state == "running"


def test_changes_of_different_fields_at_once_are_all_kept(store: Store) -> None:
    open_run(store, run())
    fields = ("now", "commit", "error", "refusal", "version", "fingerprint")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda field: [change_run(store, "r1", **{field: str(n)}) for n in range(9)], fields))
    assert {getattr(find_run(store, "r1"), field) for field in fields} == {"8"}


def test_branch_and_lease_are_named_after_run_and_feature() -> None:
    assert (run().branch, run().lease) == ("run/r1", "improve:f")


def test_this_process_is_alive_and_one_of_another_host_is_taken_to_be() -> None:
    assert Owner.me().is_alive()
    assert Owner(host="elsewhere", pid=1, started=0).is_alive()


def test_number_taken_by_a_later_process_is_not_the_owner() -> None:
    me = Owner.me()
    assert not me.model_copy(update={"started": me.started - 60}).is_alive()


def test_killed_process_is_not_alive_even_before_it_is_reaped() -> None:
    process = subprocess.Popen(["sleep", "60"])
    owner = Owner(host=Owner.me().host, pid=process.pid, started=time.time())
    assert owner.is_alive()
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not owner.is_alive()
    process.wait()
    assert not owner.is_alive()
