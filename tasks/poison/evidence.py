"""How well each claim's target fits its text, held against what agents said: a conformal p-value per claim.

The score of a claim is how far its target lies behind the best target under a naive Bayes model of the agents' claims.
Its p-value is the share of the agents' claims of that same target, each scored by a model that has not seen its text,
which score as badly: label-conditional conformal prediction (Vovk, Gammerman, Shafer 2005, section 4.5; p-values for
outliers: Bates, Candes, Lei, Romano, Sesia 2023). So an honest claim has p <= a with a chance of about a, whatever
the model is worth; a poor model finds little and accuses nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ratchet.files import sha256_text
from ratchet.params import PoisonParams
from tasks.clusters import components, near_pairs
from tasks.poison.claim import Claim

FOLDS = 5
MIN_SUPPORT = 5  # texts of a target, below which nothing is said about it
FEATURES = 2**16  # words and pairs of words, hashed
CHUNK = 20_000  # texts scored at once, so that memory does not grow with targets times claims

Pair = tuple[str, str]  # a text and a target, however often it is claimed
Floats = NDArray[np.float64]


def weigh(claims: Sequence[Claim], params: PoisonParams) -> Floats:
    """The p-value of each claim, shape (n_claims,): small where evidence contradicts it, nan where there is none.

    Evidence are the agents' claims; an agent's word on the very same text decides alone (1 or 0). Where agents said
    less than `min_trusted` texts, all claims are evidence: what most say is then held against the few, each judged by
    a model that has seen neither its text nor a near-copy of it.
    """
    agents = {_pair(claim) for claim in claims if claim.source_type == "agent" and claim.target is not None}
    everybody = {_pair(claim) for claim in claims if claim.target is not None}
    has_agents = len({text for text, _ in agents}) >= params.min_trusted
    evidence = agents if has_agents else everybody
    support = Counter(target for _, target in evidence)
    targets = sorted(target for target, n in support.items() if n >= MIN_SUPPORT)
    pairs = sorted(pair for pair in everybody if support[pair[1]] >= MIN_SUPPORT)
    if len(targets) < 2:
        return np.full(len(claims), np.nan)
    is_evidence = np.array([pair in evidence for pair in pairs])
    folds = np.where(is_evidence, _folds(pairs, params, is_consensus=not has_agents), FOLDS)
    place = {target: n for n, target in enumerate(targets)}
    label = np.array([place[target] for _, target in pairs])
    scores = _scores([text for text, _ in pairs], label, folds, is_evidence)
    p_values = dict(zip(pairs, _p_values(scores, label, is_evidence, params.contradicted), strict=True))
    if has_agents:
        said = {text for text, _ in agents}
        p_values |= {pair: float(pair in agents) for pair in pairs if pair[0] in said}
    return np.array([np.nan if claim.target is None else p_values.get(_pair(claim), np.nan) for claim in claims])


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
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.naive_bayes import MultinomialNB

    words = HashingVectorizer(
        ngram_range=(1, 2), n_features=FEATURES, alternate_sign=False, norm=None, token_pattern=r"\w+", lowercase=False
    )
    counts = words.transform(texts)
    features = TfidfTransformer(sublinear_tf=True).fit(counts[is_evidence]).transform(counts)
    scores = np.zeros(len(texts))
    for fold in range(FOLDS + 1):
        learned = is_evidence & (folds != fold)
        asked = np.flatnonzero(folds == fold)
        if not learned.any():
            continue
        model = MultinomialNB(alpha=0.1, fit_prior=False).fit(features[learned], label[learned])
        place = {int(known): n for n, known in enumerate(model.classes_)}
        for rows in np.array_split(asked, len(asked) // CHUNK + 1):
            if len(rows):
                fit = model.predict_joint_log_proba(features[rows])
                own = [fit[n, place[int(k)]] if int(k) in place else fit[n].min() for n, k in enumerate(label[rows])]
                scores[rows] = fit.max(axis=1) - np.array(own)
    return scores


def _p_values(scores: Floats, label: NDArray[np.int64], is_evidence: NDArray[np.bool_], level: float) -> Floats:
    """Conformal p-values by label; where a label has too few for this level, among the evidence of all labels."""
    pooled = np.sort(scores[is_evidence])
    found = np.empty(len(scores))
    for k in np.unique(label):
        own = np.sort(scores[is_evidence & (label == k)])
        known = own if (len(own) + 1) * level >= 1 else pooled
        rows = label == k
        found[rows] = (1 + len(known) - np.searchsorted(known, scores[rows], side="left")) / (len(known) + 1)
    return found
