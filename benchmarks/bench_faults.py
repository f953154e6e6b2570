"""What is lost, made twice or broken by faults: kill -9, a full disk, a jumping clock, two reconcilers, S3, nonsense.

python -m benchmarks.bench_faults [--quick] [--json]

Every process is a real one. Killed at random moments are the gateway, the verifier, the rollout tick (with everything
that it moves), the release store and the ledger. The full disk is a tmpfs of the gateway's own, filled to the last
byte. The clock jumps by up to a year in both directions, through the argument that ledger, tick and verifier take it
by. S3 is moto's server behind a proxy that breaks a quarter of the requests. The fuzzed requests go to a gateway over
raw sockets. What is counted: acknowledged records that are gone, moves that were made or noted twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pyotp

from benchmarks.bench_gateway import prepare
from benchmarks.fault_servers import ask_some, fill_disk, kill_gateways, kill_verifiers, server
from benchmarks.faulty_s3 import faulty_s3
from benchmarks.fuzz_requests import fuzzed, send_all
from benchmarks.kills import end, killed, start
from benchmarks.report import Result, arguments, say
from benchmarks.rollout_moves import World, check
from ratchet.errors import RatchetError
from ratchet.ledger import Ledger
from ratchet.release import ReleaseStore
from ratchet.store import Store
from tests.gateway.fake_model_server import FakeModelServer
from tests.spoil import SECRET
from verifier.people import People

MOVE_S = 1.2  # of a rollout's child at most, before it is killed
TICKERS = 2


def main() -> int:
    """Break everything and print."""
    options = arguments(__doc__)
    is_quick = options.quick
    result = Result("bench_faults", is_quick)
    kills = 5 if is_quick else 40
    with tempfile.TemporaryDirectory() as name, FakeModelServer(lambda body: "ok") as fake:
        folder = Path(name)
        environ = places(folder, fake.url)
        parts: dict[str, Callable[[], dict[str, Any] | None]] = {
            "gateway": lambda: kill_gateways(environ, kills),
            "verifier": lambda: kill_verifiers(environ | {"RATCHET_HOME": str(folder / "verifier")}, kills),
            "rollout tick": lambda: kill_rollouts(folder / "rollouts", kills),
            "release store": lambda: kill_releases(folder / "releases", kills),
            "ledger": lambda: kill_ledgers(folder / "ledger", kills),
            "two reconcilers": lambda: two_reconcilers(folder / "two", 10 if is_quick else 60),
            "S3 errors": lambda: broken_s3(folder / "s3", 10 if is_quick else 120),
            "clock jump": lambda: jump(folder / "clock", 3 if is_quick else 20),
            "fuzz": lambda: fuzz(environ, 1000 if is_quick else 10_000),
            "disk full": lambda: fill_disk(places(folder / "disk", fake.url), megabytes=6),
        }
        for part, measure in parts.items():
            say(part)
            result.figures[part] = measure()
    add_aims(result)
    result.finish(as_json=options.json)
    return 0


def places(folder: Path, upstream: str) -> dict[str, str]:
    """The settings of a fresh home whose feature a fake model server answers."""
    folder.mkdir(exist_ok=True)
    return {k: v for k, v in prepare(folder, upstream).items() if k.startswith("RATCHET_")}


def kill_rollouts(home: Path, rounds: int) -> dict[str, Any]:
    """Kill a process that starts, ticks, promotes and takes back; each next one finds what the last left half done."""
    told = [line for heard in killed("rollout", home, rounds, longest_s=MOVE_S) for line in heard]
    return {"kills": rounds, "acknowledged": len(told), **check(World.of(str(home)), told)._asdict()}


def kill_releases(home: Path, rounds: int) -> dict[str, Any]:
    """Kill a process that puts and attests releases; what it named must be whole, and so must everything else."""
    home.mkdir()
    store = ReleaseStore(home / "releases")
    told = [line for heard in killed("release", home, rounds) for line in heard]
    lost = sum(not _is_whole(store, release_id) for release_id in told)
    torn = sum(not _is_whole(store, release_id) for release_id in store.ids())
    return {"kills": rounds, "acknowledged": len(told), "lost": lost, "faults": torn}


def _is_whole(store: ReleaseStore, release_id: str) -> bool:
    try:
        store.get(release_id)
    except RatchetError:
        return False
    return True


def kill_ledgers(home: Path, rounds: int) -> dict[str, Any]:
    """Kill a process that appends; every number it named is there once, and the chain is whole."""
    home.mkdir()
    told = [int(line) for heard in killed("ledger", home, rounds) for line in heard]
    store = Store(f"sqlite:///{home}/store.db")
    ledger = Ledger(store.engine)
    there = {entry.seq for entry in ledger.entries()}
    ledger.verify()
    store.close()
    return {
        "kills": rounds,
        "acknowledged": len(told),
        "lost": len(set(told) - there),
        "double": len(told) - len(set(told)),
    }


def two_reconcilers(home: Path, seconds: float, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Two processes tick without pause while a third starts rollouts and ends them; then all three are killed."""
    children = [start("rollout", home, "drive", environ), *(start("tick", home, "-", environ) for _ in range(TICKERS))]
    time.sleep(seconds)
    told = [line for child in children for line in end(child)]
    with _environment(environ or {}):
        return {"kills": len(children), "acknowledged": len(told), **check(World.of(str(home)), told)._asdict()}


