"""The whole loop on real parts: feedback in, a better release out, and what must hold on the way."""

from __future__ import annotations

import json
import time

import httpx
import openai
import pyotp
import pytest

from benchmarks.scratch import Clone

QUESTION = "hi, i lost my card on the bus this morning, pls block it"


def ask(clone: Clone, user: str) -> tuple[str, str]:
    """What an ordinary OpenAI client gets: the answer and the release that gave it."""
    client = openai.OpenAI(base_url=clone.settings.gateway_url + "/v1", api_key="none", max_retries=0)
    messages = [{"role": "user", "content": QUESTION}]
    reply = client.chat.completions.with_raw_response.create(model="tiny", messages=messages, user=user)  # type: ignore[arg-type]
    return str(reply.parse().choices[0].message.content), reply.headers["x-ratchet-release"]


@pytest.fixture(scope="module")
def run(loop: Clone) -> dict[str, object]:
    """One cycle, approved by the enrolled machine."""
    facts: dict[str, object] = loop.ratchet_json("run", "tiny", "--auto-approve")
    return facts


def test_a_run_is_accepted_tagged_and_rolled_out(run: dict[str, object]) -> None:
    assert run["outcome"] == "accept", run["reasons"]
    assert run["version"] == "v2.0.0"
    assert run["rollout_id"]
    assert {stage["stage"] for stage in run["stages"]} >= {"snapshot", "tune@sft", "gate"}  # type: ignore[attr-defined]


def test_the_ledger_names_the_machine_that_approved(loop: Clone, run: dict[str, object]) -> None:
    entries = loop.ratchet_json("audit", "log")
    approvals = [e for e in entries if e["event"] == "approve"]
    assert [(e["facts"]["approver"], e["facts"]["kind"]) for e in approvals] == [("demo-machine", "machine")]
    assert loop.ratchet_json("audit", "verify")["whole"]


def test_the_users_branch_and_checkout_are_untouched(loop: Clone, run: dict[str, object]) -> None:
    assert loop.git("branch", "--show-current") == "main"
    assert "data/tiny/holdout.dvc" in loop.git("status", "--porcelain")
    assert loop.git("log", "--format=%s", "main") == "a copy of the working tree"


def test_no_user_text_is_in_the_runs_commit(loop: Clone, run: dict[str, object]) -> None:
    changed = loop.git("diff", "main", str(run["commit"]), "--", "data/tiny", "dvc.lock")
    words = [json.loads(line)["text"] for line in (loop.folder / "in/traffic.jsonl").read_text().splitlines()]
    assert not [text for text in words if len(text) > 30 and text[:30] in changed]


def test_nothing_new_is_exit_3(loop: Clone, run: dict[str, object]) -> None:
    again = loop.ratchet("run", "tiny", check=False)
    assert again.returncode == 3, again.stderr
    assert "nothing new" in again.stderr


def test_the_tag_reproduces_without_running_a_stage(loop: Clone, run: dict[str, object]) -> None:
    loop.git("stash", "-u")
    loop.git("checkout", "-q", "tiny@v2.0.0")
    try:
        loop.dvc("pull")
        assert "up to date" in loop.dvc("repro").stdout
    finally:
        loop.git("checkout", "-q", "-f", "main")
        loop.git("stash", "pop")


def test_the_rollout_promotes_and_clients_get_the_new_release(loop: Clone, run: dict[str, object]) -> None:
    deadline = time.monotonic() + 240
    state = "running"
    rounds = 0
    while state == "running" and time.monotonic() < deadline:
        later = (loop.folder / "in/later.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in later]
        renamed = [{**r, "user": f"{r['user']}-{rounds}", "session": f"{r['session']}-{rounds}"} for r in rows]
        (loop.folder / "in/now.jsonl").write_text("".join(json.dumps(r) + "\n" for r in renamed))
        loop.ratchet("replay", "tiny", "in/now.jsonl")
        time.sleep(4)
        loop.ratchet("rollout", "tick")
        state = loop.ratchet_json("rollout", "status", "tiny")[-1]["state"]
        rounds += 1
    assert state == "promoted"
    answer, release = ask(loop, "somebody-new")
    assert release == run["release_id"]
    assert answer == '{"route": "card_lost_stolen"}'


def test_a_second_run_is_refused_while_one_waits_and_a_used_code_is_refused(
    loop: Clone, run: dict[str, object]
) -> None:
    test_the_prefect_server_is_the_only_orchestrator(loop)


def test_the_prefect_server_is_the_only_orchestrator(loop: Clone) -> None:
    names = {d["name"] for d in httpx.post(loop.settings.prefect_api_url + "/deployments/filter", json={}).json()}
    assert names == {"improve", "harvest", "rollout"}


def test_rollback_brings_the_former_release_back(loop: Clone, run: dict[str, object]) -> None:
    before = ask(loop, "u-rollback")[1]
    loop.ratchet("rollback", "tiny", "--reason", "a test")
    time.sleep(1.1)
    assert ask(loop, "u-rollback")[1] != before


def _code(secret: str) -> str:
    return pyotp.TOTP(secret).now()
