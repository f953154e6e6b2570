"""The second act of the demo: a release that is worse on purpose goes live, users meet it, and it is taken back."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pyotp

from cli.audit import verify
from cli.demo_data import bundled, from_source
from cli.demo_table import sabotage_table
from cli.feature import make_feature
from cli.prefect_api import flow_run_state, start_flow_run
from cli.release_moves import approve
from cli.rollout import start_
from cli.rollout_watch import LIMIT_S, traffic
from cli.run import FINAL
from cli.session import Session, console, short
from ratchet.anchors import checkpoint_and_anchor
from ratchet.approvals import VerifierRefusal
from ratchet.errors import BadInput, RatchetError, ReleaseNotFound, ServiceUnreachable
from ratchet.features import feature_names
from ratchet.files import write_json, write_whole
from ratchet.rollouts import Rollout
from tasks.new_feature import Label
from tasks.replay import load_messages
from tasks.rollout import read, rollback, running, tick
from tasks.sabotage import is_sabotage, store_sabotage

DESK, DESK_ROUTES = "front_desk", ("login_security", "card_delivery", "cash_machine")
REASON = "sabotage: the demo ships a worse release to show that it comes back"
TICK_EVERY_S = 1.0
KILL_AT = 1 / 3  # of the evidence that takes the release back
PREFECT_LIMIT_S = 60
CODE_LIMIT_S = 65
BAR = 30
ASKED = 100
Parts = Mapping[str, subprocess.Popen[str]]


class Scene(NamedTuple):
    """The feature that the act is played on, and the messages of its customers."""

    feature: str
    messages: Path


def scene(session: Session, source: Path | None, routes: int) -> Scene:
    """The feature that a finished first act improved; where there is none, three routes that v1 is good enough at.

    Raises:
        BadInput: data of one's own, and no first act on it.
    """
    data = from_source(session, source, routes) if source else bundled(session)
    if _is_improved(session, data.feature):
        return Scene(data.feature, data.later)
    if source is not None:
        raise BadInput(f"{data.feature} has no improved release to spoil yet; first: make demo SOURCE={source}")
    path = session.settings.home / "demo" / f"{DESK}.jsonl"
    asked = [m for file in (data.traffic, data.later) for m in load_messages(file) if m.expected in DESK_ROUTES]
    write_whole(path, "".join(json.dumps({"text": m.text, "label": m.expected}) + "\n" for m in asked))
    if DESK not in feature_names(session.settings.repo):
        make_feature(session, DESK, source=data.feature, labels=[Label(route) for route in DESK_ROUTES])
        console.print(f"no first act here: features/{DESK}/, three routes of {data.feature}, is made for this one")
    return Scene(DESK, path)


def second_act(session: Session, on: Scene, parts: Parts, *, approver: str) -> dict[str, Any]:
    """Ship, watch, kill Prefect half-way, take back, verify. Returns the facts that the table at the end tells.

    Whatever ends it otherwise - Ctrl-C, an error, a promotion - takes the sabotaged release back by hand; after a
    kill -9 the next call goes on with the rollout that it left.

    Raises:
        RatchetError: undecided after a quarter of an hour.
    """
    rollout_id = _left_over(session, on.feature) or _ship(session, on.feature, approver)
    try:
        prefect = _watch(session, on, rollout_id, parts["prefect"])
    finally:
        if read(session.store, session.channels, rollout_id).rollout.state != "rolled_back":
            told = {"by": "ratchet demo", "reason": "the demonstration ended before the evidence did"}
            rollback(session.store, session.channels, session.ledger, on.feature, now=datetime.now(UTC), **told)
            console.print("   not by evidence: the demo takes the sabotaged release back by hand")
    console.print("\n[bold]3. ratchet audit verify[/bold]")
    checkpoint_and_anchor(session.ledger, session.settings, now=datetime.now(UTC))
    verify()
    facts = {**_facts(session, on.feature, rollout_id), **prefect, "ledger_entries": len(session.ledger.entries())}
    write_json(session.settings.home / "demo" / f"{on.feature}-sabotage.json", facts)
    console.print(sabotage_table(facts))
    console.print(f"  next: .venv/bin/ratchet audit log · .venv/bin/ratchet rollout status {on.feature} · make reset")
    return facts


def _is_improved(session: Session, feature: str) -> bool:
    anchor = session.store.document("anchor", feature)
    try:
        return anchor is not None and session.channels.read(feature).stable != anchor.body["release_id"]
    except ReleaseNotFound:
        return False


def _left_over(session: Session, feature: str) -> str | None:
    """The rollout of a sabotaged release that an earlier demo was killed in."""
    found = [r for r in running(session.store, feature) if is_sabotage(session.ledger, r.candidate_id)]
    return found[0].rollout_id if found else None


def _ship(session: Session, feature: str, approver: str) -> str:
    """Store, approve, start: each by the way that an operator has. Returns the rollout's id.

    Raises:
        BadInput: another rollout of the feature is under way.
    """
    if running(session.store, feature):
        raise BadInput(f"a rollout of {feature} is under way; `make demo` goes on with it")
    console.print("\n[bold]1. a worse release is shipped[/bold]: an edit by hand lost most of the teams in its schema")
    stable = session.channels.read(feature).stable
    if is_sabotage(session.ledger, stable):
        raise BadInput(f"{feature} serves a sabotaged release already; `ratchet rollback {feature}` takes it back")
    release_id = store_sabotage(session.settings, session.releases, session.ledger, stable)
    console.print(f"   {short(release_id)}: {short(stable)} but for that; the ledger calls it a sabotage")
    if not session.ledger.entries(event="approve", subject=release_id):
        _approve(session, release_id, approver)
    start_(feature, release_id, REASON)
    return next(r.rollout_id for r in running(session.store, feature) if r.candidate_id == release_id)


def _approve(session: Session, release_id: str, approver: str) -> None:
    """`ratchet release approve` with the machine approver's code; one that was used already is waited out."""
    secret = (session.settings.secrets_dir / f"approver-{approver}").read_text().strip()
    deadline = time.monotonic() + CODE_LIMIT_S
    while True:
        try:
            approve(release_id, release_id[4:16], approver, pyotp.TOTP(secret).now())
            return
        except VerifierRefusal as refusal:
            if refusal.reason != "used_code" or time.monotonic() > deadline:
                raise
            time.sleep(1)


