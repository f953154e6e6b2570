"""`ratchet release …`, `ratchet prompts …`, `ratchet channel …` and `ratchet feature owners`, as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratchet import git
from ratchet.settings import Settings
from ratchet.trust import trust_document
from tests.released import AT, WEIGHTS, Machine

GATE = {"verdict": "accept", "chosen_arm": "reflect", "reasons": ["+5 points [bold"], "candidate": {"score": 0.9}}


@pytest.fixture
def machine(routing: Settings) -> Iterator[Machine]:
    made = Machine(routing)
    yield made
    made.store.close()


@pytest.fixture
def two(machine: Machine) -> tuple[str, str]:
    """v1 live, and v2, whose prompt has a control character in it."""
    one = machine.release("Name the team.")
    found = machine.release(
        "Name the \x1b[31mright team.", version="v2.0.0", run="r2", claims={"gate": GATE}, weights=WEIGHTS
    )
    machine.channels.begin("routing", one, at=AT, by="ana", reason="first")
    return one, found


def facts(ended: Any) -> Any:
    assert ended.status == 0, ended.err
    return json.loads(ended.out)


def test_whole_and_signed_releases_verify(ratchet, two) -> None:
    found = facts(ratchet("release", "verify", "--all", "--json"))
    assert {(row["release_id"], row["is_servable"], row["approved_by"]) for row in found} == {
        (one, True, "ana") for one in two
    }
    assert "signed    by the pipeline and ana" in ratchet("release", "show", two[1]).out


@pytest.mark.parametrize("what", ["manifest", "weights", "claims", "pickle"])
def test_a_tampered_release_fails_and_ends_with_1(ratchet, machine: Machine, two, what: str) -> None:
    folder = machine.releases.folder / two[1]
    if what == "manifest":
        (folder / "candidate.json").write_text((folder / "candidate.json").read_text().replace("Name", "Leak"))
    elif what == "weights":
        (folder / "adapter" / "adapter_model.safetensors").write_bytes(WEIGHTS + b"x")
    elif what == "claims":
        machine.change_attestation(two[1], commit="f" * 40)
    else:
        two = (two[0], machine.release("P.", weights=b"\x80\x04pickle...."))
    ended = ratchet("release", "verify", "--all")
    assert ended.status == 1 and f"FAIL {two[1][:16]}" in ended.out and f"ok   {two[0][:16]}" in ended.out


def test_an_unapproved_release_fails_only_where_a_trust_file_is_set(ratchet, machine, two, monkeypatch) -> None:
    proposed = machine.release("Hm.", version=None, approve=False)
    assert "no approval" in ratchet("release", "verify", proposed).out
    path = machine.settings.home / "trust.yaml"
    path.write_text(trust_document(machine.settings))
    monkeypatch.setenv("RATCHET_TRUST", str(path))
    assert ratchet("release", "verify", proposed).status == 1
    assert ratchet("release", "verify", two[0]).status == 0


def test_the_trust_file_is_written(ratchet, machine: Machine, two, tmp_path: Path) -> None:
    facts(ratchet("release", "trust", "--out", str(tmp_path / "t.yaml"), "--json"))
    assert (tmp_path / "t.yaml").read_text() == trust_document(machine.settings)


def test_a_diff_shows_what_changed_and_no_control_character(ratchet, two) -> None:
    found = facts(ratchet("release", "diff", *two, "--json"))
    assert found["scores"]["score"] == [None, 0.9] and found["settings"]["adapter"][0] is None
    ended = ratchet("release", "diff", *two)
    assert "-Name the team." in ended.out and "+Name the" in ended.out and "\x1b" not in ended.out


def test_a_release_goes_out_and_comes_in(ratchet, two, tmp_path: Path) -> None:
    facts(ratchet("release", "export", two[1][:12], "--out", str(tmp_path / "r.tar"), "--json"))
    found = facts(ratchet("release", "import", str(tmp_path / "r.tar"), "--json"))
    assert found == {"release_id": two[1], "is_attested": False}


def test_merge_makes_a_branch_and_then_there_is_nothing_new(ratchet, machine: Machine, two) -> None:
    assert ratchet("release", "merge", "routing").status == 3
    three = machine.release("Name the right team.", version="v3.0.0")
    told = {"at": AT, "by": "ana", "reason": "up"}
    machine.channels.move("routing", stable=three, canary=None, expected_version=1, **told)
    assert "ratchet release merge routing" in ratchet("status", "routing").out
    found = facts(ratchet("release", "merge", "routing", "--json"))
    git.run(machine.settings.repo, "merge", "-q", found["branch"])
    assert ratchet("release", "merge", "routing").status == 3
    assert json.loads(ratchet("status", "--json").out)["routing"]["main_differs_from_live"] is False


def test_the_registry_lists_shows_logs_and_diffs(ratchet, machine: Machine, two) -> None:
    [row] = facts(ratchet("prompts", "list", "--json"))
    assert (row["channel"], row["version"], row["owners"], row["approved_by"]) == ("routing", "v1.0.0", ["ana"], "ana")
    assert "Name the team." in ratchet("prompts", "show", "routing").out
    assert facts(ratchet("prompts", "show", "routing", "--version", "v2", "--json"))["run"] == "r2"
    shown = ratchet("prompts", "show", "routing", "--version", "v2").out
    assert "\x1b" not in shown and "right team." in shown
    assert facts(ratchet("prompts", "diff", "routing", "main", "live", "--json"))["diff"] == []
    logged = ratchet("prompts", "log", "routing")
    assert logged.status == 0 and "made by reflect" in logged.out and "+5 points [bold" in logged.out
    assert [row["version"] for row in facts(ratchet("prompts", "log", "routing", "--json"))] == ["v2.0.0", "v1.0.0"]


def test_an_unknown_version_ends_with_2(ratchet, two) -> None:
    ended = ratchet("prompts", "show", "routing", "--version", "v7")
    assert ended.status == 2 and "there are: v1.0.0, v2.0.0" in ended.err


def test_a_tenant_is_pinned_shown_and_let_go(ratchet, two) -> None:
    acme = ("routing", "--tenant", "acme")
    facts(ratchet("channel", "pin", *acme, "--release", two[1], "--reason", "contract", "--json"))
    [shown] = facts(ratchet("channel", "show", *acme, "--json"))
    assert (shown["channel"], shown["stable"]) == ("routing@acme", two[1])
    assert [row["channel"] for row in facts(ratchet("prompts", "list", "--json"))] == ["routing", "routing@acme"]
    facts(ratchet("channel", "unpin", *acme, "--reason", "ended", "--json"))
    assert facts(ratchet("channel", "show", *acme, "--json"))[0]["channel"] == "routing"
    assert [r["reason"] for r in facts(ratchet("channel", "history", *acme, "--json"))] == ["contract", "ended"]
    assert ratchet("channel", "pin", "routing", "--tenant", "../x", "--release", two[1], "--reason", "x").status == 2


def test_a_freeze_is_seen_and_undone(ratchet, machine: Machine, two) -> None:
    assert "only the way back is open" in ratchet("channel", "freeze", "--all", "--reason", "sale [bold").out
    assert "sale [bold" in ratchet("status").out and "sale [bold" in ratchet("channel", "show").out
    ended = ratchet("channel", "pin", "routing", "--tenant", "acme", "--release", two[1], "--reason", "x")
    assert ended.status == 1 and "sale" in ended.err
    ratchet("channel", "unfreeze", "routing", "--reason", "over")
    assert machine.channels.read("routing").frozen is None
    events = [row["event"] for row in facts(ratchet("channel", "history", "routing", "--json"))]
    assert events == ["move", "freeze", "unfreeze"]
    assert ratchet("channel", "freeze", "--reason", "x").status == 2


def test_owners_are_written_once_and_checked(ratchet, machine: Machine) -> None:
    assert ratchet("feature", "owners", "--check").status == 1
    assert "/features/routing/ @a" in ratchet("feature", "owners", "--write").out
    assert ratchet("feature", "owners", "--check").status == 0
    assert (machine.settings.repo / "CODEOWNERS").is_file()


def test_the_live_release_by_tenant_and_time_is_one_command(ratchet, machine: Machine, two) -> None:
    machine.ledger.append("first release", two[0], feature="routing")
    at = ("--feature", "routing", "--tenant", "acme", "--at", "2026-06-01")
    found = facts(ratchet("audit", "live", *at, "--json"))
    assert (found["stable"]["release_id"], found["stable"]["approval"]["approver"]) == (two[0], "ana")
    told = ratchet("audit", "live", *at).out
    assert "ledger entry 1" in told and "approved by ana (person)" in told
    assert ratchet("audit", "live", *at[:4], "--at", "yesterday").status == 2


def test_the_ledger_is_anchored_exported_and_held_against_its_anchor(ratchet, machine: Machine, two, tmp_path) -> None:
    machine.ledger.append("first release", two[0], feature="routing")
    anchor, out = f"file:{tmp_path / 'usb'}", str(tmp_path / "l.jsonl")
    told = facts(ratchet("audit", "checkpoint", "--to", anchor, "--to", "git-tag", "--json"))
    assert told["seq"] == 1 and len(told["anchored"]) == 2
    facts(ratchet("audit", "export", "--out", out, "--json"))
    for more in ((), ("--file", out)):
        found = facts(ratchet("audit", "verify", *more, "--against", anchor, "--against", "git-tag", "--json"))
        assert (found["entries"], found["anchors"][anchor], found["anchors"]["git-tag"]) == (1, 1, 1)
    assert [e["event"] for e in facts(ratchet("audit", "log", "--last", "1", "--json"))] == ["first release"]


def test_reasons_in_the_ledger_are_neutral(ratchet, machine: Machine) -> None:
    machine.ledger.append("pin", "x", reason="\x1b]0;title\x07 [red]")
    assert "\x1b" not in ratchet("audit", "log").out and "[red]" in ratchet("audit", "log").out


def test_rollback_needs_neither_git_nor_dvc_nor_prefect(ratchet, machine: Machine, two, monkeypatch) -> None:
    told = {"at": AT, "by": "ana", "reason": "up"}
    machine.channels.move("routing", stable=two[1], canary=None, expected_version=1, **told)
    monkeypatch.setenv("PATH", "/nonexistent")
    ended = ratchet("rollback", "routing", "--reason", "customers complain")
    assert ended.status == 0, ended.err
    assert machine.channels.read("routing").stable == two[0]


@pytest.mark.parametrize("steering", ["\x9b31m", "\x7f", "\u202e", "\x1b]0;t\x07"])
def test_neither_json_nor_an_error_steers_the_terminal(ratchet, machine: Machine, steering: str) -> None:
    machine.ledger.append("pin", "x", reason=f"a{steering}b")
    out = ratchet("audit", "log", "--json").out
    assert json.loads(out)[0]["facts"]["reason"] == f"a{steering}b" and steering[0] not in out
    assert steering[0] not in ratchet("release", "show", f"no{steering}").err