def broken_s3(home: Path, seconds: float) -> dict[str, Any]:
    """The same with the channels on an S3 that breaks."""
    with faulty_s3() as (environ, proxy):
        found = two_reconcilers(home, seconds, environ)
    return found | {"requests": dict(proxy.counts)}


@contextlib.contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def jump(home: Path, rounds: int) -> dict[str, Any]:
    """Rollouts, ledger and one-time codes under a clock that jumps with every reading, by up to a year."""
    dice = random.Random(5)

    def clock() -> datetime:
        return datetime.now(UTC) + timedelta(days=dice.uniform(-365, 365))

    world = World.of(str(home), clock)
    told = [line for number in range(rounds) for line in world.go_through(f"r{number}")]
    found = check(world, told)
    return {"acknowledged": len(told), **found._asdict(), "codes_taken_twice": _jump_codes(home, dice)}


def _jump_codes(home: Path, dice: random.Random) -> int:
    """How many codes are taken again after the clock jumped back to the time when they were valid."""
    now = [time.time()]
    people = People(home / "people.json", lambda: now[0])
    totp = pyotp.TOTP(people.enrol("ana", "person").secret)
    seen: dict[float, str] = {}
    twice = 0
    for _ in range(50):
        now[0] = time.time() + dice.uniform(-365, 365) * 86400
        code = totp.at(int(now[0]))
        if people.use_code("ana", code).verdict == "accepted":
            seen[now[0]] = code
        for at, used in seen.items():
            now[0] = at
            twice += people.use_code("ana", used).verdict == "accepted"
    return twice


def fuzz(environ: Mapping[str, str], n: int) -> dict[str, Any]:
    """Nonsense to a gateway: statuses, what its log says, and its memory after each tenth."""
    draw = random.Random(1)
    with tempfile.TemporaryFile() as log, server("gateway", environ, log=log) as running:
        heard: list[tuple[str, str]] = []
        ask_some(running.url, heard, 20)
        receipts = [receipt for _, receipt in heard]
        process = psutil.Process(running.process.pid)
        memory: list[float] = []
        statuses: dict[str, int] = {}
        for _ in range(10):
            found = asyncio.run(send_all(running.url, [fuzzed(draw, receipts) for _ in range(n // 10)]))
            statuses = {status: statuses.get(status, 0) + found[status] for status in {*statuses, *found}}
            memory.append(round(process.memory_info().rss / 2**20, 1))
        still = ask_some(running.url, heard, 5)
        log.seek(0)
        said = log.read()
    return {
        "requests": n,
        "statuses": dict(sorted(statuses.items())),
        "tracebacks": said.count(b"Traceback") + said.count(b"event=broke") + statuses.get("traceback", 0),
        "user_text_in_the_log": said.count(SECRET.encode()),
        "still_answers": still == {"200": 5},
        "rss_mib": memory,
        "grown_mib_in_second_half": round(memory[-1] - memory[4], 1),
    }


def add_aims(result: Result) -> None:
    """What the figures should be."""
    found = {name: part for name, part in result.figures.items() if part is not None}
    total = sum(part.get("kills", 0) for part in found.values())
    result.aim("kill -9 at random moments", aim=200, got=total, met=None if result.quick else total >= 200)
    for what, key in (("acknowledged records lost", "lost"), ("double moves", "double"), ("disagreements", "faults")):
        got = sum(part.get(key, 0) for part in found.values())
        result.aim(what, aim=0, got=got, met=not got)
    twice = found["clock jump"]["codes_taken_twice"]
    result.aim("one-time codes taken twice", aim=0, got=twice, met=not twice)
    fuzz = found["fuzz"]
    for what, got in (
        ("answers 500 to fuzzed requests", fuzz["statuses"].get("500", 0)),
        ("requests without an answer in a minute", fuzz["statuses"].get("silent", 0)),
        ("tracebacks", fuzz["tracebacks"]),
        ("words of a user in the log", fuzz["user_text_in_the_log"]),
    ):
        result.aim(what, aim=0, got=got, met=not got)
    grown = fuzz["grown_mib_in_second_half"]
    result.aim(
        "MiB grown in the second half of 10,000 fuzzed requests",
        aim=8,
        got=grown,
        met=None if result.quick else grown <= 8,
    )
    full = found.get("disk full")
    ends = (
        None
        if full is None
        else int("200" not in full["statuses"]["full"] and set(full["statuses"]["after"]) == {"200"})
    )
    result.aim(
        "a full disk refuses, and room is enough to go on", aim=1, got=ends, met=None if ends is None else bool(ends)
    )


if __name__ == "__main__":
    sys.exit(main())
