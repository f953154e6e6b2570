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

from ratchet.channels import Canary, Channels, ChannelState, Holdback, Move, Shadow, parts_of
from ratchet.errors import BadInput, ChannelFrozen, RatchetError, StaleChannel, StaleRecord
from ratchet.evidence import UserOutcome
from ratchet.files import sha256_text
from ratchet.ledger import Ledger
from ratchet.outcomes import canary_draw, user_outcomes
from ratchet.rollout_policy import RolloutPolicy
from ratchet.rollouts import (
    KIND,
    SHADOW,
    Rollout,
    catch_up,
    decide_shadow,
    decide_tick,
    earlier_stable,
    event_of,
)
from ratchet.stops import note_stops, stop_of
from ratchet.store import Document, Store
from ratchet.store import feedback as feedback_table
from ratchet.store import interactions as interactions_table

OVERTAKEN = "Another process was first; the next tick looks again."
MOVES = ("shadow", "canary", "promote", "rollback", "pin", "unpin")  # what the ledger calls a channel's moves


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
    channel: str | None = None,
) -> Rollout:
    """Begin a rollout on the feature's channel, or that of a tenant or segment (`channel`), which is made if need be.

    Called again for the same approval it is the same rollout. Where another one has the channel, this one waits for its
    end; a tick takes it up then. Of a candidate that was tried against the same champion before, what users said then
    goes on counting for the proof, and only for it.

    Raises:
        BadInput: the candidate serves already, or the policy leaves no user on stable to compare with.
    """
    name = channel or feature
    rollout_id = "ro_" + sha256_text(f"{name}\n{candidate_id}\n{approval}")[:16]
    if store.document(KIND, rollout_id) is None:
        champion_id = _champion_of(channels, name, candidate_id, policy)
        rollout = Rollout(
            rollout_id=rollout_id,
            feature=feature,
            channel=name,
            inherited=_inherits(channels, name, champion_id, now=now, by=rollout_id),
            holdback=_holdback(store, feature, policy) if name == feature else None,
            champion_id=champion_id,
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
    store: Store, channels: Channels, ledger: Ledger, name: str, *, now: datetime, by: str, reason: str
) -> str:
    """Take the canary back, or without one the stable release; needs neither Prefect nor git. Returns what serves now.

    Going back twice goes two releases back, never to one that was taken back. A tenant or segment (by the name of its
    channel) that has no channel of its own goes back alone: it gets one, with what served before all others.

    Raises:
        BadInput: there is nothing to go back to.
    """
    ended = running_on(store, name)
    for rollout in ended:  # before the pointer: one that is not on the channel yet must not get there any more
        if rollout.channel_version is None:
            _abandon(store, rollout.rollout_id, f"{now.isoformat(timespec='seconds')} {reason}")
    while True:
        state, target, inherits = _way_back(channels, name, ended, now=now, by=by)
        try:
            channels.move(
                name,
                stable=target,
                canary=None,
                inherits=inherits,
                expected_version=state.version,
                at=now,
                by=by,
                reason=reason,
            )
            break
        except ChannelFrozen:
            raise
        except StaleChannel:
            continue  # a tick moved it; a person's rollback goes last
    note_moves(channels, ledger, name)
    for rollout in ended:
        settle(store, channels, ledger, rollout.rollout_id, now=now)
    return channels.resolve(*parts_of(name))[1].stable


def running(store: Store, feature: str | None = None) -> list[Rollout]:
    """The rollouts that run or wait for the canary, of one feature or of all; those of tenants and segments too."""
    found = [Rollout.model_validate(d.body) for d in store.documents(KIND, feature)]
    return [r for r in found if r.state == "running"]


def running_on(store: Store, name: str) -> list[Rollout]:
    """The rollouts that run or wait on one channel."""
    return [r for r in running(store, parts_of(name)[0]) if r.channel == name]


def read(store: Store, channels: Channels, rollout_id: str) -> Found:
    """A rollout and its channel, the channel first (the module says why)."""
    channel = channels.read(Rollout.model_validate(_document(store, rollout_id).body).channel)
    document = _document(store, rollout_id)
    return Found(channel, document, Rollout.model_validate(document.body))


