"""What the gateway adds to a call: latency and throughput beside direct calls, a bare proxy and other gateways;
its memory; what a moved channel and a rollback do to requests.

python -m benchmarks.bench_gateway [--quick] [--json] [--peers FOLDER]

Everything is interleaved over one trivial upstream that answers at once: client and upstream on one core, the server
that is measured on another. The durable log is on. Other gateways are measured where FOLDER holds their environments:
FOLDER/litellm, FOLDER/mlflow and FOLDER/tensorzero, each made by `python -m venv` and
`pip install` of `litellm[proxy]==1.109.1`, `mlflow[gateway]==3.17.2`, or `tensorzero==2026.6.0 uvicorn starlette`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from benchmarks.channel_moves import SLOW_S, roll_back_under_load, time_moves
from benchmarks.load import load, pin
from benchmarks.peer_gateways import PEERS, find_peer
from benchmarks.report import Result, say
from benchmarks.scratch import REPO, free_port
from ratchet.channels import Channels
from ratchet.features import Decoding
from ratchet.prompts import Prompt
from ratchet.release import BaseModelRef, Release, ReleasePolicy, ReleaseStore, write_candidate
from ratchet.settings import Settings

MESSAGES = [{"role": "user", "content": "My card has not arrived yet, and I ordered it two weeks ago."}]
CONCURRENCY = (1, 16, 64)
FEATURE = "helping"


@dataclass
class Target:
    """A server to load. `path` is where a chat is asked; `process` is None for the upstream itself."""

    name: str
    url: str
    model: str
    process: subprocess.Popen[bytes] | None = None
    streams: bool = True
    latencies: dict[str, list[float]] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)  # seconds of each burst, for each of its requests

    def body(self, is_streamed: bool) -> bytes:
        """The request."""
        asked = {"messages": MESSAGES} | ({"model": self.model, "user": "u1"} if self.model else {})
        return json.dumps(asked | ({"stream": True} if is_streamed else {})).encode()


def main() -> int:
    """Measure and print."""
    options = parse()
    result = Result("bench_gateway", options.quick)
    pin(0)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        upstream = stack.enter_context(started([sys.executable, "-m", "benchmarks.load"], core=0))
        direct = Target("direct", f"{upstream.url}/v1/chat/completions", "tiny")
        targets = [direct, *stack.enter_context(proxies(Path(folder), upstream.url))]
        skipped = {}
        for name in PEERS:
            found = find_peer(options.peers, name, Path(folder), upstream.url)
            try:
                if isinstance(found, str):
                    raise RuntimeError(found)
                peer = stack.enter_context(started(list(found.command), core=1, ready=found.ready))
                targets.append(Target(name, peer.url + found.path, found.model, peer.process, found.streams))
            except RuntimeError as error:
                skipped[name] = str(error)
                say(f"{name}: {error}")
        commits = measure(
            targets, rounds=1 if options.quick else 3, requests=300 if options.quick else 1200, folder=Path(folder)
        )
        ours = next(target for target in targets if target.name == "ratchet")
        memory = measure_memory(ours, 3_000 if options.quick else 100_000)
        moved = measure_moves(Path(folder), ours, stack, moves=30 if options.quick else 300)
        told = {target.name: figures(target, direct) for target in targets}
    floor = [round(float(ms), 3) for ms in np.percentile(np.array(commits) * 1000, (50, 95, 99))]
    result.figures = {"targets": told, "one_commit_ms_p50_p95_p99": floor, "skipped": skipped, "memory": memory} | moved
    add_aims(result, options.quick)
    result.finish(as_json=options.json)
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="end within two minutes; the same keys")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object to standard output")
    parser.add_argument("--peers", type=Path, help="a folder with the environments of other gateways")
    return parser.parse_args()


@dataclass(frozen=True)
class Started:
    """A server that listens."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def started(
    command: list[str], *, core: int, wait_s: float = 120, ready: str = "", environ: dict[str, str] | None = None
) -> Iterator[Started]:
    """A process that listens on a free port, which its command gets where it says PORT (else at its end)."""
    port = free_port()
    if not any("PORT" in word for word in command):
        command = [*command, "PORT"]
    command = [word.replace("PORT", str(port)) for word in command]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=REPO, env=environ or dict(os.environ), stdout=log, stderr=log)
        try:
            if (os.cpu_count() or 1) > 1:
                psutil.Process(process.pid).cpu_affinity([core])
            url = f"http://127.0.0.1:{port}"
            await_answer(url, process, wait_s, ready)
            yield Started(url, process)
        finally:
            process.terminate()
            process.wait()


