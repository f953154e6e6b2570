"""Action: record that a candidate is about to meet the holdout, and hand the count of looks to the gate as a file."""

from __future__ import annotations

from pathlib import Path

from ratchet.files import read_json, write_json
from ratchet.ledger import Ledger
from ratchet.release import read_candidate
from tasks.evaluate import choose_arm, holdout_digest


def record_look(tree: Path, feature: str, arms: tuple[str, ...], ledger: Ledger, run_id: str) -> int:
    """Write the look into the ledger before evaluate runs, and looks.json into the worktree.

    A candidate that met this holdout before is the same look: its scores are the same. Returns the number of looks
    at this holdout so far, this one included.
    """
    data = tree / "data" / feature
    reports = {arm: read_json(data / "candidates" / arm / "report.json") for arm in arms}
    candidate = read_candidate(data / "candidates" / choose_arm(reports)).release_id
    holdout = holdout_digest(data / "holdout")
    seen = {str(entry.facts["candidate"]) for entry in ledger.entries(event="look", subject=holdout)}
    if candidate not in seen:
        ledger.append("look", holdout, candidate=candidate, feature=feature, run=run_id)
        seen.add(candidate)
    write_json(data / "looks.json", {"advisory": False, "looks": len(seen)})
    return len(seen)
