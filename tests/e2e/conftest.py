"""One scratch clone with a tiny feature and all real parts running, shared by the end-to-end tests."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest
from selenium.webdriver.remote.webdriver import WebDriver

from benchmarks.scratch import REPO, Clone
from cli.prefect_api import flow_run_state
from ratchet.runs import Run, runs_of
from ratchet.settings import Settings
from ratchet.store import open_store
from tests.browser import chromium

LABELS = ("card_lost_stolen", "loan_mortgage", "exchange_abroad")
TINY = {
    "arms": ["sft"],
    "tune.sft.epochs": 3,
    "tune.sft.layers": 10,
    "validate.min_rows": 10,
    "replay.correction_rate": 1.0,
    "replay.rephrase_rate": 0.0,
    "replay.noise": 0.0,
}


def rows_of(name: str, labels: tuple[str, ...] = LABELS) -> list[dict[str, str]]:
    """Bundled messages of a few routes."""
    path = REPO / "data" / "demo" / "support_routing" / name
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row.get("label", row.get("expected")) in labels]


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    """Write JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def require_model() -> None:
    """Skip, saying so, where the embedded model has not been converted."""
    if not (Settings.from_env().cache / "models" / "smollm2-135m-instruct" / "ratchet.json").is_file():
        pytest.skip("the embedded model is missing: `make setup` converts it")


def add_feature(clone: Clone, name: str) -> None:
    """A three-route feature with a gate and a rollout that small numbers can pass."""
    labels = clone.folder / "in" / "labels.txt"
    labels.write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    clone.ratchet("feature", "new", name, "--labels", str(labels))
    path = clone.folder / "features" / name / "feature.yaml"
    policy = path.read_text(encoding="utf-8")
    policy = policy.replace("min_items: 100", "min_items: 20").replace("min_users: 12", "min_users: 4")
    path.write_text(policy, encoding="utf-8")
    clone.git("add", "features", "params.yaml")
    clone.git("commit", "-q", "-m", f"feature {name}")


