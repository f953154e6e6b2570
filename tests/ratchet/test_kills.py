"""kill -9 at a random moment over the release store, a channel and the ledger; and two that move at once.

A child says on its standard output what was acknowledged; after it was killed all of that must be there, whole, and
nothing twice. The slow ones do the same more often.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ratchet.channels import Channels
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.store import Store
from tests.released import AT

CLONE = Path(__file__).resolve().parents[2]
ROUNDS = [pytest.param(6), pytest.param(70, marks=pytest.mark.slow)]
CHILD = {
    "release": """
import itertools, pathlib
from ratchet.release import ReleaseStore
from tests.released import Machine
from ratchet.settings import Settings
machine = Machine(Settings.from_env({"RATCHET_REPO": home, "RATCHET_HOME": home}))
print("ready", flush=True)
for number in itertools.count():
    found = machine.releases.put(machine.candidate(f"{seed} {number}", weights=bytes([number % 256]) * 200_000))
    machine.releases.attest(found, {"number": number, "seed": seed})
    print(found, flush=True)
""",
    "channel": """
from pathlib import Path
from ratchet.channels import Channels
from ratchet.errors import StaleChannel
from tests.released import AT
channels = Channels(Path(home) / "channels")
print("ready", flush=True)
while True:
    version = channels.read("routing").version
    try:
        after = channels.move("routing", stable=f"rel_{seed}_{version + 1}", canary=None, expected_version=version,
                              at=AT, by=seed, reason="race")
    except StaleChannel:
        continue
    print(after.version, after.stable, flush=True)
""",
    "ledger": """
from ratchet.ledger import Ledger
from ratchet.store import Store
ledger = Ledger(Store(f"sqlite:///{home}/store.db").engine)
print("ready", flush=True)
while True:
    print(ledger.append("moved", seed).seq, flush=True)
""",
}


def start(kind: str, home: Path, seed: str) -> subprocess.Popen[str]:
    source = f"home, seed = {str(home)!r}, {seed!r}\n{CHILD[kind]}"
    child = subprocess.Popen([sys.executable, "-c", source], cwd=CLONE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    return child


def end(child: subprocess.Popen[str]) -> list[str]:
    """Kill it; what it had acknowledged. A last line that was torn was not heard by anybody."""
    child.kill()
    assert child.stdout is not None
    heard = child.stdout.read()
    child.wait()
    child.stdout.close()
    return heard.splitlines()[: heard.count("\n")]


def killed(kind: str, home: Path, rounds: int) -> Iterator[list[str]]:
    """What each of many children acknowledged before it was killed."""
    dice = random.Random(7)
    for number in range(rounds):
        child = start(kind, home, f"s{number}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=dice.uniform(0.0, 0.25))
        yield end(child)


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
