"""card.md: what a data set is made of, what was left out and why, what may be done with it. Counts only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ratchet.features import Feature

CONSENT = {
    "required": "Only interactions whose user consented are used; who said nothing has not consented.",
    "unless_refused": "Interactions whose user refused are left out; who said nothing is taken to agree.",
}
LINEAGE = """Every example names the interactions it stands for (`interaction_ids`, near-duplicates included) and the
feedback on them (`feedback_ids`); the raw records lie in `raw/` under the same ids, by tenant and day. The version is
the digest in `dvc.lock`: the same raw data, holdout, parameters and code give the same bytes."""
DEFENCE = """Personal data is replaced before the data is versioned. Near-duplicates are collapsed; what the holdout,
the showcase or a safety suite asks is left out. Sources weigh as much as they have proven right against
agents; claims that contradict each other go to people. No user, conversation or tenant is more than its share."""


def write_card(feature: Feature, metrics: Mapping[str, Any]) -> str:
    """The card as Markdown, from what curate counted."""
    parts = [
        f"# Dataset card: {_plain(feature.name)}",
        _plain(feature.intent),
        _table(
            "Counts",
            ("what", "rows"),
            {
                "interactions read": metrics["rows"],
                "used": metrics["used"],
                "of these to train on": metrics["train"],
                "of these to validate on": metrics["validation"],
                "set aside": metrics["set_aside"],
                "waiting for a person (questions)": metrics["review"],
                "drawn for blind labelling": metrics["blind"],
            },
        ),
        _table("Removed, and why", ("reason", "rows"), metrics["reasons"]),
        _table("Claims left out before merging", ("reason", "claims"), metrics["claims_aside"]),
        _table("Where the right outputs come from", ("origin", "examples"), metrics["origins"]),
        _table("Claims by kind of source", ("source", "claims"), metrics["sources"]),
        _table("Reliability of sources, estimated", ("reliability", "sources"), metrics["reliability"]),
        _table("Labels", ("label", "examples"), metrics["labels"]),
        _table("Tenants", ("tenant", "examples"), metrics["tenants"]),
        _table("Languages", ("language", "examples"), metrics["languages"]),
        _table("Holdout questions that stand elsewhere", ("where", "questions"), metrics["held_elsewhere"]),
        f"## Licence\n\n{_plain(feature.licence) if feature.licence else 'Not stated in feature.yaml (`licence`).'}",
        f"## Consent\n\n{CONSENT[feature.consent]}",
        f"## Lineage\n\n{LINEAGE}",
        f"## What defends it\n\n{DEFENCE}",
    ]
    return "\n\n".join(parts) + "\n"


def _table(title: str, head: tuple[str, str], counts: Mapping[str, int]) -> str:
    rows = [f"| {_plain(name)} | {n} |" for name, n in counts.items()] or ["| none | 0 |"]
    return "\n".join([f"## {title}", "", f"| {head[0]} | {head[1]} |", "|---|---:|", *rows])


def _plain(text: str) -> str:
    """A text on one line that is nothing but text in Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+!|" else c for c in " ".join(str(text).split()))
