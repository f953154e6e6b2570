"""benchmarks.ifllm: real chats become sound records, and what is dirty in them is refused."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.ifllm import FOLDER, read_turns, records
from ratchet.records import Rejected, parse_feedback, parse_interaction

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the public data beside the clone is missing: {FOLDER}")


def test_every_row_is_an_interaction_but_the_one_without_a_time() -> None:
    parsed = [parse_interaction(next(records(row)), str(row["query_id"])) for row in read_turns()]
    assert len(parsed) == 1691
    assert [p.reason.split(":")[0] for p in parsed if isinstance(p, Rejected)] == ["at"]


def test_ratings_and_preferences_are_sound_feedback_of_who_asked() -> None:
    rows = read_turns()
    said = [parse_feedback(r, "x") for row in rows for r in list(records(row))[1:] if "0000" not in r["at"]]
    kinds = Counter(f.kind for f in said if not isinstance(f, Rejected))
    assert sum(kinds.values()) == len(said)
    assert kinds["preference"] == sum(r["design"] == "pairwise" and r["preference"] is not None for r in rows)
