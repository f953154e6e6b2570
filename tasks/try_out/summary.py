"""The facts for programs: numbers, ids of versions and the groups' terms; no one's words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tasks.try_out import Facts
from tasks.try_out.change import Marked
from tasks.try_out.counts import Rate


def summary(facts: Facts) -> dict[str, Any]:
    """What `ratchet try --json` prints."""
    intake, counts = facts.intake, facts.counts
    return {
        "files": intake.formats,
        "records": intake.records,
        "interactions": intake.interactions,
        "feedback": intake.feedback,
        "seen_twice": intake.known,
        "rejected": dict(intake.rejected),
        "sessions": counts.size.sessions,
        "users": counts.size.users,
        "began_at": counts.size.began_at,
        "ended_at": counts.size.ended_at,
        "undated": counts.size.undated,
        "with_any_signal": counts.with_any,
        "judged": _rate(counts.judged),
        "said": [asdict(said) for said in counts.said],
        "orphans": counts.orphans,
        "derived": {
            found.kind: {"count": found.count, "weight": found.weight, "bad": _rate(found.bad_with)}
            for found in counts.derived
        },
        "topics": [
            {"terms": topic.terms, "questions": topic.questions, "is_worse": topic.is_worse, **_rate(topic.bad)}
            for topic in facts.topics.topics
        ],
        "topics_measure": facts.topics.measure,
        "pii": {
            "interactions": intake.pii_interactions,
            "sent": dict(intake.pii_asked),
            "answered": dict(intake.pii_answered),
        },
        "copies": {key: value for key, value in asdict(facts.duplicates).items() if key != "most"},
        "changes": [_change(marked) for marked in facts.changes],
        "canary": asdict(facts.canary),
        "next_step": {"title": facts.step.title, "commands": facts.step.commands},
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {"bad": rate.k, "judged": rate.n, "share": rate.share, "interval": rate.interval}


def _change(marked: Marked) -> dict[str, Any]:
    change = marked.change
    told: dict[str, Any] = {"mark": marked.mark, "identifiable": change is not None, "why_not": marked.why_not}
    if change is not None:
        told |= {"old": change.old.name, "new": change.new.name, "design": change.design}
        told |= {"difference": change.difference._asdict(), "users": change.by_user}
    return told
