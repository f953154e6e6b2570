"""What was live for a tenant at a time: by which channel, who approved it, from which data, on which evidence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ratchet.approvals import approved_by, statements_of
from ratchet.channels import Channels, channel_names
from ratchet.errors import RatchetError, ReleaseNotFound
from ratchet.ledger import Ledger, LedgerEntry
from ratchet.pointers import Move
from ratchet.release import ReleaseStore
from ratchet.release_diff import DATASET
from ratchet.trust import Trust, check_signatures

MOVED = ("first release", "shadow", "canary", "promote", "rollback", "pin", "unpin")


def what_was_live(
    channels: Channels,
    releases: ReleaseStore,
    ledger: Ledger,
    *,
    feature: str,
    tenant: str | None,
    segment: str | None,
    at: datetime,
    trust: Trust,
) -> dict[str, Any]:
    """The answer as JSON facts: `channel`, `move` with the ledger entry that witnesses it, and each release's record.

    Raises:
        ReleaseNotFound: nothing was live then.
    """
    known = set(channels.names())
    for name in channel_names(feature, tenant, segment):
        before = [m for m in channels.history(name) if datetime.fromisoformat(m.at) <= at] if name in known else []
        if before and not before[-1].inherits:
            break
    else:
        raise ReleaseNotFound(f"{feature} served nothing at {at.isoformat()}")
    move = before[-1]
    entries = [e for event in MOVED for e in ledger.entries(event=event)]
    told = {
        "asked": {"feature": feature, "tenant": tenant, "segment": segment, "at": at.isoformat()},
        "channel": name,
        "move": {**move._asdict(), "ledger_seq": _witness(entries, name, move)},
        "stable": _record(releases, ledger, move.stable, trust),
        "canary": None,
    }
    if move.canary is not None:
        told["canary"] = {"share": move.share, **_record(releases, ledger, move.canary, trust)}
    if move.held_back is not None:
        release_id, share = move.held_back
        told["holdback"] = {"share": share, **_record(releases, ledger, release_id, trust)}
    return told


def _witness(entries: list[LedgerEntry], name: str, move: Move) -> int | None:
    """The ledger's entry of a move; None where the ledger does not know it, so that only the channel's file says it."""
    for entry in entries:
        facts = entry.facts
        if facts.get("feature") != name:
            continue
        if entry.event == "first release" and move.version == 1 and entry.subject == move.stable:
            return entry.seq
        if (facts.get("channel_version"), facts.get("stable")) == (move.version, move.stable):
            return entry.seq
    return None


def _record(releases: ReleaseStore, ledger: Ledger, release_id: str, trust: Trust) -> dict[str, Any]:
    """What a release was, who let it live, and what for."""
    facts = releases.attestation(release_id)
    signatures = check_signatures(release_id, facts, trust)
    gate = facts.get("gate") or {}
    try:
        releases.get(release_id)
        is_whole = True
    except RatchetError:  # cleared away, or changed: what was attested of it can still be told
        is_whole = False
    return {
        "release_id": release_id,
        "version": facts.get("version"),
        "is_whole": is_whole,
        "approval": _approval(facts, signatures.approval),
        "pipeline_signature": signatures.pipeline or "right",
        "data": {"commit": facts.get("commit"), "rows": facts.get("rows"), "dataset": _dataset(facts)},
        "evidence": {k: gate[k] for k in ("verdict", "reasons", "holdout_digest", "difference", "looks") if k in gate},
        "ledger": [
            {"seq": e.seq, "at": e.at, "event": e.event, "facts": e.facts} for e in ledger.entries(subject=release_id)
        ],
    }


def _approval(facts: Mapping[str, Any], fault: str | None) -> dict[str, Any] | None:
    statements = statements_of(facts)
    if not statements:
        return None
    named = {k: statements[-1].get(k) for k in ("approver", "approver_kind", "decision", "at", "run_id")}
    return named | {"approver": approved_by(facts) or named["approver"], "signature": fault or "right"}


def _dataset(facts: Mapping[str, Any]) -> str | None:
    match = re.search(DATASET["md5"], str(facts.get("dataset") or ""))
    return match[1] if match else None
