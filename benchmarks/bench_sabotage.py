"""How many users meet a sabotaged release before the evidence takes it back: end to end, through the real gateway.

A fake upstream (a real HTTP server) answers as a model of known accuracy would, kept to the labels of the release's
schema; each seed has a feature, a release that lost labels, and users of its own. Then the second act of the demo once,
with the embedded model. Beside it the information bound of bench_rollout.

python -m benchmarks.bench_sabotage [--quick] [--json]
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np

from benchmarks.bench_rollout import bound
from benchmarks.report import Result, arguments, say
from benchmarks.scratch import Clone
from cli.session import Session
from ratchet.channels import Channels
from ratchet.features import Decoding, Feature, ScorerSpec
from ratchet.files import sha256_text
from ratchet.ledger import Ledger
from ratchet.params import ReplayParams
from ratchet.prompts import Prompt
from ratchet.release import BaseModelRef, Release, ReleasePolicy, ReleaseStore, write_candidate
from ratchet.rollout_policy import RolloutPolicy
from ratchet.store import open_store
from tasks.replay import ReplayMessage, replay
from tasks.rollout import read, rollback, start, tick
from tasks.sabotage import misroute
from tests.gateway.fake_model_server import FakeModelServer

ACCURACY, BATCH, WINDOW_S = 0.8, 16, 1.0
LABELS = [f"team_{number:02}" for number in range(12)]
RATES = ReplayParams(
    thumb_rate=0.3, correction_rate=0.9, rephrase_rate=0, noise=0.03, thumb_threshold=0.35, concurrency=8, seed=17
)


class Case(NamedTuple):
    """How many of the labels the release keeps (1: it is harmless), and the canary steps."""

    kept_share: float
    steps: tuple[float, ...]
    horizon: int  # users of both channels

    @property
    def name(self) -> str:
        """As the figures call it."""
        shares = " then ".join(f"{step:.0%}" for step in self.steps)
        return f"keeps {self.kept_share:.0%} of the labels, canary {shares}"


CASES = (
    *(Case(kept, (0.5,), 1500) for kept in (0.75, 0.5, 0.25)),
    Case(0.25, (0.2, 0.5), 1500),
    Case(1.0, (0.5,), 192),
)


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    result = Result("bench_sabotage", options.quick)
    seeds, measured = (2, CASES[2:]) if options.quick else (20, CASES)
    with tempfile.TemporaryDirectory() as folder:
        with served(Path(folder)) as session:
            figures = {case.name: measure(session, case, seeds) if case in measured else None for case in CASES}
        result.figures = {"seeds": seeds, "accuracy": ACCURACY, "window_s": WINDOW_S, "cases": figures}
        result.figures["embedded_model"] = None if options.quick else embedded(Path(folder) / "embedded")
    set_aims(result, seeds)
    result.finish(as_json=options.json)
    return 0


@contextmanager
def served(folder: Path) -> Iterator[Session]:
    """A clone with a running gateway in front of the fake upstream."""
    clone = Clone(folder / "clone")
    with FakeModelServer(answer) as fake:
        clone.environ["RATCHET_MODELSERVER_URL"] = fake.url
        settings = clone.settings
        command = [sys.executable, "-m", "gateway", "--port", settings.gateway_url.rpartition(":")[2]]
        with (folder / "gateway.log").open("w") as log:
            gateway = subprocess.Popen(command, cwd=clone.folder, env=clone.environ, stdout=log, stderr=log)
        try:
            await_ready(settings.gateway_url)
            with open_store(settings.database_url) as store:
                yield Session(settings, store, Ledger(store.engine), Channels.of(settings), ReleaseStore.of(settings))
        finally:
            gateway.terminate()
            gateway.wait()


def answer(body: dict[str, Any]) -> str:
    """The right label of a message with probability ACCURACY, if the schema has it; else another label of it."""
    text = body["messages"][-1]["content"]
    allowed = body["response_format"]["json_schema"]["schema"]["properties"]["route"]["enum"]
    draw = random.Random(sha256_text(text))
    right, wrong = text.split()[0], draw.choice(allowed)
    is_known = draw.random() < ACCURACY and right in allowed
    return json.dumps({"route": right if is_known else wrong if wrong != right else allowed[0]})


def measure(session: Session, case: Case, seeds: int) -> dict[str, Any]:
    """Means over the seeds: outcomes and users until the rollback, a miss counted as the horizon."""
    runs = [trial(session, case, seed) for seed in range(seeds)]
    say(f"{case.name}: {sum(run['is_back'] for run in runs)} of {seeds} taken back")
    back = [run for run in runs if run["is_back"]]
    outcomes = [run["outcomes"] if run["is_back"] else case.horizon / 2 for run in runs]
    drop = good(1.0) - good(case.kept_share)
    least = bound(good(1.0), drop) if drop and len(case.steps) == 1 else None
    return {
        "taken_back": len(back) / seeds,
        "bound": least and round(least, 1),
        "canary_outcomes": round(float(np.mean(outcomes)), 1),
        "of_bound": least and round(float(np.mean(outcomes)) / least, 2),
        "users_met_it": round(float(np.mean([run["met"] for run in runs])), 1),
        "users_all": round(float(np.mean([run["users"] for run in runs])), 1),
        "seconds": round(float(np.mean([run["seconds"] for run in runs])), 1),
        "signals": dict(Counter(run["signal"] for run in back)),
    }


def good(kept_share: float) -> float:
    """The share of users without a complaint, as the replayer's rates have it."""
    right = ACCURACY * kept_share
    unhappy = 1 - (1 - RATES.thumb_rate * (1 - RATES.noise)) * (1 - RATES.correction_rate)
    return right * (1 - RATES.thumb_rate * RATES.noise) + (1 - right) * (1 - unhappy)