def _watch(session: Session, on: Scene, rollout_id: str, prefect: subprocess.Popen[str]) -> dict[str, Any]:
    """Send traffic and tick until the release is off the canary; first by Prefect's flow, at last without Prefect."""
    console.print("\n[bold]2. customers meet it[/bold]; the bar is the evidence, full where the release is taken back")
    facts: dict[str, Any] = {"prefect_killed_at": None, "ticks_without_prefect": 0}
    deadline, told = time.monotonic() + LIMIT_S, ""
    with traffic(session, on.feature, on.messages) as check:
        console.print(f"   a tick by Prefect's flow `rollout`: {_tick_by_prefect(session)}")
        while time.monotonic() < deadline:
            check()
            report = tick(session.store, session.channels, session.ledger, rollout_id, now=datetime.now(UTC))
            if report.evidence and (line := evidence_bar(report.evidence)) != told:
                console.print(f"   {datetime.now(UTC):%H:%M:%S} {line}  {report.action}", markup=False, soft_wrap=True)
                told = line
            rollout = read(session.store, session.channels, rollout_id).rollout
            facts["ticks_without_prefect"] += facts["prefect_killed_at"] is not None
            if rollout.state != "running":
                console.print(f"   {' '.join(report.reasons)}", markup=False)
                return facts
            if facts["prefect_killed_at"] is None and _is_half_way(rollout):
                facts |= {"prefect_killed_at": _now(), "prefect_pid": prefect.pid}
                prefect.kill()
                prefect.wait()
                console.print(f"   [bold]Prefect's server is killed[/bold] (process {prefect.pid}); ticks go on")
            time.sleep(TICK_EVERY_S)
    raise RatchetError("the rollout is not decided yet (too little evidence)")


