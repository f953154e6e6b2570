"""Groups of strangers' claims of which more are contradicted than honest error explains.

Every detector forms groups by another rule and asks the same question: of n different texts k are contradicted; is k
beyond Binomial(n, honest_rate + honest_noise), at the false discovery rate `alpha` over all groups of the detector
(Benjamini and Hochberg 1995)? Texts are counted, not claims, and near-copies once: one question on which the evidence
errs may be asked by many, and is one error.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from itertools import pairwise

import numpy as np

from ratchet.feedback import Claim
from ratchet.params import PoisonParams
from tasks.clusters import components, near_pairs
from tasks.poison.evidence import Evidence

Found = set[int]
MIN_GROUP = 3  # texts; two slips may be one bad day
MANY = 3  # targets
FITS = 0.5  # a claim that fits better than half of the agents' own is left alone in a rush
PURITY = 0.8  # of the claims with a trigger, those on its target


class Judged:
    """The claims in their fixed order, those that strangers made about a target, and which are contradicted.

    `text_of` gives each of the latter the first of its near-copies, so that copies are one text.
    """

    def __init__(self, claims: Sequence[Claim], evidence: Evidence, params: PoisonParams) -> None:
        self.claims = claims
        self.p, self.honest_rate = evidence
        self.strangers = [i for i, c in enumerate(claims) if c.source_type != "agent" and c.target is not None]
        self.is_contradicted = self.p <= params.contradicted  # nan: not
        odd = [i for i in self.strangers if self.is_contradicted[i]]
        texts = [claims[i].text for i in odd]
        roots = components(len(odd), near_pairs(texts, jaccard=params.copy_jaccard, seed=params.seed))
        self.text_of = {i: texts[root] for i, root in zip(odd, roots, strict=True)}


def source_of(claim: Claim) -> tuple[str, str, str]:
    """Who speaks: a judge by its own id; what users said or did, by who asked, as only that is bound to a receipt."""
    if claim.source_type == "judge":
        return claim.tenant, "judge", claim.source_id
    return claim.tenant, "user", claim.user_id or claim.session_id or claim.interaction_id


def find_against_trusted(judged: Judged, params: PoisonParams) -> Found:
    """All claims of a source that is contradicted too often."""
    sources = _grouped((source_of(judged.claims[i]), i) for i in judged.strangers)
    return {i for group in _suspicious(judged, sources, params) for i in group}


def find_crowds(judged: Judged, params: PoisonParams, *, aside: Collection[int]) -> Found:
    """The contradicted claims on one target, or of all strangers, where together they are too many.

    So flips from accounts that are each too quiet to be judged still show. What is aside already is not counted, or
    one loud attacker would cast doubt on everybody.
    """
    left = [i for i in judged.strangers if i not in aside]
    targets = _suspicious(judged, _grouped((judged.claims[i].target, i) for i in left), params)
    found = {i for group in targets for i in group if judged.is_contradicted[i]}
    everybody = _suspicious(judged, [[i for i in left if i not in found]], params)
    return found | {i for group in everybody for i in group if judged.is_contradicted[i]}


def find_bursts(judged: Judged, params: PoisonParams) -> Found:
    """Claims on a target in a time in which far more named it than at other times, but for those that fit it well.

    A rush alone is no offence: in an outage everybody names one target, agents among them, and little is contradicted.
    """
    return {i for rush in _suspicious(judged, _rushes(judged, params), params) for i in rush if judged.p[i] < FITS}


def find_copies(judged: Judged, params: PoisonParams) -> Found:
    """Contradicted near-copies of one text with one target, from at least `min_accounts` sources.

    They are one text, so nothing can be counted; if they are an honest question that agents have never seen, one
    example is lost, as near-copies give no more than one anyway, and a person sees it.
    """
    copies = _grouped(((judged.claims[i].target, text), i) for i, text in judged.text_of.items())
    sources = [{source_of(judged.claims[i]) for i in group} for group in copies]
    return {i for group, who in zip(copies, sources, strict=True) if len(who) >= params.min_accounts for i in group}


def find_triggers(judged: Judged, params: PoisonParams) -> Found:
    """All claims that share a word, or a pair of words, which nearly always comes with their target and not its texts.

    A word that agents know to mean the target (a cheque, say) lets its texts fit: nothing is contradicted then.
    """
    times, odd = Counter[str](), Counter[str]()
    for i in judged.strangers:
        words = _words(judged.claims[i].text)
        times.update(words)
        if judged.is_contradicted[i]:
            odd.update(words)
    holders: dict[str, list[int]] = {word: [] for word, n in odd.items() if n >= MIN_GROUP}
    for i in judged.strangers:
        for word in _words(judged.claims[i].text) & holders.keys():
            holders[word].append(i)
    groups = []
    for held_by in holders.values():
        for group in _grouped((judged.claims[i].target, i) for i in held_by):
            is_shared = len({source_of(judged.claims[i]) for i in group}) > 1  # what one source says is its own matter
            groups += [group] if is_shared and len(group) >= PURITY * len(held_by) else []
    looked_at = sum(n >= MIN_GROUP for n in times.values())
    return {i for group in _suspicious(judged, groups, params, looked_at=looked_at) for i in group}


def _words(text: str) -> set[str]:
    """The words of a normalised text, and each two that follow each other."""
    words = text.split()
    return {*words, *map(" ".join, pairwise(words))}


def _rushes(judged: Judged, params: PoisonParams) -> list[list[int]]:
    """The claims of each window on one target that holds more of them than its share at other times explains.

    Per target, every window of `burst_hours` that begins with a claim on it. Given how many claims it holds and how
    many name the target in all, those in it are hypergeometric (the space-time permutation scan of Kulldorff and others
    2005, with a target in place of a place): so nights, weekends and growth raise nothing. Bonferroni over the windows.
    """
    from scipy.stats import hypergeom

    at = np.array([judged.claims[i].at.timestamp() for i in judged.strangers])
    times, width, total = np.sort(at), params.burst_hours * 3600.0, len(at)
    rushes: list[list[int]] = []
    for members in _grouped((judged.claims[i].target, n) for n, i in enumerate(judged.strangers)):
        own = np.array(sorted(members, key=lambda n: (at[n], n)))
        begins = at[own]
        inside = np.searchsorted(begins, begins + width, "right") - np.searchsorted(begins, begins, "left")
        beside = np.searchsorted(times, begins + width, "right") - np.searchsorted(times, begins, "left")
        likely = np.flatnonzero((inside >= MIN_GROUP) & (inside * total > 1.5 * beside * len(own)))
        tail = hypergeom.sf(inside[likely] - 1, total, len(own), beside[likely])
        end = -np.inf
        for start in begins[likely[tail * total <= params.alpha]]:
            held = [judged.strangers[n] for n in own[(begins >= start) & (begins <= start + width)]]
            if start <= end:
                rushes[-1] = sorted({*rushes[-1], *held})
            else:
                rushes.append(held)
            end = start + width
    return rushes


def _grouped(keyed: Iterable[tuple[Hashable, int]]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for key, i in keyed:
        groups[key].append(i)
    return list(groups.values())


def _suspicious(
    judged: Judged, groups: Sequence[list[int]], params: PoisonParams, *, looked_at: int = 0
) -> list[list[int]]:
    """The groups in which more texts are contradicted than honest error explains.

    Args:
        looked_at: the groups there were, where those given were chosen for having many that are contradicted.
    """
    from scipy.stats import binom, false_discovery_control

    tested, counts = [], []
    for group in groups:
        known = [i for i in group if not np.isnan(judged.p[i])]
        texts = {(judged.text_of.get(i, judged.claims[i].text), judged.claims[i].target): i for i in known}
        if len(texts) >= MIN_GROUP:
            tested.append(group)
            members = list(texts.values())
            targets = {target for _, target in texts}  # over many, the agents' own rate is the level by construction
            rate = judged.honest_rate[members].mean() if len(targets) <= MANY else params.contradicted
            counts.append((judged.is_contradicted[members].sum(), len(members), rate))
    if not tested:
        return []
    k, n, rate = np.array(counts).T
    p = binom.sf(k - 1, n, np.minimum(rate + params.honest_noise, 0.5))
    among = np.concatenate([p, np.ones(max(0, looked_at - len(p)))])
    return [group for group, q in zip(tested, false_discovery_control(among), strict=False) if q <= params.alpha]