def settle(store: Store, channels: Channels, ledger: Ledger, rollout_id: str, *, now: datetime) -> Found:
    """Bring ledger and record to where the channel is; nothing to do is the usual case."""
    while True:
        found = read(store, channels, rollout_id)
        name = found.rollout.channel
        move = next((m for m in channels.history(name) if m.version == found.channel.version), None)
        at, why = (datetime.fromisoformat(move.at), move.reason) if move else (now, "the channel was moved")
        after = catch_up(found.rollout, found.channel, at=at, why=why)
        if after == found.rollout:
            return found
        note_moves(channels, ledger, name)
        try:
            document = store.change_document(KIND, found.document, after.model_dump(mode="json"))
        except StaleRecord:
            continue
        return Found(found.channel, document, after)


def note_moves(channels: Channels, ledger: Ledger, name: str) -> None:
    """Append the moves of a channel that the ledger lacks: to the shadow, to the canary, to stable, and back."""
    noted = {
        e.facts.get("channel_version")
        for event in MOVES
        for e in ledger.entries(event=event)
        if e.facts.get("feature") == name
    }
    for before, after in pairwise(channels.history(name)):
        if after.version in noted:
            continue
        event, subject = event_of(before, after)
        facts = {"feature": name, "channel_version": after.version, "stable": after.stable, "canary": after.canary}
        ledger.append_once(event, subject, **facts, by=after.by, reason=after.reason)


def outcomes_of(store: Store, rollout: Rollout, *, now: datetime) -> list[UserOutcome]:
    """The outcomes that are decided by now, of the users that a rollout's channel drew for both of its releases."""
    tenant = parts_of(rollout.channel)[1]
    return user_outcomes(
        (i for _, i in store.interactions(rollout.feature, after_seq=rollout.after_seq, tenant=tenant)),
        (f for _, _, f in store.feedback(rollout.feature, after_seq=rollout.after_feedback_seq, tenant=tenant)),
        channel=rollout.channel,
        drawn=canary_draw(rollout.champion_id, rollout.candidate_id),
        window=timedelta(seconds=rollout.policy.outcome_window_s),
        since=rollout.proof_from or rollout.started_at,
        now=now,
        output_schema=rollout.output_schema,
    )


def move_step(
    channels: Channels, found: Found, *, step: int | None, now: datetime, reason: str, by: str | None = None
) -> None:
    """Move the pointer of a rollout's channel: to SHADOW, a canary step, past the last one to stable; None is back.

    `by`: the person who decided it; the evidence did where nobody is named.
    """
    rollout, steps = found.rollout, found.rollout.policy.steps
    mine = {"release_id": rollout.candidate_id, "rollout_id": rollout.rollout_id}
    canary = shadow = None
    if step == SHADOW and rollout.policy.shadow is not None:
        shadow = Shadow(**mine, share=rollout.policy.shadow.share)
    elif step is not None and step < len(steps):
        canary = Canary(**mine, share=steps[step], salt=rollout.salt)
    serving = rollout.champion_id if found.channel.inherits else found.channel.stable
    channels.move(
        rollout.channel,
        stable=rollout.candidate_id if step == len(steps) else serving,
        canary=canary,
        shadow=shadow,
        holdback=rollout.holdback if step is not None else None,
        inherits=step is None and rollout.inherited,
        expected_version=found.channel.version,
        at=now,
        by=by or rollout.rollout_id,
        reason=reason,
    )


def _step(store: Store, channels: Channels, ledger: Ledger, found: Found, now: datetime) -> TickReport:
    rollout = found.rollout
    if rollout.step == SHADOW:
        decision = decide_shadow(rollout, list(store.mirrored(rollout.rollout_id)), now=now)
        after = rollout.model_copy(update={"mirrored": decision.evidence})
    else:
        decision = decide_tick(rollout, outcomes_of(store, rollout, now=now))
        after = rollout.model_copy(update={"evidence": decision.evidence})
    if (stop := stop_of(store, rollout.rollout_id)) is not None:  # its users are on stable already
        decision = decision._replace(action="rollback", reasons=(stop.why, *decision.reasons[1:]))
    steps = {"advance": rollout.step + 1, "promote": len(rollout.policy.steps), "rollback": None}
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
    if (other := found.channel.canary or found.channel.shadow) is not None:
        told = f"Rollout {other.rollout_id} has the canary; this one begins after its end."
        return _report(rollout, "wait", (told,))
    first = f"canary for {rollout.policy.steps[0]:.0%} of the users."
    if rollout.policy.shadow is not None:
        first = f"{rollout.policy.shadow.share:.0%} of the requests are mirrored to it."
    reason = f"{rollout.approval} was approved: {first}"
    try:
        move_step(channels, found, step=rollout.first_step, now=now, reason=reason)
    except StaleChannel as error:
        return _report(rollout, "hold", (str(error) if isinstance(error, ChannelFrozen) else OVERTAKEN,))
    settle(store, channels, ledger, rollout.rollout_id, now=now)
    return _report(rollout, "start", (reason,))


