"""What differs between two releases: content, the data they were made of, what the gate found."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from ratchet.release import Release

Facts = Mapping[str, Any]
COMPARED = ("base_model", "adapter", "decoding", "output_schema", "policy")
DATASET = {"md5": r"md5: (\S+)", "size": r"size: (\d+)", "files": r"nfiles: (\d+)"}


def diff_releases(before: Release, after: Release, before_facts: Facts, after_facts: Facts) -> dict[str, Any]:
    """The differences by part; a part that is equal on both sides is empty.

    Args:
        before_facts: the attestation of the first; may be empty, and then data and scores are.
        after_facts: the attestation of the second.
    """
    one, other = before.model_dump(mode="json"), after.model_dump(mode="json")
    shown = {d.model_dump_json() for d in before.prompt.demonstrations}
    shows = {d.model_dump_json() for d in after.prompt.demonstrations}
    return {
        "from": before.release_id,
        "to": after.release_id,
        "prompt": unified(before.prompt.text, after.prompt.text, before.release_id[:16], after.release_id[:16]),
        "demonstrations": {"added": len(shows - shown), "removed": len(shown - shows)} if shows != shown else {},
        "settings": changes({k: one[k] for k in COMPARED}, {k: other[k] for k in COMPARED}),
        "data": changes(_data(before_facts), _data(after_facts)),
        "scores": changes(_scores(before_facts), _scores(after_facts)),
    }


def unified(before: str, after: str, before_name: str, after_name: str) -> list[str]:
    """A unified diff of two texts as lines without line ends; empty where they are equal."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), before_name, after_name, lineterm="")
    return list(lines)


def changes(before: Any, after: Any, where: str = "") -> dict[str, list[Any]]:
    """The leaves that differ, by their dotted path, as [before, after]; null is "not there"."""
    if before == after:
        return {}
    if isinstance(before, dict) and isinstance(after, dict):
        found: dict[str, list[Any]] = {}
        for key in sorted({*before, *after}):
            found |= changes(before.get(key), after.get(key), f"{where}.{key}" if where else str(key))
        return found
    return {where: [before, after]}


def _data(facts: Facts) -> dict[str, Any]:
    """Counts of rows by stage, and the raw data's digest, size and files out of its DVC pointer."""
    found: dict[str, Any] = {"rows": _numbers(facts.get("rows") or {})}
    for name, pattern in DATASET.items():
        match = re.search(pattern, str(facts.get("dataset") or ""))
        found[name] = match[1] if match else None
    return found


def _scores(facts: Facts) -> dict[str, Any]:
    """What the gate attested of the release itself: its own scores as candidate, and the verdict."""
    gate = facts.get("gate") or {}
    found = {"verdict": gate.get("verdict"), "arm": gate.get("chosen_arm"), "holdout": gate.get("holdout_digest")}
    return found | _numbers(gate.get("candidate") or {})


def _numbers(facts: Facts) -> dict[str, Any]:
    kept = {k: _numbers(v) if isinstance(v, dict) else v for k, v in facts.items()}
    return {k: v for k, v in kept.items() if isinstance(v, int | float) or (isinstance(v, dict) and v)}
