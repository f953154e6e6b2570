"""`ratchet rollout …` and `ratchet rollback`, as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ratchet import git
from ratchet.settings import Settings
from tests.released import AT, Machine

WHY = ("--reason", "because")


@pytest.fixture
def machine(routing: Settings) -> Iterator[Machine]:
    made = Machine(routing)
    made.channels.begin("routing", made.release("Name the team."), at=AT, by="ana", reason="first")
    yield made
    made.store.close()


def set_rollout(repo: Path, **changes: object) -> None:
    path = repo / "features" / "routing" / "feature.yaml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content | {"rollout": {**content.get("rollout", {}), **changes}}))


def test_a_written_prompt_is_approved_mirrored_and_put_before_users(ratchet, machine: Machine, routing) -> None:
    prompt = routing.repo / "features" / "routing" / "prompts" / "short.md"
    prompt.write_text("Name the team in a word.\n")
    git.run(routing.repo, "add", str(prompt))
    git.run(routing.repo, "commit", "-q", "-m", "a shorter prompt")
    written = json.loads(ratchet("release", "write", "routing", "--prompt", str(prompt), *WHY, "--json").out)
    release_id = written["release_id"]
    refused = ratchet("rollout", "start", "routing", release_id, *WHY)
    assert refused.status == 2 and "neither approved nor live" in refused.err
    machine.ledger.append("approve", release_id, approver="ana")
    set_rollout(routing.repo, shadow={"share": 0.25})
    assert "mirrored 25% of the requests of routing" in ratchet("rollout", "start", "routing", release_id, *WHY).out
    assert "running, step shadow" in ratchet("rollout", "status", "routing").out
    ratchet("rollout", "tick")
    assert "0 mirrored answers of 0 users" in ratchet("rollout", "status", "routing").out
    assert "to 20% of the users" in ratchet("rollout", "promote", "routing", *WHY).out
    assert f"serves {release_id[:16]} to everyone" in ratchet("rollout", "promote", "routing", *WHY).out


def test_a_tenant_goes_on_and_back_alone(ratchet, machine: Machine) -> None:
    stable, other = machine.channels.read("routing").stable, machine.release("Name the right team.", version="v2.0.0")
    machine.ledger.append("approve", other, approver="ana")
    started = ratchet("rollout", "start", "routing", other, "--tenant", "acme", *WHY)
    assert "of routing@acme" in started.out, started.err
    assert "routing@acme serves" in ratchet("rollout", "promote", "routing", "--tenant", "acme", *WHY).out
    assert json.loads(ratchet("channel", "show", "routing", "--tenant", "acme", "--json").out)[0]["stable"] == other
    ended = ratchet("rollback", "routing", "--tenant", "acme")
    assert f"routing@acme serves {stable[:16]}" in ended.out and machine.channels.read("routing").version == 1


def test_what_promotions_are_worth_is_said_or_why_not(ratchet, machine: Machine, routing) -> None:
    assert "no user is held back" in ratchet("rollout", "worth", "routing").out
    anchor, other = machine.channels.read("routing").stable, machine.release("Name the right team.", version="v2.0.0")
    machine.store.create_document("anchor", "routing", "routing", {"release_id": anchor})
    machine.ledger.append("approve", other, approver="ana")
    set_rollout(routing.repo, holdback=0.02)
    ratchet("rollout", "start", "routing", other, *WHY)
    ratchet("rollout", "promote", "routing", *WHY)
    found = json.loads(ratchet("rollout", "worth", "routing", "--json").out)
    assert (found["anchor"], found["stable"], found["share"], found["users"]["anchor"]) == (anchor, other, 0.02, 0)
    assert "all promotions: ? to ? points" in ratchet("rollout", "worth", "routing").out
    assert "ratchet rollout worth routing" in ratchet("rollout", "status", "routing").out