def await_answer(url: str, process: subprocess.Popen[bytes], wait_s: float, ready: str) -> None:
    """Wait until the port is open, and `ready` (a path, where there is one) answers."""
    import httpx

    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        try:
            if httpx.get(url + ready, timeout=2, trust_env=False).status_code < 500:
                return
        except httpx.RemoteProtocolError:
            return  # the raw upstream answers no GET as HTTP wants it
        except httpx.TransportError as error:
            if isinstance(error, httpx.ReadTimeout):
                return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"{url} did not come up in {wait_s:.0f} s")


@contextmanager
def proxies(folder: Path, upstream: str) -> Iterator[list[Target]]:
    """The bare proxy and our gateway."""
    bare_command = [sys.executable, "-m", "benchmarks.bare_proxy", "PORT", f"{upstream}/v1/chat/completions"]
    ours_command = [sys.executable, "-m", "gateway", "--port", "PORT"]
    environ = prepare(folder, upstream)
    with started(bare_command, core=1) as bare, started(ours_command, core=1, environ=environ) as ours:
        yield [
            Target("bare proxy", f"{bare.url}/v1/chat/completions", "tiny", bare.process),
            Target("ratchet", f"{ours.url}/v1/chat/completions", FEATURE, ours.process),
        ]


def prepare(folder: Path, upstream: str) -> dict[str, str]:
    """A home with one feature, whose release asks the upstream. Returns the gateway's environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RATCHET_")}
    ours = {"RATCHET_REPO": str(folder), "RATCHET_HOME": str(folder / "home"), "RATCHET_MODELSERVER_URL": upstream}
    settings = Settings.from_env(ours)
    first, _ = put_releases(settings, folder)
    Channels(settings.channels_dir).begin(FEATURE, first, at=datetime.now(UTC), by="bench", reason="the first release")
    return kept | ours | {"PYTHONPATH": str(REPO)}


def put_releases(settings: Settings, folder: Path) -> tuple[str, str]:
    """Two releases that differ in their prompts, in the store; their ids, the same each time."""
    found = []
    for text in ("You help customers of a bank.", "You help the customers of a bank."):
        candidate = Path(tempfile.mkdtemp(dir=folder))
        release = Release(
            feature=FEATURE,
            base_model=BaseModelRef(name="tiny", digest="none"),
            prompt=Prompt(text=text),
            decoding=Decoding(),
            policy=ReleasePolicy(scorer="token_f1"),
        )
        write_candidate(candidate, release)
        found.append(ReleaseStore(settings.releases_dir).put(candidate))
    return found[0], found[1]


def measure(targets: list[Target], *, rounds: int, requests: int, folder: Path) -> list[float]:
    """Load each target in turn, round after round, so that what else the machine does meets all of them.

    Returns:
        Seconds of bare commits of one row to SQLite, made between the rounds: no answer can be on disk sooner.
    """
    commits: list[float] = []
    for turn in range(rounds + 1):  # the first warms up
        for is_streamed in (False, True):
            for concurrency in CONCURRENCY:
                for target in targets if turn % 2 else reversed(targets):
                    if is_streamed and not target.streams:
                        continue
                    n = 30 if not turn else requests // (4 if concurrency == 1 or is_streamed else 1)
                    run_one(target, is_streamed, concurrency, max(n, concurrency), is_kept=turn > 0)
        commits += bare_commits(folder / f"commits-{turn}.db", 50)
        say(f"round {turn} of {rounds}")
    return commits


def bare_commits(path: Path, n: int) -> list[float]:
    """Seconds of each of n commits, as durable as the store's."""
    seconds = []
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE rows (body TEXT)")
        for _ in range(n):
            began = time.perf_counter()
            database.execute("INSERT INTO rows VALUES (?)", ("x" * 1500,))
            seconds.append(time.perf_counter() - began)
    return seconds


def run_one(target: Target, is_streamed: bool, concurrency: int, requests: int, *, is_kept: bool) -> None:
    """One burst; a failed request ends the benchmark."""
    before = cpu_s(target.process)
    done = asyncio.run(load(target.url, target.body(is_streamed), concurrency=concurrency, requests=requests))
    if done.failed:
        raise RuntimeError(f"{target.name}: {done.failed} of {requests} requests failed")
    if is_kept:
        case = name_of(is_streamed, concurrency)
        target.latencies.setdefault(case, []).extend(done.latencies_s)
        target.rates.setdefault(case, []).append(requests / done.seconds)
        target.cpu.setdefault(case, []).append((cpu_s(target.process) - before) / requests)


def name_of(is_streamed: bool, concurrency: int) -> str:
    """A case as it is called in the figures."""
    return f"{'stream' if is_streamed else 'post'}, {concurrency} at once"


