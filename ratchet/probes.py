"""Probes: what a hosted model answers to fixed prompts, day after day, and whether today's differ beyond its own noise.

Even at temperature 0 a provider's answers vary. So each prompt is asked several times, and days are compared by how
alike their answers are: today is another model only if its answers are further from those of the days before than
these are from each other, and further than chance would put them if answers of all days were drawn from one model
(a permutation test within prompts: Good, Permutation, Parametric and Bootstrap Tests, 3rd ed., section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from difflib import SequenceMatcher
from itertools import combinations

import numpy as np
from pydantic import BaseModel, ConfigDict

from ratchet.stats import Floats
from ratchet.store import Store

KIND = "probe"
KEPT = 5  # earlier probes that today's is compared with
ALPHA = 0.002  # of one day and model: a false alarm in 500 days
PERMUTATIONS = 1999
SEED = 11


class Probe(BaseModel):
    """One day's answers of one model at one backend, by prompt; `reasons` say what changed, and are empty mostly."""

    model_config = ConfigDict(frozen=True)

    backend: str
    model: str
    at: datetime
    answers: dict[str, tuple[str, ...]]
    models_named: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()
    failed: int = 0
    similarity_within: float | None = None
    similarity_to_before: float | None = None
    p: float | None = None
    reasons: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """What it is about, as the ledger names it."""
        return f"{self.backend}/{self.model}"

    @property
    def probe_id(self) -> str:
        """The id; sorts by time within a model."""
        return f"{self.subject} {self.at.isoformat(timespec='seconds')}"


def probes(store: Store, backend: str, model: str) -> list[Probe]:
    """Every probe of a model, oldest first."""
    found = [Probe.model_validate(document.body) for document in store.documents(KIND, f"{backend}/{model}")]
    return sorted(found, key=lambda probe: probe.at)


def changes_since(store: Store, since: datetime) -> list[Probe]:
    """The probes since then that told a change, oldest first."""
    found = [Probe.model_validate(document.body) for document in store.documents(KIND)]
    return sorted((p for p in found if p.reasons and p.at >= since), key=lambda probe: probe.at)


def keep_probe(store: Store, probe: Probe) -> None:
    """Write a probe; one of the same second is left as it is."""
    store.create_document(KIND, probe.probe_id, probe.subject, probe.model_dump(mode="json"))


def judge_probe(today: Probe, before: Sequence[Probe]) -> Probe:
    """Today's probe with what changed since.

    Args:
        today: as it was asked.
        before: earlier ones of the same model, oldest first; those up to the last that told a change are of another
            model and do not count, but that one itself does.
    """
    changed = [place for place, probe in enumerate(before) if probe.reasons]
    same = [probe for probe in before[changed[-1] if changed else 0 :] if probe.answers][-KEPT:]
    if not same or not today.answers:
        return today
    reasons = []
    known = set(same[-1].models_named)
    if known and today.models_named and not known & set(today.models_named):
        reasons.append(f"it calls itself {', '.join(today.models_named)}, and was {', '.join(sorted(known))}")
    within, across, p = _compare(today.answers, [probe.answers for probe in same])
    usual = min((_across(a.answers, b.answers) for a, b in combinations(same, 2)), default=1.0)
    if p is not None and p <= ALPHA and across < min(within, usual):
        reasons.append(f"its answers are {across:.2f} like those before, which among themselves are {usual:.2f} alike")
    found = {"similarity_within": round(within, 4), "similarity_to_before": round(across, 4), "p": p}
    return today.model_copy(update=found | {"reasons": tuple(reasons)})


def _compare(
    today: Mapping[str, Sequence[str]], before: Sequence[Mapping[str, Sequence[str]]]
) -> tuple[float, float, float | None]:
    """How alike today's answers are, how like those before, and how often chance would put them as far apart."""
    dice = np.random.default_rng(SEED)
    gaps, drawn, within, across = [], np.zeros(PERMUTATIONS), [], []
    for prompt, said in today.items():
        earlier = [text for one in before for text in one.get(prompt, ())]
        if len(said) < 2 or len(earlier) < 2:
            continue
        alike = _alike([*said, *earlier])
        mine = np.arange(len(alike)) < len(said)
        within.append(_inside(alike, mine))
        across.append(float(alike[np.ix_(mine, ~mine)].mean()))
        gaps.append(_gap(alike, mine))
        drawn += [_gap(alike, dice.permutation(mine)) for _ in range(PERMUTATIONS)]
    if not gaps:
        return 1.0, 1.0, None
    beaten = int((drawn >= sum(gaps) - 1e-9).sum())
    return float(np.mean(within)), float(np.mean(across)), round((1 + beaten) / (1 + PERMUTATIONS), 5)


def _gap(alike: Floats, mine: np.ndarray) -> float:
    """How much more alike answers are within the two groups than between them."""
    return (_inside(alike, mine) + _inside(alike, ~mine)) / 2 - float(alike[np.ix_(mine, ~mine)].mean())


def _inside(alike: Floats, mine: np.ndarray) -> float:
    n = int(mine.sum())
    return (float(alike[np.ix_(mine, mine)].sum()) - n) / (n * (n - 1))


def _across(one: Mapping[str, Sequence[str]], other: Mapping[str, Sequence[str]]) -> float:
    shared = [(a, b) for prompt in one.keys() & other.keys() for a in one[prompt] for b in other[prompt]]
    return float(np.mean([_likeness(a, b) for a, b in shared])) if shared else 1.0


def _alike(texts: Sequence[str]) -> Floats:
    """(n, n): how alike each two texts are, from 0 to 1."""
    known: dict[tuple[str, str], float] = {}
    for a, b in combinations(sorted(set(texts)), 2):
        known[a, b] = known[b, a] = _likeness(a, b)
    return np.array([[1.0 if a == b else known[a, b] for b in texts] for a in texts])


def _likeness(a: str, b: str) -> float:
    return 1.0 if a == b else SequenceMatcher(None, a.split(), b.split(), autojunk=False).ratio()
