"""Children that write without end until they are killed (kill -9), and say on standard output what was acknowledged.

A child is a piece of source, run by a new Python in this clone, with `home` (its state) and `seed` (its name) set; what
it finds in the environment says whether channels lie in a folder or on S3.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent
FEATURE = "f"
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
    "rollout": """
from benchmarks.rollout_moves import World
world = World.of(home)
print("ready", flush=True)
for number in range(1_000_000):
    for line in world.go_through(f"{seed}-{number}"):
        print(line, flush=True)
""",
    "tick": """
from benchmarks.rollout_moves import World
world = World.of(home)
print("ready", flush=True)
while True:
    world.tick()
""",
}


def start(kind: str, home: Path, seed: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a child; it writes from now on."""
    source = f"home, seed = {str(home)!r}, {seed!r}\n{CHILD[kind]}"
    child = subprocess.Popen(
        [sys.executable, "-c", source],
        cwd=CLONE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environ or {})},
    )
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


def killed(kind: str, home: Path, rounds: int, *, longest_s: float = 0.25) -> Iterator[list[str]]:
    """What each of many children acknowledged before it was killed, at a random moment of its first `longest_s`."""
    dice = random.Random(7)
    for number in range(rounds):
        child = start(kind, home, f"s{number}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=dice.uniform(0.0, longest_s))
        yield end(child)