def tiny_clone(folder: Path) -> Clone:
    """A clone whose params make a cycle take a minute, with a three-route feature `tiny`."""
    clone = Clone(folder)
    clone.set_params(TINY)
    clone.run("mkdir", "-p", "in")
    add_feature(clone, "tiny")
    held = rows_of("holdout/holdout.jsonl")
    write_rows(folder / "in" / "traffic.jsonl", rows_of("traffic.jsonl"))
    write_rows(folder / "in" / "later.jsonl", rows_of("later.jsonl"))
    random.Random(1).shuffle(held)
    write_rows(folder / "in" / "holdout.jsonl", held[:60])
    return clone


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[WebDriver]:
    """Headless Chromium, patient with pages that load."""
    with chromium(tmp_path / "profile") as browser:
        browser.implicitly_wait(20)
        yield browser


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The tiny clone, without its parts."""
    require_model()
    return tiny_clone(tmp_path_factory.mktemp("loop") / "clone")


@pytest.fixture(scope="session")
def loop(clone: Clone) -> Iterator[Clone]:
    """The tiny clone with all parts up, an approver enrolled, traffic replayed and a holdout added."""
    log: list[str] = []
    try:
        with clone.up(log):
            clone.ratchet("people", "add", "demo-machine", "--machine")
            clone.ratchet("replay", "tiny", "in/traffic.jsonl")
            clone.ratchet("holdout", "add", "tiny", "in/holdout.jsonl")
            yield clone
    finally:
        (clone.folder / "services.log").write_text("\n".join(log), encoding="utf-8")


def logged(name: str) -> list[dict[str, Any]]:
    """The bundled traffic as an application would have logged it: every answer wrong, every one corrected."""
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(rows_of("traffic.jsonl")):
        wrong = LABELS[(LABELS.index(row["label"]) + 1) % len(LABELS)]
        at = f"2026-11-20T10:{number // 60:02}:{number % 60:02}Z"
        ids = {"interaction_id": f"{name}-{number}", "at": at}
        asked = {"messages": [{"role": "user", "content": row["text"]}]}
        said = {"content": json.dumps({"route": wrong})}
        rows.append({**ids, "user_id": row["user"], "session_id": row["session"], "input": asked, "output": said})
        agent = {"type": "agent", "id": "ana"}
        correction = {"feedback_id": f"f-{name}-{number}", "kind": "correction", "value": row["label"], "source": agent}
        rows.append({**ids, **correction})
    return rows


def wait_for(clone: Clone, feature: str, is_met: Callable[[Run], bool], limit_s: float = 600) -> Run:
    """Wait until the newest run of a feature meets a condition."""
    deadline = time.monotonic() + limit_s
    with open_store(clone.settings.database_url) as store:
        while time.monotonic() < deadline:
            runs = runs_of(store, feature)
            if runs and is_met(runs[-1]):
                return runs[-1]
            if runs and runs[-1].state in ("done", "failed"):  # over: give what comes next a moment
                deadline = min(deadline, time.monotonic() + 30)
            time.sleep(0.1)
    raise AssertionError(f"waited in vain; runs: {runs}")


class Desk:
    """A clone with parts running, and a person who may approve."""

    def __init__(self, clone: Clone) -> None:
        self.clone = clone
        enrolled = clone.ratchet_json("people", "add", "zoe")
        self.totp = pyotp.parse_uri(enrolled["otpauth_uri"])
        self.used = ""
        self.started: list[subprocess.Popen[bytes]] = []

    def add(self, name: str) -> None:
        """A feature with logged feedback and a holdout, ready for `ratchet run`."""
        add_feature(self.clone, name)
        write_rows(self.clone.folder / "in" / f"{name}.jsonl", logged(name))
        self.clone.ratchet("import", f"in/{name}.jsonl", "--feature", name)
        self.clone.ratchet("holdout", "add", name, "in/holdout.jsonl")

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """`ratchet run` in the background, what it says in in/NAME.out."""
        with (self.clone.folder / "in" / f"{name}.out").open("ab") as out:
            command = [sys.executable, "-m", "cli.main", "run", name]
            process = subprocess.Popen(
                command, cwd=self.clone.folder, env=self.clone.environ, stdout=out, stderr=subprocess.STDOUT
            )
        self.started.append(process)
        return process

    def waiting(self, name: str) -> Run:
        """The feature's newest run, once it waits for an approval and would take an answer."""
        return wait_for(self.clone, name, self._takes_an_answer)

    def _takes_an_answer(self, run: Run) -> bool:
        return run.state == "awaiting" and flow_run_state(self.clone.settings, str(run.flow_run_id))[0] == "PAUSED"

    def code(self) -> str:
        """A one-time code that was not used yet."""
        while self.totp.now() == self.used:
            time.sleep(0.5)
        self.used = self.totp.now()
        return self.used

    def decide(self, command: str, run: Run, **changes: str) -> subprocess.CompletedProcess[str]:
        """`ratchet approve` or `ratchet reject` by the person, with one thing changed."""
        assert run.release_id is not None
        told = {"digest": run.release_id[4:16], "approver": "zoe", **changes}
        told.setdefault("code", self.totp.now())
        arguments = [word for name, value in told.items() for word in (f"--{name}", value)]
        return self.clone.ratchet(command, run.run_id, *arguments, check=False)


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A second tiny clone for runs that wait for a person, with all parts up and the person `zoe` enrolled."""
    require_model()
    clone = tiny_clone(tmp_path_factory.mktemp("desk") / "clone")
    log: list[str] = []
    try:
        with clone.up(log):
            desk = Desk(clone)
            yield desk
            for process in desk.started:
                process.kill()
                process.wait()
    finally:
        (clone.folder / "services.log").write_text("\n".join(log), encoding="utf-8")