def _tick_by_prefect(session: Session) -> str:
    """Have the served flow tick once; its end as Prefect names it."""
    deadline = time.monotonic() + PREFECT_LIMIT_S
    flow_run_id, state = None, "not served in time"
    while time.monotonic() < deadline:
        try:
            flow_run_id = flow_run_id or start_flow_run(session.settings, "rollout/rollout", {})
            state = flow_run_state(session.settings, flow_run_id)[0]
        except ServiceUnreachable:  # the flows are the last part to come up
            pass
        if state in FINAL:
            break
        time.sleep(0.5)
    return state


def _is_half_way(rollout: Rollout) -> bool:
    evidence = rollout.evidence
    return bool(evidence) and evidence["log_wealth"] >= KILL_AT * evidence["log_wealth_needed"]


def evidence_bar(evidence: Mapping[str, Any]) -> str:
    """The evidence against the canary as a bar that is full at the line, and the users behind it."""
    wealth, needed = max(evidence["log_wealth"], 0.0), evidence["log_wealth_needed"]
    full = min(int(BAR * wealth / needed), BAR)
    complaints: dict[str, Any] = next((s for s in evidence["signals"] if s["signal"] == "complaint"), {})
    users = evidence["users"]
    sides = [_side(name, users[side], complaints.get(side)) for name, side in (("new", "canary"), ("old", "stable"))]
    return f"{'█' * full}{'·' * (BAR - full)}| {wealth:4.2f} of {needed:.2f}  {', '.join(sides)}"


def _side(name: str, users: int, complaints: float | None) -> str:
    share = "" if complaints is None else f", {complaints:.0%} complain"
    return f"{name}: {users:>3} users{share}"


def _facts(session: Session, feature: str, rollout_id: str) -> dict[str, Any]:
    """What the records say of the act: nothing here is what the demo remembers."""
    rollout = read(session.store, session.channels, rollout_id).rollout
    met = [i for _, i in session.store.interactions(feature, after_seq=rollout.after_seq)]
    mine = [i for i in met if i.release_id == rollout.candidate_id and i.at >= rollout.started_at]
    move = next(m for m in reversed(session.channels.history(feature)) if m.stable == rollout.champion_id)
    alarm = rollout.evidence.get("alarms", {}).get("rollback") or {}
    served = _served_now(session, feature)
    return {
        "feature": feature,
        "release_id": rollout.candidate_id,
        "state": rollout.state,
        "live_at": rollout.started_at.isoformat(timespec="seconds"),
        "back_at": datetime.fromisoformat(move.at).isoformat(timespec="seconds"),
        "back_by": move.by,
        "signal": alarm.get("signal"),
        "judged_canary_users": alarm.get("canary_users"),
        "users_met_it": len({i.user_id for i in mine}),
        "users_all": len({i.user_id for i in met if i.at >= rollout.started_at}),
        "answers": len(mine),
        "serves_now": sorted(set(served)),
        "users_asked": len(served),
        "champion_id": rollout.champion_id,
        "champion_version": session.releases.attestation(rollout.champion_id).get("version"),
    }


def _served_now(session: Session, feature: str) -> list[str]:
    """Which release the gateway gives each of a hundred new users."""
    key = session.settings.gateway_key
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=session.settings.gateway_url, headers=headers, timeout=30, trust_env=False) as client:
        asked = [{"feature": feature, "user": f"afterwards-{number}"} for number in range(ASKED)]
        return [client.get("/v1/decide", params=query).raise_for_status().json()["release_id"] for query in asked]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
