"""How many questions repeat another: exactly, over everything; nearly, in a sample of stated size."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.clusters import components, near_pairs
from tasks.try_out.log import Log

SAMPLE = 3000
JACCARD = 0.8  # of character 5-shingles; the stage curate uses the same
SEED = 17
SHOWN = 3


@dataclass(frozen=True)
class Duplicates:
    """Copies are questions beyond the first of their kind. `most` are the questions asked most often, with counts."""

    questions: int
    exact: int
    sampled: int
    near: int
    most: tuple[tuple[str, int], ...]


def find_duplicates(log: Log) -> Duplicates:
    """Count copies of questions; case, spaces, punctuation and personal data make no difference."""
    questions, different = log.row("SELECT COUNT(*), COUNT(DISTINCT copy) FROM interaction WHERE text != ''")
    query = "SELECT plain FROM interaction WHERE text != '' GROUP BY copy ORDER BY copy LIMIT ?"
    sample = [plain for (plain,) in log.rows(query, (SAMPLE,))]
    roots = components(len(sample), near_pairs(sample, jaccard=JACCARD, seed=SEED))
    most = """SELECT MIN(text), COUNT(*) FROM interaction WHERE text != '' GROUP BY copy HAVING COUNT(*) > 1
        ORDER BY 2 DESC, 1 LIMIT ?"""
    return Duplicates(
        questions=questions,
        exact=questions - different,
        sampled=len(sample),
        near=len(sample) - len(set(roots)),
        most=tuple((text, count) for text, count in log.rows(most, (SHOWN,))),
    )
