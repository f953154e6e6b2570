"""The whole loop on real parts: feedback in, a better release out, and what must hold on the way."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest

from benchmarks.scratch import Clone
from cli.prefect_api import call, flow_run_state, start_flow_run
from cli.run import FINAL

QUESTION = "hi, i lost my card on the bus this morning, pls block it"
Facts = dict[str, Any]


def ask(clone: Clone, user: str) -> tuple[str, str]:
    """What an ordinary OpenAI client gets: the answer and the release that gave it."""
    client = openai.OpenAI(base_url=clone.settings.gateway_url + "/v1", api_key="none", max_retries=0)
    messages: Any = [{"role": "user", "content": QUESTION}]
    reply = client.chat.completions.with_raw_response.create(model="tiny", messages=messages, user=user)
    return str(reply.parse().choices[0].message.content), reply.headers["x-ratchet-release"]


@pytest.fixture(scope="module")
def run(loop: Clone) -> Facts:
    """One cycle, approved by the enrolled machine."""
    facts: Facts = loop.ratchet_json("run", "tiny", "--auto-approve")
    return facts


def test_a_run_is_accepted_tagged_and_rolled_out(run: Facts) -> None:
    assert run["outcome"] == "accept", run["reasons"]
    assert run["version"] == "v2.0.0"
    assert run["rollout_id"]
    assert {stage["stage"] for stage in run["stages"]} >= {"snapshot", "tune@sft", "gate"}


def test_the_ledger_names_the_machine_that_approved(loop: Clone, run: Facts) -> None:
    entries = loop.ratchet_json("audit", "log")
    approvals = [e["facts"] for e in entries if e["event"] == "approve"]
    assert [(facts["approver"], facts["kind"]) for facts in approvals] == [("demo-machine", "machine")]
    assert loop.ratchet_json("audit", "verify")["whole"]


def test_the_users_branch_and_checkout_are_untouched(loop: Clone, run: Facts) -> None:
    assert loop.git("branch", "--show-current") == "main"
    assert loop.git("log", "--format=%s", "main").splitlines()[0] == "feature tiny"
    assert "data/tiny/holdout.dvc" in loop.git("status", "--porcelain")


def test_no_user_text_is_in_the_runs_commit(loop: Clone, run: Facts) -> None:
    changed = loop.git("diff", "main", str(run["commit"]), "--", "data/tiny", "dvc.lock")
    lines = (loop.folder / "in/traffic.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line)["text"] for line in lines]
    assert changed
    assert not [text for text in asked if len(text) > 30 and text[:30] in changed]


def test_nothing_new_is_exit_3(loop: Clone, run: Facts) -> None:
    again = loop.ratchet("run", "tiny", check=False)
    assert again.returncode == 3, again.stderr
    assert "nothing new" in again.stderr


def test_every_deployment_is_served(loop: Clone) -> None:
    found = call(loop.settings, "POST", "/deployments/filter", {})
    assert {deployment["name"] for deployment in found} == {
        "approvals",
        "improve",
        "harvest",
        "probe",
        "pull",
        "rollout",
    }


@pytest.mark.parametrize("flow", ["approvals", "probe"])
def test_what_the_clock_starts_ends_well_where_nothing_waits(loop: Clone, flow: str) -> None:
    started = start_flow_run(loop.settings, f"{flow}/{flow}", {})
    deadline = time.monotonic() + 120
    while (state := flow_run_state(loop.settings, started)[0]) not in FINAL and time.monotonic() < deadline:
        time.sleep(0.5)
    assert state == "COMPLETED"


def test_the_server_can_schedule_runs(loop: Clone) -> None:
    ident = call(loop.settings, "GET", "/deployments/name/harvest/harvest")["id"]
    yearly = {"schedule": {"cron": "0 0 1 1 *"}, "active": True}
    call(loop.settings, "POST", f"/deployments/{ident}/schedules", [yearly])
    call(loop.settings, "POST", f"/deployments/{ident}/schedule", {"min_runs": 1})
    wanted = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}, "deployment_id": {"any_": [ident]}}}
    assert call(loop.settings, "POST", "/flow_runs/filter", wanted)


def test_the_rollout_promotes_and_clients_get_the_better_release(loop: Clone, run: Facts) -> None:
    rows = [json.loads(line) for line in (loop.folder / "in/later.jsonl").read_text(encoding="utf-8").splitlines()]
    state = "running"
    for number in range(20):
        renamed = [{**r, "user": f"{r['user']}-{number}", "session": f"{r['session']}-{number}"} for r in rows]
        (loop.folder / "in/now.jsonl").write_text("".join(json.dumps(r) + "\n" for r in renamed), encoding="utf-8")
        loop.ratchet("replay", "tiny", "in/now.jsonl")
        time.sleep(4)
        loop.ratchet("rollout", "tick")
        state = loop.ratchet_json("rollout", "status", "tiny")[-1]["state"]
        if state != "running":
            break
    assert state == "promoted"
    answer, release = ask(loop, "somebody-new")
    assert (answer, release) == ('{"route": "card_lost_stolen"}', run["release_id"])


def test_rollback_brings_the_former_release_back(loop: Clone, run: Facts) -> None:
    assert ask(loop, "u-rollback")[1] == run["release_id"]
    loop.ratchet("rollback", "tiny", "--reason", "a test")
    time.sleep(1.0)
    assert ask(loop, "u-rollback")[1] == run["champion_id"]


def test_the_tag_reproduces_without_running_a_stage(loop: Clone, run: Facts) -> None:
    loop.git("checkout", "-q", "tiny@v2.0.0")
    loop.dvc("pull")
    told = loop.dvc("repro").stdout
    assert "Running stage" not in told and "up to date" in told


def test_with_the_cache_emptied_it_computes_the_same(loop: Clone, run: Facts) -> None:
    lock = (loop.folder / "dvc.lock").read_text(encoding="utf-8")
    for path in (loop.folder / ".dvc" / "cache", loop.folder / "data" / "tiny" / "candidates"):
        loop.run("rm", "-rf", str(path))
    loop.dvc("pull", "data/tiny/raw.dvc", "data/tiny/holdout.dvc")
    told = loop.dvc("repro", "-f").stdout
    assert "Running stage 'tune@sft'" in told
    assert (loop.folder / "dvc.lock").read_text(encoding="utf-8") == lock
