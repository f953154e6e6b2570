"""How well each claim's target fits its text, held against what agents said.

The score of a claim is how far its target lies behind the best target under a naive Bayes model of the agents' claims.
Its conformal p-value is the share of the agents' own claims, each scored by a model that has not seen its text, that
score as badly (Vovk, Gammerman, Shafer 2005; p-values for outliers: Bates, Candes, Lei, Romano, Sesia 2023). So
honest claims have p <= a about as often as a, whatever the model is worth: a poor model finds little and accuses
nobody. Targets differ, and some are hard: how often the agents' own claims of a target fall below the level is what an
honest claim of that target is allowed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratchet.feedback import Claim
from ratchet.files import sha256_text
from ratchet.params import PoisonParams
from tasks.clusters import components, near_pairs

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FOLDS = 5
MIN_SUPPORT = 3  # texts of a target, below which nothing is said about it
GRAMS, FEATURE_BITS = (3, 4, 5), 16  # runs of characters: from few labels they carry further than words
MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits well spread: 2**64 over the golden ratio
SMOOTHING = 0.01
PRIOR_TEXTS = 20
CHUNK = 20_000  # texts scored at once, so that memory does not grow with targets times claims

Pair = tuple[str, str]  # a text and a target, however often it is claimed
Floats = NDArray[np.float64]


class Evidence(NamedTuple):
    """What speaks against each claim; shapes (n_claims,).

    Attributes:
        p: small where the claim fits its text badly; nan where there is no evidence.
        honest_rate: how often an honest claim of the same target is contradicted: an upper bound.
    """

    p: Floats
    honest_rate: Floats


def weigh(claims: Sequence[Claim], params: PoisonParams) -> Evidence:
    """Hold every claim against the agents' claims; an agent's word on the very same text decides alone (1 or 0).

    Where agents said less than `min_trusted` texts, all claims are evidence: what most say is then held against the
    few, each judged by a model that has seen neither its text nor a near-copy of it.
    """
    agents = {_pair(claim) for claim in claims if claim.source_type == "agent" and claim.target is not None}
    everybody = {_pair(claim) for claim in claims if claim.target is not None}
    has_agents = len({text for text, _ in agents}) >= params.min_trusted
    evidence = agents if has_agents else everybody
    support = Counter(target for _, target in evidence)
    pairs = sorted(pair for pair in everybody if support[pair[1]] >= MIN_SUPPORT)
    place = {target: n for n, target in enumerate(sorted({target for _, target in pairs}))}
    if len(place) < 2:
        return Evidence(np.full(len(claims), np.nan), np.full(len(claims), np.nan))
    is_evidence = np.array([pair in evidence for pair in pairs])
    folds = np.where(is_evidence, _folds(pairs, params, is_consensus=not has_agents), FOLDS)
    label = np.array([place[target] for _, target in pairs])
    scores = _scores([text for text, _ in pairs], label, folds, is_evidence)
    known = np.sort(scores[is_evidence])
    p = (1 + len(known) - np.searchsorted(known, scores, side="left")) / (len(known) + 1)
    rates = _honest_rates(p[is_evidence] <= params.contradicted, label[is_evidence], params.contradicted)
    found = dict(zip(pairs, p.tolist(), strict=True))
    if has_agents:
        said = {text for text, _ in agents}
        found |= {pair: float(pair in agents) for pair in pairs if pair[0] in said}
    return Evidence(
        np.array([found.get(_pair(claim), np.nan) for claim in claims]),
        np.array([rates[place[str(claim.target)]] if _pair(claim) in found else np.nan for claim in claims]),
    )


def _pair(claim: Claim) -> Pair:
    return claim.text, str(claim.target)


def _folds(pairs: Sequence[Pair], params: PoisonParams, *, is_consensus: bool) -> NDArray[np.int64]:
    """A fold per pair, by its text alone; in a consensus copies share one, or each would vouch for the next."""
    texts = [text for text, _ in pairs]
    if is_consensus:
        roots = components(len(texts), near_pairs(texts, jaccard=params.copy_jaccard, seed=params.seed))
        texts = [texts[root] for root in roots]
    return np.array([int(sha256_text(text)[:8], 16) % FOLDS for text in texts])


def _scores(
    texts: Sequence[str], label: NDArray[np.int64], folds: NDArray[np.int64], is_evidence: NDArray[np.bool_]
) -> Floats:
    """How far each target lies behind the best (0: it is the best), under a model that has not seen the pair's fold."""
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.naive_bayes import MultinomialNB

    weighted = TfidfTransformer(sublinear_tf=True)
    known = np.flatnonzero(is_evidence)
    features = weighted.fit_transform(_grams([texts[n] for n in known.tolist()]))
    scores = np.zeros(len(texts))
    for fold in range(FOLDS + 1):
        learned = folds[known] != fold
        asked = np.flatnonzero(folds == fold)
        if not learned.any() or not len(asked):
            continue
        model = MultinomialNB(alpha=SMOOTHING, fit_prior=False).fit(features[learned], label[known[learned]])
        place = {int(its): n for n, its in enumerate(model.classes_)}
        for rows in np.array_split(asked, len(asked) // CHUNK + 1):
            fit = model.predict_joint_log_proba(weighted.transform(_grams([texts[n] for n in rows.tolist()])))
            own = [fit[n, place[k]] if k in place else fit[n].min() for n, k in enumerate(label[rows].tolist())]
            scores[rows] = fit.max(axis=1) - np.array(own)
    return scores


def _grams(texts: Sequence[str]) -> csr_array:
    """How often each run of 3, 4 or 5 characters stands in each text, hashed; shape (n_texts, 2**FEATURE_BITS)."""
    from scipy.sparse import csr_array

    lengths = np.array([len(text) + 2 for text in texts])
    codes = np.frombuffer("".join(f" {text} " for text in texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    owner = np.repeat(np.arange(len(texts)), lengths)
    hashed = np.zeros(len(codes), np.uint64)
    rows, columns = [], []
    for n in range(max(GRAMS)):
        hashed = (hashed[: len(codes) - n] + codes[n:] + np.uint64(1)) * MIX
        if n + 1 in GRAMS:
            is_whole = owner[: len(hashed)] == owner[n:]
            rows.append(owner[n:][is_whole])
            columns.append((hashed[is_whole] ^ hashed[is_whole] >> np.uint64(29)) * MIX >> np.uint64(64 - FEATURE_BITS))
    row, column = np.concatenate(rows), np.concatenate(columns).astype(np.int64)
    shape = (len(texts), 2**FEATURE_BITS)
    return csr_array((np.ones(len(row), np.float32), (row, column)), shape=shape)


def _honest_rates(is_low: NDArray[np.bool_], label: NDArray[np.int64], level: float) -> Floats:
    """By label, the share of the evidence that falls below the level: the upper 90 % bound under a Beta prior.

    The prior is worth PRIOR_TEXTS texts and has the level as its mean.
    """
    from scipy.stats import beta

    low, n = np.bincount(label[is_low], minlength=label.max() + 1), np.bincount(label)
    bound: Floats = beta.ppf(0.9, low + level * PRIOR_TEXTS, n - low + (1 - level) * PRIOR_TEXTS)
    return bound
