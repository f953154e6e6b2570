"""`ratchet evidence`: a file of anyone's log, and a feature's own."""

from __future__ import annotations

import json
from pathlib import Path

from ratchet.files import write_whole
from ratchet.settings import Settings


def test_a_log_that_was_not_random_has_bounds_and_says_why_no_estimate(ratchet, tmp_path: Path) -> None:
    rows = [
        {"id": str(i), "logged": "a", "candidate": "a" if i % 4 else "b", "outcome": 1, "propensity": 1}
        for i in range(80)
    ]
    write_whole(tmp_path / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    ended = ratchet("evidence", str(tmp_path / "log.jsonl"))
    assert ended.status == 0 and "80 answers, of which 20 would have been others" in ended.out
    assert "to +0.0 points" in ended.out and "Not identifiable: 80 of 80 answers were not chosen at random" in ended.out
    facts = json.loads(ratchet("evidence", str(tmp_path / "log.jsonl"), "--json").out)
    assert facts["gain"] is None and facts["bounds"]["low"] < -0.25 < facts["bounds"]["high"] == 0.0


def test_no_file_and_no_feature_are_bad_input(ratchet, routing: Settings) -> None:
    assert ratchet("evidence", "nowhere.jsonl").status == 2
    assert ratchet("evidence", "nothing", "--release", "rel_a").status == 2
