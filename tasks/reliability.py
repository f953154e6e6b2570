"""How often each source of feedback is right, estimated from what others say about the same thing.

One-coin model of Dawid and Skene (1979), as in Raykar et al. (2010), fitted by expectation maximisation with a Beta
prior: a source of reliability r names the right value with probability r and each other value alike, and denies what
was served rightly with probability r. Trusted sources (agents) are the anchor: their reliability is given, and where
one of them has spoken, the trusted alone say what was right. Of agreement among the untrusted nobody's reliability
rises above the prior of its type, so a crowd of liars cannot vouch for itself; it falls by disagreement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratchet.examples import PRIOR
from ratchet.feedback import Claim

TRUSTED = "agent"
ROUNDS, CLOSE = 100, 1e-6
LOWEST, HIGHEST = 0.02, 0.98  # no source is always wrong or always right

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Votes(NamedTuple):
    """The claims on items about which two sources or more have spoken, as arrays; a slot is a value of an item."""

    item: Ints  # of each vote
    source: Ints
    slot: Ints  # the value that is named, or denied
    is_denial: NDArray[np.bool_]
    is_trusted: NDArray[np.bool_]
    item_of_slot: Ints
    n_values: Ints  # of each item, "something else" included
    prior: Floats  # of each source
    names: list[tuple[str, str]]


def estimate_reliability(
    claims: Sequence[Claim], items: Sequence[int], *, prior_votes: float
) -> dict[tuple[str, str], float]:
    """The reliability of every source that can be compared with another; worked by hand in the tests.

    Args:
        claims: of all interactions.
        items: of each claim, what it is about: claims with one item can be compared (answers to one question).
        prior_votes: how many votes the prior of a source's type (examples.PRIOR) is worth.
    """
    votes = _tabulate(claims, items)
    if votes is None:
        return {}
    reliability = votes.prior.copy()
    anchored = _is_anchored(votes)
    for _ in range(ROUNDS):
        right = _chance_right(votes, reliability, anchored)
        new = _reliability(votes, right, anchored, prior_votes)
        if np.abs(new - reliability).max() < CLOSE:
            break
        reliability = new
    return {name: float(value) for name, value in zip(votes.names, reliability.round(6), strict=True)}


def _tabulate(claims: Sequence[Claim], items: Sequence[int]) -> Votes | None:
    """A vote for each source and item: its last word. Derived signals do not vote; None: nobody can be compared."""
    last: dict[tuple[int, tuple[str, str]], tuple[Claim, str]] = {}
    for item, claim in sorted(zip(items, claims, strict=True), key=_when):
        value = claim.target if claim.target is not None else claim.own
        if not claim.is_derived and value is not None:
            last[(item, claim.source)] = (claim, value)
    spoken = [item for item, _ in last]
    per_item = dict(zip(*(a.tolist() for a in np.unique(spoken, return_counts=True)), strict=True)) if spoken else {}
    kept = {key: said for key, said in last.items() if per_item[key[0]] > 1}
    if not kept:
        return None
    slots: dict[tuple[int, str], int] = {}
    for (item, _), (claim, value) in kept.items():
        for named in {value, claim.own} - {None}:
            slots.setdefault((item, str(named)), len(slots))
    slots |= {(item, ""): len(slots) + k for k, item in enumerate(dict.fromkeys(item for item, _ in kept))}
    item_ids = {item: k for k, item in enumerate(dict.fromkeys(item for item, _ in slots))}
    names = sorted({source for _, source in kept})
    source_ids = {name: k for k, name in enumerate(names)}
    item_of_slot = np.array([item_ids[item] for item, _ in slots])
    return Votes(
        item=np.array([item_ids[item] for item, _ in kept]),
        source=np.array([source_ids[source] for _, source in kept]),
        slot=np.array([slots[item, value] for (item, _), (_, value) in kept.items()]),
        is_denial=np.array([claim.target is None for claim, _ in kept.values()]),
        is_trusted=np.array([source[0] == TRUSTED for _, source in kept]),
        item_of_slot=item_of_slot,
        n_values=np.bincount(item_of_slot),
        prior=np.array([PRIOR[kind] for kind, _ in names]),
        names=names,
    )


def _when(said: tuple[int, Claim]) -> tuple[int, datetime, str, tuple[str, str]]:
    item, claim = said
    return item, claim.at, claim.interaction_id, claim.source


def _is_anchored(votes: Votes) -> NDArray[np.bool_]:
    """Of each item: whether a trusted source has spoken about it."""
    return np.bincount(votes.item, votes.is_trusted, len(votes.n_values)) > 0


def _chance_right(votes: Votes, reliability: Floats, anchored: NDArray[np.bool_]) -> Floats:
    """The expectation step: of each vote, the probability that it is right."""
    r = reliability[votes.source]
    wrong = np.log((1 - r) / (votes.n_values[votes.item] - 1))
    elsewhere = np.where(votes.is_denial, np.log(r), wrong)  # what a vote says of the values it does not speak of
    here = np.where(votes.is_denial, np.log(1 - r), np.log(r)) - elsewhere
    counts = votes.is_trusted | ~anchored[votes.item]
    by_item = np.bincount(votes.item[counts], elsewhere[counts], len(votes.n_values))
    score = by_item[votes.item_of_slot] + np.bincount(votes.slot[counts], here[counts], len(votes.item_of_slot))
    most = np.full(len(votes.n_values), -np.inf)
    np.maximum.at(most, votes.item_of_slot, score)
    chance = np.exp(score - most[votes.item_of_slot])
    chance /= np.bincount(votes.item_of_slot, chance)[votes.item_of_slot]
    return np.asarray(np.where(votes.is_denial, 1 - chance[votes.slot], chance[votes.slot]))


def _reliability(votes: Votes, right: Floats, anchored: NDArray[np.bool_], prior_votes: float) -> Floats:
    """The maximisation step: right votes of all votes, the prior's among them; see the module for the bounds."""
    n = len(votes.prior)
    proven = anchored[votes.item].astype(float)

    def right_share(weight: Floats) -> Floats:
        told, out_of = np.bincount(votes.source, right * weight, n), np.bincount(votes.source, weight, n)
        share: Floats = (votes.prior * prior_votes + told) / (prior_votes + out_of)
        return share

    found = np.minimum(right_share(np.ones_like(right)), np.maximum(votes.prior, right_share(proven)))
    trusted = np.bincount(votes.source, votes.is_trusted, n) > 0
    return np.where(trusted, votes.prior, np.clip(found, LOWEST, HIGHEST))


def count_by_reliability(found: Mapping[tuple[str, str], float]) -> dict[str, int]:
    """How many sources are how reliable."""
    bounds = {"below 0.5": 0.5, "0.5 to 0.7": 0.7, "0.7 to 0.9": 0.9, "0.9 and above": 1.01}
    counts = Counter(next(name for name, bound in bounds.items() if value < bound) for value in found.values())
    return {name: counts[name] for name in bounds}