def trial(session: Session, case: Case, seed: int) -> dict[str, Any]:
    """One rollout: users come in batches, each followed by a tick, until it is over or the horizon is reached."""
    parts = (session.store, session.channels, session.ledger)
    feature = made_feature(case, seed)
    champion = Release(
        feature=feature.name,
        base_model=BaseModelRef(name="tiny", digest="fake"),
        prompt=Prompt(text="Name the team."),
        decoding=Decoding(),
        output_schema=feature.output_schema,
        policy=ReleasePolicy(scorer="label_accuracy"),
    )
    other = champion.model_copy(update={"prompt": Prompt(text="Name the right team.")})
    worse = misroute(champion, case.kept_share) if case.kept_share < 1 else other
    now = datetime.now(UTC)
    session.channels.begin(feature.name, put(session, champion), at=now, by="bench", reason="first release")
    told = {"policy": feature.rollout, "salt": f"seed {seed}", "now": now, "approval": f"seed {seed}"}
    schema = feature.output_schema
    rollout = start(*parts, feature=feature.name, candidate_id=put(session, worse), **told, output_schema=schema)  # type: ignore[arg-type]
    began, sent = time.monotonic(), 0
    while sent < case.horizon and rollout.state == "running":
        asyncio.run(send(session, feature, range(sent, sent + BATCH), seed))
        sent += BATCH
        tick(*parts, rollout.rollout_id, now=datetime.now(UTC))
        rollout = read(session.store, session.channels, rollout.rollout_id).rollout
    seconds = time.monotonic() - began
    alarm = rollout.evidence.get("alarms", {}).get("rollback", {})
    if rollout.state == "running":
        rollback(*parts, feature.name, now=datetime.now(UTC), by="bench", reason="the horizon is reached")
    met = {i.user_id for _, i in session.store.interactions(feature.name) if i.release_id == worse.release_id}
    is_back = rollout.state == "rolled_back"
    facts = {"is_back": is_back, "outcomes": alarm.get("canary_users"), "signal": alarm.get("signal")}
    return {**facts, "met": len(met), "users": sent, "seconds": seconds}


def made_feature(case: Case, seed: int) -> Feature:
    """A feature of its own for each run."""
    name = f"case_{CASES.index(case)}_{seed}"
    schema = {"type": "object", "properties": {"route": {"type": "string", "enum": LABELS}}}
    policy = RolloutPolicy(steps=case.steps, outcome_window_s=WINDOW_S, min_users=12)
    scorer = ScorerSpec(name="label_accuracy")
    return Feature(name=name, intent="route", owners=("bench",), scorer=scorer, output_schema=schema, rollout=policy)


def put(session: Session, release: Release) -> str:
    """Store a release without an adapter."""
    with tempfile.TemporaryDirectory() as folder:
        write_candidate(Path(folder), release)
        return session.releases.put(Path(folder))


async def send(session: Session, feature: Feature, numbers: range, seed: int) -> None:
    """A batch of new users with one message each, and what they and the agents say of the answers."""
    draw = random.Random(f"{feature.name} {seed} {numbers.start}")
    asked = [
        ReplayMessage(f"{label} {feature.name} {n}", label, session=f"{feature.name}-{n}", user=f"{feature.name}-{n}")
        for n, label in ((n, draw.choice(LABELS)) for n in numbers)
    ]
    url = session.settings.gateway_url
    await replay(asked, feature=feature, gateway_url=url, rates=RATES, on_progress=lambda: None)


def await_ready(url: str) -> None:
    """Wait for the gateway."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/healthz", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the gateway does not answer at {url}")


def embedded(folder: Path) -> dict[str, Any]:
    """The second act of the demo on a bare clone, with all real parts."""
    say("the second act of the demo, with the embedded model")
    clone = Clone(folder)
    began = time.monotonic()
    clone.ratchet("demo", "--sabotage")
    facts = json.loads((clone.settings.home / "demo" / "front_desk-sabotage.json").read_text(encoding="utf-8"))
    live, back = (datetime.fromisoformat(facts[key]) for key in ("live_at", "back_at"))
    kept = ("state", "signal", "judged_canary_users", "users_met_it", "users_all", "ticks_without_prefect")
    taken = {"live_s": (back - live).total_seconds(), "whole_demo_s": round(time.monotonic() - began, 1)}
    return {**{key: facts[key] for key in kept}, **taken}


def set_aims(result: Result, seeds: int) -> None:
    """Taken back near the bound; harmless ones at most alpha, and two standard errors."""
    for name, found in result.figures["cases"].items():
        got = found and found["of_bound"]
        if name not in (CASES[-2].name, CASES[-1].name):
            met = None if got is None else got <= 1.25
            result.aim(f"canary outcomes over the bound, {name}", aim=1.25, got=got, met=met)
    harmless = result.figures["cases"][CASES[-1].name]["taken_back"]
    allowed = 0.05 + 2 * math.sqrt(0.05 * 0.95 / seeds)
    result.aim("harmless releases taken back", aim=0.05, got=harmless, met=harmless <= allowed)
    demo = result.figures["embedded_model"]
    whole = demo["whole_demo_s"] if demo else None
    result.aim("second act of the demo, s", aim=180, got=whole, met=None if whole is None else whole <= 180)


if __name__ == "__main__":
    raise SystemExit(main())
