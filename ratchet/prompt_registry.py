"""The registry of prompts: every version of every feature, where it is live, who let it go live and why.

Nothing is kept twice: it is read from releases, their attestations and the channels' histories.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from ratchet.approvals import approved_by
from ratchet.channels import Channels, feature_of
from ratchet.errors import BadInput
from ratchet.files import canonical_json, sha256_text
from ratchet.pointers import Move
from ratchet.release import Release, ReleaseStore


class PromptVersion(BaseModel):
    """One released prompt. `live_on` are the channels it is live on now, `was_on` all on which it ever was.

    `segments` are those it was set for (empty: for all); `made_by` is the arm, or `person` for one written by hand.
    """

    model_config = ConfigDict(frozen=True)

    feature: str
    version: str | None
    release_id: str
    text: str
    text_sha256: str
    demonstrations: int
    intent: str | None
    owners: tuple[str, ...]
    segments: tuple[str, ...]
    live_on: tuple[str, ...]
    was_on: tuple[str, ...]
    first_live_at: str | None
    made_by: str
    approved_by: str | None
    why: str
    run: str | None
    commit: str | None


def prompt_versions(releases: ReleaseStore, channels: Channels, feature: str | None = None) -> list[PromptVersion]:
    """The versions of a feature, or of all, oldest first; what never got a version and was never live is left out."""
    moves = {name: channels.history(name) for name in channels.names()}
    now = {name: channels.read(name) for name in moves}
    found = []
    for release_id in releases.ids():
        release, facts = releases.content(release_id), releases.attestation(release_id)
        was_on = [name for name, history in moves.items() if any(release_id in (m.stable, m.canary) for m in history)]
        if (feature is not None and release.feature != feature) or not (was_on or facts.get("version")):
            continue
        live_on = []
        for name in was_on:
            canary = now[name].canary
            if now[name].stable == release_id and not now[name].inherits:
                live_on.append(name)
            if canary is not None and canary.release_id == release_id:
                live_on.append(f"{name} (canary {canary.share:.0%})")
        found.append(_version(release, facts, live_on, was_on, moves))
    return sorted(found, key=lambda v: (v.feature, _number(v.version), v.first_live_at or "~", v.release_id))


def find_version(versions: list[PromptVersion], wanted: str) -> PromptVersion:
    """The version that is called so: `v2.0.0`, `v2`, the beginning of a release id, or `live`.

    Raises:
        BadInput: none or several are.
    """
    for is_meant in (
        lambda v: wanted in (v.version, (v.version or "").partition(".")[0]),
        lambda v: wanted == "live" and v.feature in v.live_on,
        lambda v: len(wanted) >= 4 and v.release_id.removeprefix("rel_").startswith(wanted.removeprefix("rel_")),
    ):
        found = [version for version in versions if is_meant(version)]
        if len(found) == 1:
            return found[0]
    known = ", ".join(v.version or v.release_id[:16] for v in versions) or "none"
    raise BadInput(f"no single version is called {wanted!r}; there are: {known} (and `live`)")


def _version(
    release: Release, facts: Mapping[str, Any], live_on: list[str], was_on: list[str], moves: Mapping[str, list[Move]]
) -> PromptVersion:
    release_id = release.release_id
    mine = [m for name in was_on for m in moves[name] if release_id in (m.stable, m.canary)]
    gate = facts.get("gate") or {}
    reasons = gate.get("reasons") or [first.reason for first in sorted(mine, key=lambda m: m.at)[:1]]
    return PromptVersion(
        feature=release.feature,
        version=facts.get("version"),
        release_id=release_id,
        text=release.prompt.text,
        text_sha256=sha256_text(canonical_json(release.prompt.model_dump(mode="json"))),
        demonstrations=len(release.prompt.demonstrations),
        intent=facts.get("intent"),
        owners=tuple(facts.get("owners") or ()),
        segments=tuple(sorted({n.split("@")[2] for n in was_on if n.count("@") == 2 and feature_of(n)})),
        live_on=tuple(live_on),
        was_on=tuple(was_on),
        first_live_at=min((m.at for m in mine), default=None),
        made_by=str(gate.get("chosen_arm") or "person"),
        approved_by=approved_by(facts),
        why=str(reasons[0]) if reasons else "",
        run=facts.get("run"),
        commit=facts.get("commit"),
    )


def _number(version: str | None) -> tuple[int, ...]:
    parts = (version or "").removeprefix("v").split(".")
    return tuple(int(p) for p in parts) if all(p.isdigit() for p in parts) else (10**9,)
