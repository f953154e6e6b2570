"""Actions on rollouts: start, tick, roll back. A rollout is a record; only these move channel pointers.

A step is three writes, in this order: the channel's pointer, the ledger, the record; each is conditional or idempotent.
The pointer is first because it is what users feel and what its compare-and-swap makes unique; the record is last, so
that a crash in between leaves a record that is behind its channel, which the next tick sees and mends (`settle`).
The channel is always read before the record, and each move names the version that was read: a rollback moves the
channel even where nothing changes, so that a step that was being decided meanwhile can no longer be made.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import BaseModel

from ratchet.channels import Canary, Channels, ChannelState, Move
from ratchet.errors import BadInput, ChannelFrozen, RatchetError, StaleChannel, StaleRecord
from ratchet.files import sha256_text
from ratchet.ledger import Ledger
from ratchet.outcomes import user_outcomes
from ratchet.rollout_policy import RolloutPolicy
from ratchet.rollouts import KIND, Rollout, catch_up, decide_tick, earlier_stable, event_of
from ratchet.stops import note_stops, stop_of
from ratchet.store import Document, Store
from ratchet.store import feedback as feedback_table
from ratchet.store import interactions as interactions_table

OVERTAKEN = "Another process was first; the next tick looks again."
EVENTS = ("canary", "promote", "rollback")


class TickReport(BaseModel):
    """What a tick did."""

    rollout_id: str
    feature: str
    action: str
    reasons: tuple[str, ...]
    evidence: dict[str, Any] = {}


class Found(NamedTuple):
    """A rollout as it was read, the channel first."""

    channel: ChannelState
    document: Document
    rollout: Rollout


def start(  # noqa: PLR0913 - all of them are facts of the rollout, by keyword
    store: Store,
    channels: Channels,
    ledger: Ledger,
    *,
    feature: str,
    candidate_id: str,
    policy: RolloutPolicy,
    salt: str,
    now: datetime,
    approval: str,
    output_schema: dict[str, Any] | None = None,
) -> Rollout:
    """Begin a rollout. Called again for the same approval it is the same rollout.

    Where another rollout has the canary, this one waits for its end; a tick takes it up then. Of a candidate that was
    tried against the same champion before, what users said then goes on counting for the proof, and only for it.

    Raises:
        BadInput: the candidate serves already, or the policy leaves no user on stable to compare with.
    """
    rollout_id = "ro_" + sha256_text(f"{feature}\n{candidate_id}\n{approval}")[:16]
    if store.document(KIND, rollout_id) is None:
        rollout = Rollout(
            rollout_id=rollout_id,
            feature=feature,
            champion_id=_champion_of(channels, feature, candidate_id, policy),
            candidate_id=candidate_id,
            salt=salt,
            policy=policy,
            started_at=now,
            step_started_at=now,
            approval=approval,
            after_seq=_last_seq(store, interactions_table),
            after_feedback_seq=_last_seq(store, feedback_table),
            output_schema=output_schema,
        )
        rollout = _with_earlier_proof(store, rollout)
        store.create_document(KIND, rollout_id, feature, rollout.model_dump(mode="json"))
    found = settle(store, channels, ledger, rollout_id, now=now)
    if found.rollout.state == "running" and found.rollout.channel_version is None:
        _place(store, channels, ledger, found, now)
    return read(store, channels, rollout_id).rollout


def tick(store: Store, channels: Channels, ledger: Ledger, rollout_id: str, *, now: datetime) -> TickReport:
    """Read the evidence and make at most one step; mending what a crash left half done is a step too.

    Raises:
        BadInput: no such rollout.
    """
    before = read(store, channels, rollout_id).rollout
    found = settle(store, channels, ledger, rollout_id, now=now)
    rollout = found.rollout
    if rollout.channel_version != before.channel_version:
        return _report(rollout, "catch_up", ("The channel had moved; the record follows.", *rollout.log[-1:]))
    if rollout.state != "running":
        return _report(rollout, rollout.state, ())
    if rollout.channel_version is None:
        return _place(store, channels, ledger, found, now)
    return _step(store, channels, ledger, found, now)


def tick_all(store: Store, channels: Channels, ledger: Ledger, *, now: datetime) -> list[TickReport]:
    """Tick every rollout that runs; see that every move of a channel and every stop by a gateway is in the ledger."""
    reports = []
    for feature in channels.features():
        try:
            note_stops(store, ledger, feature)
            note_moves(channels, ledger, feature)
            reports += [tick(store, channels, ledger, r.rollout_id, now=now) for r in running(store, feature)]
        except RatchetError as error:  # one feature's damaged channel does not hold up the others
            reports.append(TickReport(rollout_id="-", feature=feature, action="failed", reasons=(str(error),)))
    return reports


def rollback(
    store: Store, channels: Channels, ledger: Ledger, feature: str, *, now: datetime, by: str, reason: str
) -> str:
    """Take the canary back, or without one the stable release; needs neither Prefect nor git. Returns what serves now.

    Going back twice goes two releases back, never to one that was taken back.

    Raises:
        BadInput: there is nothing to go back to.
    """
    ended = running(store, feature)
    for rollout in ended:  # before the pointer: one that is not on the channel yet must not get there any more
        if rollout.channel_version is None:
            _abandon(store, rollout.rollout_id, f"{now.isoformat(timespec='seconds')} {reason}")
    while True:
        state = channels.read(feature)
        target = _stable_to_return_to(feature, state, channels.history(feature), ended)
        try:
            channels.move(
                feature, stable=target, canary=None, expected_version=state.version, at=now, by=by, reason=reason
            )
            break
        except StaleChannel:
            continue  # a tick moved it; a person's rollback goes last
    note_moves(channels, ledger, feature)
    for rollout in ended:
        settle(store, channels, ledger, rollout.rollout_id, now=now)
    return target


def running(store: Store, feature: str | None = None) -> list[Rollout]:
    """The rollouts that run or wait for the canary, of one feature or of all."""
    found = [Rollout.model_validate(d.body) for d in store.documents(KIND, feature)]
    return [r for r in found if r.state == "running"]


def read(store: Store, channels: Channels, rollout_id: str) -> Found:
    """A rollout and its channel, the channel first (the module says why)."""
    channel = channels.read(_document(store, rollout_id).feature)
    document = _document(store, rollout_id)
    return Found(channel, document, Rollout.model_validate(document.body))


def settle(store: Store, channels: Channels, ledger: Ledger, rollout_id: str, *, now: datetime) -> Found:
    """Bring ledger and record to where the channel is; nothing to do is the usual case."""
    while True:
        found = read(store, channels, rollout_id)
        move = next((m for m in channels.history(found.rollout.feature) if m.version == found.channel.version), None)
        at, why = (datetime.fromisoformat(move.at), move.reason) if move else (now, "the channel was moved")
        after = catch_up(found.rollout, found.channel, at=at, why=why)
        if after == found.rollout:
            return found
        note_moves(channels, ledger, after.feature)
        try:
            document = store.change_document(KIND, found.document, after.model_dump(mode="json"))
        except StaleRecord:
            continue
        return Found(found.channel, document, after)


def note_moves(channels: Channels, ledger: Ledger, feature: str) -> None:
    """Append the moves of a channel that the ledger lacks: to the canary, to stable, and back."""
    noted = {
        e.facts.get("channel_version")
        for event in EVENTS
        for e in ledger.entries(event=event)
        if e.facts.get("feature") == feature
    }
    for before, after in pairwise(channels.history(feature)):
        if after.version in noted:
            continue
        event, subject = event_of(before, after)
        facts = {"feature": feature, "channel_version": after.version, "stable": after.stable, "canary": after.canary}
        ledger.append_once(event, subject, **facts, by=after.by, reason=after.reason)


def move_step(
    channels: Channels, found: Found, *, step: int, now: datetime, reason: str, by: str | None = None
) -> None:
    """Move the pointer of a rollout's channel: to a canary step, past the last one to stable, -1 is back.

    `by`: the person who decided it; the evidence did where nobody is named.
    """
    rollout, steps = found.rollout, found.rollout.policy.steps
    mine = {"release_id": rollout.candidate_id, "salt": rollout.salt, "rollout_id": rollout.rollout_id}
    channels.move(
        rollout.feature,
        stable=rollout.candidate_id if step == len(steps) else found.channel.stable,
        canary=Canary.model_validate({**mine, "share": steps[step]}) if 0 <= step < len(steps) else None,
        expected_version=found.channel.version,
        at=now,
        by=by or rollout.rollout_id,
        reason=reason,
    )


def _step(store: Store, channels: Channels, ledger: Ledger, found: Found, now: datetime) -> TickReport:
    rollout = found.rollout
    outcomes = user_outcomes(
        (i for _, i in store.interactions(rollout.feature, after_seq=rollout.after_seq)),
        (f for _, _, f in store.feedback(rollout.feature, after_seq=rollout.after_feedback_seq)),
        champion_id=rollout.champion_id,
        candidate_id=rollout.candidate_id,
        window=timedelta(seconds=rollout.policy.outcome_window_s),
        since=rollout.proof_from or rollout.started_at,
        now=now,
        output_schema=rollout.output_schema,
    )
    decision = decide_tick(rollout, outcomes)
    if (stop := stop_of(store, rollout.rollout_id)) is not None:  # its users are on stable already
        decision = decision._replace(action="rollback", reasons=(stop.why, *decision.reasons[1:]))
    after = rollout.model_copy(update={"evidence": decision.evidence})
    steps = {"advance": rollout.step + 1, "promote": len(rollout.policy.steps), "rollback": -1}
    try:
        if after != rollout:  # before the move: a record that ends keeps what it ended on
            store.change_document(KIND, found.document, after.model_dump(mode="json"))
        if decision.action != "hold":
            move_step(channels, found, step=steps[decision.action], now=now, reason=" ".join(decision.reasons))
    except (StaleRecord, StaleChannel) as error:
        return _report(rollout, "hold", (str(error) if isinstance(error, ChannelFrozen) else OVERTAKEN,))
    settle(store, channels, ledger, rollout.rollout_id, now=now)
    return _report(after, decision.action, decision.reasons)


def _place(store: Store, channels: Channels, ledger: Ledger, found: Found, now: datetime) -> TickReport:
    rollout = found.rollout
    if found.channel.canary is not None:
        other = found.channel.canary.rollout_id
        return _report(rollout, "wait", (f"Rollout {other} has the canary; this one begins after its end.",))
    reason = f"{rollout.approval} was approved: canary for {rollout.policy.steps[0]:.0%} of the users."
    try:
        move_step(channels, found, step=0, now=now, reason=reason)
    except StaleChannel as error:
        return _report(rollout, "hold", (str(error) if isinstance(error, ChannelFrozen) else OVERTAKEN,))
    settle(store, channels, ledger, rollout.rollout_id, now=now)
    return _report(rollout, "start", (reason,))


def _with_earlier_proof(store: Store, rollout: Rollout) -> Rollout:
    """The record with the begin of the first try of the same candidate against the same champion."""
    pair = (rollout.champion_id, rollout.candidate_id)
    tries = [Rollout.model_validate(d.body) for d in store.documents(KIND, rollout.feature)]
    tried = [t for t in tries if (t.champion_id, t.candidate_id) == pair and t.channel_version is not None]
    if not tried:
        return rollout
    first = min(tried, key=lambda t: t.proof_from or t.started_at)
    begin = {"after_seq": first.after_seq, "after_feedback_seq": first.after_feedback_seq}
    return rollout.model_copy(update={**begin, "proof_from": first.proof_from or first.started_at})


def _champion_of(channels: Channels, feature: str, candidate_id: str, policy: RolloutPolicy) -> str:
    stable = channels.read(feature).stable
    if stable == candidate_id:
        raise BadInput(f"{candidate_id} is on channel stable of {feature} already")
    if policy.steps[-1] >= 1:
        raise BadInput(f"{feature}: rollout.steps must end below 1, so that some users stay to be compared with")
    return stable


def _stable_to_return_to(feature: str, state: ChannelState, moves: list[Move], ended: list[Rollout]) -> str:
    if state.canary is not None:
        return state.stable
    for rollout in ended:
        if rollout.channel_version is not None and rollout.candidate_id == state.stable:
            return rollout.champion_id  # promoted a moment ago, and its record does not know yet
    if ended:
        return state.stable
    earlier = earlier_stable(moves)
    if earlier is None:
        raise BadInput(f"{feature} has no earlier release than {state.stable[:16]} to go back to")
    return earlier


def _abandon(store: Store, rollout_id: str, line: str) -> None:
    while True:
        document = _document(store, rollout_id)
        rollout = Rollout.model_validate(document.body)
        if rollout.state != "running":
            return
        ended = rollout.model_copy(update={"state": "rolled_back", "log": (*rollout.log, line)})
        try:
            store.change_document(KIND, document, ended.model_dump(mode="json"))
            return
        except StaleRecord:
            continue


def _document(store: Store, rollout_id: str) -> Document:
    document = store.document(KIND, rollout_id)
    if document is None:
        raise BadInput(f"no rollout {rollout_id}; `ratchet rollout status` lists them")
    return document


def _last_seq(store: Store, table: sa.Table) -> int:
    with store.reader.connect() as connection:
        return int(connection.execute(sa.select(sa.func.max(table.c.seq))).scalar() or 0)


def _report(rollout: Rollout, action: str, reasons: tuple[str, ...]) -> TickReport:
    fields = {"rollout_id": rollout.rollout_id, "feature": rollout.feature, "evidence": rollout.evidence}
    return TickReport.model_validate({**fields, "action": action, "reasons": reasons})
