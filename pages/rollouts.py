"""The rollouts: which run, the evidence of each as it comes in, and the buttons of an operator."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import PlainTextResponse, Response

from pages.app import Page, Refusal, Visit
from pages.frame import Sources, check_sees, features_of, framed
from pages.picture import bars, course, effect
from pages.watch import Watch
from ratchet.channels import ChannelState
from ratchet.errors import ReleaseNotFound
from ratchet.keys import Role
from ratchet.rollouts import KIND, Rollout, event_of

OPERATORS: frozenset[Role] = frozenset(("operator",))
LONGEST_REASON = 300
ENDED_SHOWN = 20

Act = Literal["pause", "resume", "abort", "rollback"]
Steer = Callable[[Act, str, str, str], str]  # act, name of the channel, by, reason; returns what to tell


class Told(NamedTuple):
    """A line of a rollout's history."""

    at: str
    what: str
    by: str
    why: str


class Serving(NamedTuple):
    """What a feature's channel serves, and its rollouts: those that run or wait first, then the newest."""

    feature: str
    channel: ChannelState | None
    version: str | None
    rollouts: list[Rollout]


class _Wish(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    act: Act
    rollout: str | None = Field(default=None, max_length=100)
    reason: str = Field(min_length=1, max_length=LONGEST_REASON)


def rollout_pages(sources: Sources, watch: Watch, steer: Steer) -> list[Page]:
    """The addresses of the rollouts.

    Args:
        sources: what is read.
        watch: looks at the evidence.
        steer: does what an operator asks for.
    """

    def show_all(visit: Visit) -> Response:
        served = [serving(sources, name) for name in features_of(sources, visit)]
        return framed(visit, "rollouts.html.j2", "/rollouts", served=served, limit=LONGEST_REASON)

    def show(visit: Visit) -> Response:
        rollout = find_rollout(sources, visit.names["rollout"])
        check_sees(visit, rollout.feature, "rollout")
        facts = evidence_of(sources, watch, rollout)
        return framed(visit, "rollout.html.j2", "/rollouts", rollout=rollout, limit=LONGEST_REASON, **facts)

    def act(visit: Visit) -> Response:
        try:
            wish = _Wish.model_validate({**visit.body, "reason": str(visit.body.get("reason", "")).strip()})
        except ValidationError as error:
            raise Refusal(422, f"Give a reason of 1 to {LONGEST_REASON} characters; the ledger keeps it.") from error
        feature = visit.names["feature"]
        rollout = find_rollout(sources, wish.rollout) if wish.rollout else None
        if rollout is not None and rollout.feature != feature:
            raise Refusal(404, "There is no rollout of this name.")
        name = rollout.channel if rollout else feature
        return PlainTextResponse(steer(wish.act, name, visit.session.person, wish.reason))

    return [
        Page("/rollouts", "GET", show_all),
        Page("/rollouts/{rollout}", "GET", show),
        Page("/features/{feature}/rollout", "POST", act, OPERATORS),
    ]


def find_rollout(sources: Sources, rollout_id: str) -> Rollout:
    """A rollout by its id."""
    document = sources.store.document(KIND, rollout_id)
    if document is None:
        raise Refusal(404, "There is no rollout of this name.")
    return Rollout.model_validate(document.body)


def rollouts_of(sources: Sources, feature: str) -> list[Rollout]:
    """The rollouts of a feature: those that run or wait first, then the newest."""
    found = [Rollout.model_validate(d.body) for d in sources.store.documents(KIND, feature)]
    newest = sorted(found, key=lambda r: r.started_at, reverse=True)
    return sorted(newest, key=lambda r: (r.state != "running", r.channel_version is None))


def serving(sources: Sources, feature: str) -> Serving:
    """What a feature serves now."""
    try:
        channel = sources.channels.read(feature)
    except ReleaseNotFound:
        return Serving(feature, None, None, [])
    version = sources.releases.attestation(channel.stable).get("version")
    return Serving(feature, channel, version, rollouts_of(sources, feature)[:ENDED_SHOWN])


def evidence_of(sources: Sources, watch: Watch, rollout: Rollout) -> dict[str, Any]:
    """Everything that the page of a rollout shows."""
    look = watch.look(rollout)
    users = look.facts.get("users") or {"stable": 0, "canary": 0}
    is_weighed, pair = "effect" in look.facts, (rollout.champion_id, rollout.candidate_id)
    return {
        "look": look,
        "users": users,
        "seen_share": users["canary"] / sum(users.values()) if sum(users.values()) else None,
        "course": course(look.course),
        "bars": bars(look.facts),
        "mirrored": bars(look.mirrored),
        "channel": rollout.channel,
        "effect": effect(look.facts, rollout.policy.margin) if is_weighed else None,
        "missing": look.facts.get("missing_canary_users"),
        "history": history_of(sources, rollout),
        "versions": {release: sources.releases.attestation(release).get("version") for release in pair},
    }


def history_of(sources: Sources, rollout: Rollout) -> list[Told]:
    """The moves of the channel that were about the candidate, and what people did to the rollout; newest first."""
    told = []
    for before, after in pairwise(sources.channels.history(rollout.channel)):
        event, subject = event_of(before, after)
        if subject == rollout.candidate_id and datetime.fromisoformat(after.at) >= rollout.started_at:
            share = f" for {after.share:.0%} of the users" if event == "canary" and after.share is not None else ""
            by = "the evidence" if after.by == rollout.rollout_id else after.by
            told.append(Told(after.at, event + share, by, after.reason))
    for entry in sources.ledger.entries(subject=rollout.rollout_id):
        facts = entry.facts
        told.append(Told(entry.at, entry.event, str(facts.get("by", "")), str(facts.get("reason", ""))))
    return sorted(told, key=lambda line: line.at, reverse=True)
