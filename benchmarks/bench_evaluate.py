"""Answers a second of the evaluation beside one call after another; a rerun on recorded answers; memory per item.

python -m benchmarks.bench_evaluate [--quick] [--json]

Speed is measured on the embedded model, interleaved: messages sequentially and as the evaluation asks them, no message
twice, since the server remembers beginnings.
Memory and the overhead of our own code are measured on a fake model server, which answers at once.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import Result, arguments, say
from benchmarks.scratch import REPO
from ratchet.answers import AnswerLog
from ratchet.params import load_params
from ratchet.records import HoldoutItem, Message, Rejected, read_jsonl
from ratchet.release import read_manifest
from ratchet.settings import Settings
from tasks.compare_releases import serving
from tasks.contenders import Contender, Served, ask

FEATURE = "support_routing"
DATA = REPO / "data" / "demo" / FEATURE
MANY = (1_000, 10_000)
ROUTE = '{"route": "cash_machine"}'


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    result = Result("bench_evaluate", options.quick)
    with tempfile.TemporaryDirectory() as folder:
        speed = measure_speed(Path(folder), rounds=1 if options.quick else 3, items=8 if options.quick else 24)
        memory = None if options.quick else measure_memory()
    result.figures = {"embedded model": speed, "fake model server": memory}
    result.aim("times sequential", aim=4.0, got=speed["times_sequential"], met=speed["times_sequential"] >= 4)
    got = None if memory is None else memory["kib_per_item"]
    result.aim("10,000 items, KiB of peak memory per item", aim=20, got=got, met=None if got is None else got <= 20)
    result.finish(as_json=options.json)
    return 0


def measure_speed(folder: Path, *, rounds: int, items: int) -> dict[str, Any]:
    """Answers a second of the bundled v1 on bundled traffic: sequential, concurrent, and recorded before."""
    settings, params = Settings.from_env({"RATCHET_REPO": str(REPO)}), load_params(REPO / "params.yaml")
    asked, contender = iter(read_traffic()), Contender(read_manifest(DATA / "champion.json"), None)
    with serving(settings, params, [contender]) as served:
        fresh = replace(served, log=AnswerLog(folder / "fresh", recalls=False))
        timed(contender, list(islice(asked, 2)), fresh)  # the first requests warm the server up
        rates: dict[str, list[float]] = {"sequential": [], "evaluation": []}
        for turn in range(rounds):
            ways = [("sequential", 1), ("evaluation", params.evaluate.concurrency)]
            for name, concurrency in ways if turn % 2 == 0 else reversed(ways):
                part = list(islice(asked, items))
                seconds = timed(contender, part, replace(fresh, concurrency=concurrency))
                rates[name].append(items / seconds)
                say(f"{name}: {items / seconds:.2f} answers/s")
        recorded = replace(served, log=AnswerLog(folder / "fresh"))
        again = items / timed(contender, part, recorded)
    typical = {name: round(median(found), 2) for name, found in rates.items()}
    return {
        "items": items,
        "rounds": rounds,
        "concurrency": params.evaluate.concurrency,
        "answers_per_s": typical,
        "times_sequential": round(typical["evaluation"] / typical["sequential"], 2),
        "recorded_answers_per_s": round(again),
    }


def read_traffic() -> list[HoldoutItem]:
    """The bundled traffic as items; nothing here looks at what is right."""
    rows = [row for _, row in read_jsonl(DATA / "traffic.jsonl") if not isinstance(row, Rejected)]
    return [
        HoldoutItem(f"item_{i}", (Message(role="user", content=row["text"]),), {}, (), "") for i, row in enumerate(rows)
    ]


def measure_memory() -> dict[str, Any]:
    """Peak memory of a process that asks 1,000 and one that asks 10,000 items; answers a second of our own code."""
    context = multiprocessing.get_context("spawn")
    with fake_server(context) as url, context.Pool(1, maxtasksperchild=1) as pool:
        found = {n: pool.apply(ask_many, (n, url)) for n in MANY}
    few, many = MANY
    grown = (found[many][0] - found[few][0]) * 1024 / (many - few)
    return {
        "peak_mib": {n: round(peak, 1) for n, (peak, _) in found.items()},
        "kib_per_item": round(grown, 2),
        "answers_per_s": round(many / found[many][1]),
    }


def ask_many(n: int, url: str) -> tuple[float, float]:
    """Ask n different questions in this process. Returns its peak memory in MiB, and seconds."""
    asked, contender = read_traffic(), Contender(read_manifest(DATA / "champion.json"), None)
    texts = [f"{asked[i % len(asked)].messages[0].content} ({i})" for i in range(n)]
    items = [HoldoutItem(f"item_{i}", (Message(role="user", content=t),), {}, (), "") for i, t in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        seconds = timed(contender, items, Served(url, None, 8, AnswerLog(Path(folder))))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, seconds


def timed(contender: Contender, items: list[HoldoutItem], served: Served) -> float:
    """Seconds that the answers took; a failed one ends the benchmark."""
    began = time.monotonic()
    answers = ask(contender, items, served)
    if any(answer.error for answer in answers):
        raise RuntimeError(f"a request failed: {next(a.error for a in answers if a.error)}")
    return time.monotonic() - began


@contextmanager
def fake_server(context: Any) -> Iterator[str]:
    """A fake model server in a process of its own."""
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Any) -> None:
    sys.path.insert(0, str(REPO))
    from tests.fake_model_server import FakeModelServer

    with FakeModelServer(lambda body: ROUTE) as server:
        pipe.send(server.url)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    sys.exit(main())