def _with_earlier_proof(store: Store, rollout: Rollout) -> Rollout:
    """The record with the begin of the first try of the same candidate against the same champion."""
    pair = (rollout.champion_id, rollout.candidate_id)
    tries = [Rollout.model_validate(d.body) for d in store.documents(KIND, rollout.feature)]
    tries = [t for t in tries if t.channel == rollout.channel and t.channel_version is not None]
    tried = [t for t in tries if (t.champion_id, t.candidate_id) == pair]
    if not tried:
        return rollout
    first = min(tried, key=lambda t: t.proof_from or t.started_at)
    begin = {"after_seq": first.after_seq, "after_feedback_seq": first.after_feedback_seq}
    return rollout.model_copy(update={**begin, "proof_from": first.proof_from or first.started_at})


def _champion_of(channels: Channels, name: str, candidate_id: str, policy: RolloutPolicy) -> str:
    stable = channels.resolve(*parts_of(name))[1].stable
    if stable == candidate_id:
        raise BadInput(f"{candidate_id} is on channel stable of {name} already")
    if policy.steps[-1] >= 1:
        raise BadInput(f"{name}: rollout.steps must end below 1, so that some users stay to be compared with")
    return stable


def _inherits(channels: Channels, name: str, champion_id: str, *, now: datetime, by: str) -> bool:
    """Whether a wider channel serves now. The pointer is there afterwards, and inherits until it is moved."""
    if "@" not in name:
        return False
    why = "a rollout of its own begins"
    return channels.begin(name, champion_id, at=now, by=by, reason=why, inherits=True).inherits


def _holdback(store: Store, feature: str, policy: RolloutPolicy) -> Holdback | None:
    """Who stays on the feature's first release; the salt is the feature's, so that it is the same users each time."""
    anchor = store.document("anchor", feature)
    if anchor is None:
        if policy.holdback:
            raise BadInput(f"{feature} has no first release that users could be held back on")
        return None
    return Holdback(release_id=str(anchor.body["release_id"]), share=policy.holdback, salt=f"holdback {feature}")


def _way_back(
    channels: Channels, name: str, ended: list[Rollout], *, now: datetime, by: str
) -> tuple[ChannelState, str, bool]:
    """The channel as it is, the stable release that it goes back to, and whether it inherits from then on."""
    wider, serving = channels.resolve(*parts_of(name))
    if wider == name:
        is_made_for_it = any(r.inherited and r.channel_version is not None for r in ended)
        inherits = is_made_for_it and (serving.canary or serving.shadow) is not None
        return serving, _stable_to_return_to(name, serving, channels.history(name), ended), inherits
    target = _stable_to_return_to(wider, serving, channels.history(wider), [])
    why = "goes back alone"
    return channels.begin(name, serving.stable, at=now, by=by, reason=why, inherits=True), target, False


def _stable_to_return_to(name: str, state: ChannelState, moves: list[Move], ended: list[Rollout]) -> str:
    if state.canary is not None or state.shadow is not None:
        return state.stable
    for rollout in ended:
        if rollout.channel_version is not None and rollout.candidate_id == state.stable:
            return rollout.champion_id  # promoted a moment ago, and its record does not know yet
    if ended:
        return state.stable
    earlier = earlier_stable(moves)
    if earlier is None:
        unpin = "; `ratchet channel unpin` lets it inherit again" if "@" in name else ""
        raise BadInput(f"{name} has no earlier release than {state.stable[:16]} to go back to{unpin}")
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
