"""kill -9 at a random moment over the release store, a channel and the ledger; and two that move at once.

What was acknowledged must be there afterwards, whole, and nothing twice. The slow ones do the same more often.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.kills import end, killed, start
from ratchet.channels import Channels
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.store import Store
from tests.released import AT

ROUNDS = [pytest.param(6), pytest.param(70, marks=pytest.mark.slow)]


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_killed_put_leaves_whole_releases_or_none(tmp_path: Path, rounds: int) -> None:
    store, told = ReleaseStore(tmp_path / "releases"), 0
    for acknowledged in killed("release", tmp_path, rounds):
        for release_id in acknowledged:
            assert store.get(release_id) and "number" in store.attestation(release_id)
        told += len(acknowledged)
    for release_id in store.ids():
        store.get(release_id)
        store.attestation(release_id)
    assert told > 0 and len(store.ids()) >= told


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_killed_mover_loses_no_move_and_moves_nothing_twice(tmp_path: Path, rounds: int) -> None:
    channels, told = Channels(tmp_path / "channels"), 0
    channels.begin("routing", "rel_first", at=AT, by="ana", reason="first")
    for acknowledged in killed("channel", tmp_path, rounds):
        history = {move.version: move.stable for move in channels.history("routing")}
        for line in acknowledged:
            version, stable = line.split()
            assert history[int(version)] == stable
        told += len(acknowledged)
    versions = [move.version for move in channels.history("routing")]
    assert told > 0 and versions == list(range(1, channels.read("routing").version + 1))


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_killed_writer_of_the_ledger_loses_no_entry(tmp_path: Path, rounds: int) -> None:
    heard = [int(seq) for acknowledged in killed("ledger", tmp_path, rounds) for seq in acknowledged]
    store = Store(f"sqlite:///{tmp_path}/store.db")
    entries = Ledger(store.engine).verify().entries
    store.close()
    assert heard and heard == sorted(set(heard)) and entries >= heard[-1]


def test_two_movers_at_once_one_of_them_killed_never_take_the_same_version(tmp_path: Path) -> None:
    channels = Channels(tmp_path / "channels")
    channels.begin("routing", "rel_first", at=AT, by="ana", reason="first")
    children = [start("channel", tmp_path, name) for name in ("one", "two")]
    wait_until(lambda: channels.read("routing").version > 100)
    lines = [line for child in children for line in end(child)]
    versions = [int(line.split()[0]) for line in lines]
    assert len(set(versions)) == len(versions) > 50
    history = {move.version: move.stable for move in channels.history("routing")}
    assert all(history[int(line.split()[0])] == line.split()[1] for line in lines)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