def figures(target: Target, direct: Target) -> dict[str, Any]:
    """Percentiles in milliseconds, what they add to a direct call, and requests a second."""
    found: dict[str, Any] = {}
    for case, latencies in target.latencies.items():
        own, base = (np.percentile(np.array(one) * 1000, (50, 95, 99)) for one in (latencies, direct.latencies[case]))
        found[case] = {
            "ms_p50_p95_p99": [round(float(ms), 3) for ms in own],
            "added_ms_p50_p95_p99": [round(float(a - b), 3) for a, b in zip(own, base, strict=True)],
            "rps": round(median(target.rates[case]), 1),
            "cpu_ms_per_request": round(median(target.cpu[case]) * 1000, 3) if target.process else None,
        }
    if target.process is not None:
        found["rss_mib"] = round(rss_mib(target.process), 1)
    return found


def cpu_s(process: subprocess.Popen[bytes] | None) -> float:
    """Processor time of a process and its children; of two servers, the figure that a busy machine changes least."""
    if process is None:
        return 0.0
    root = psutil.Process(process.pid)
    spent = [one.cpu_times() for one in [root, *root.children(recursive=True)]]
    return float(sum(times.user + times.system for times in spent))


def rss_mib(process: subprocess.Popen[bytes]) -> float:
    """Resident memory of a process and its children."""
    root = psutil.Process(process.pid)
    return float(sum(one.memory_info().rss for one in [root, *root.children(recursive=True)])) / 2**20


def measure_memory(ours: Target, requests: int) -> dict[str, Any]:
    """Resident memory of the gateway after each tenth of many requests, every other tenth streamed."""
    assert ours.process is not None
    readings = []
    for part in range(10):
        run_one(ours, bool(part % 2), 16, requests // 10, is_kept=False)
        readings.append(round(rss_mib(ours.process), 1))
        say(f"memory: {readings[-1]} MiB after {(part + 1) * requests // 10} requests")
    return {"requests": requests, "rss_mib": readings, "grown_mib_in_second_half": round(readings[-1] - readings[4], 1)}


def measure_moves(folder: Path, ours: Target, stack: ExitStack, *, moves: int) -> dict[str, Any]:
    """Channel moves seen by our gateway, and a rollback under a second one whose upstream takes its time."""
    folder = folder / "slow"
    folder.mkdir()
    slow = stack.enter_context(started([sys.executable, "-m", "benchmarks.load", "PORT", str(SLOW_S)], core=0))
    environ = prepare(folder, slow.url)
    settings = Settings.from_env({name: value for name, value in environ.items() if name.startswith("RATCHET_")})
    server = stack.enter_context(started([sys.executable, "-m", "gateway", "--port", "PORT"], core=1, environ=environ))
    url = f"{server.url}/v1/chat/completions"
    back = roll_back_under_load(
        Channels(settings.channels_dir), FEATURE, put_releases(settings, folder), url, ours.body(False)
    )
    settings = Settings.from_env({"RATCHET_REPO": str(folder.parent), "RATCHET_HOME": str(folder.parent / "home")})
    both = put_releases(settings, folder)
    seen = time_moves(Channels(settings.channels_dir), FEATURE, both, ours.url, moves=moves)
    say(f"a moved channel is seen after {seen['ms_p99']} ms (p99); {back['errors']} errors in a rollback")
    return {"channel_move": seen, "rollback": back}


def add_aims(result: Result, is_quick: bool) -> None:
    """What the figures should be."""
    found, memory, seen = (result.figures[name] for name in ("targets", "memory", "channel_move"))
    ours, bare, peer = found["ratchet"], found["bare proxy"], found.get("mlflow")
    for case in (name_of(False, 64), name_of(True, 64)):
        share = round(ours[case]["rps"] / bare[case]["rps"], 2)
        result.aim(f"rps, share of the bare proxy's ({case})", aim=0.5, got=share, met=share >= 0.5)
    times = None if peer is None else round(ours[name_of(False, 64)]["rps"] / peer[name_of(False, 64)]["rps"], 2)
    result.aim("rps, times MLflow's gateway", aim=2.0, got=times, met=None if times is None else times >= 2)
    for case in (name_of(False, 1), name_of(True, 1)):
        added = ours[case]["added_ms_p50_p95_p99"][0]
        result.aim(f"added p50, ms ({case})", aim=1.0, got=added, met=added <= 1.0)
        beyond = round(added - result.figures["one_commit_ms_p50_p95_p99"][0], 3)
        result.aim(f"added p50 beyond one commit to this disk, ms ({case})", aim=1.0, got=beyond, met=beyond <= 1.0)
    result.aim("channel move seen by the gateway, p99 ms", aim=1000, got=seen["ms_p99"], met=seen["ms_p99"] <= 1000)
    errors = result.figures["rollback"]["errors"]
    result.aim("errors in a rollback with 500 requests in flight", aim=0, got=errors, met=errors == 0)
    grown = memory["grown_mib_in_second_half"]
    aim = "MiB grown in the second half of 100,000 requests"
    result.aim(aim, aim=8, got=grown, met=None if is_quick else grown <= 8)


if __name__ == "__main__":
    sys.exit(main())
