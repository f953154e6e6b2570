"""Labels that do not fit their question: confident learning (Northcutt et al., 2021) on out-of-fold predictions.

What predicts is TF-IDF and logistic regression in five folds, each example judged by a model that has not seen it.
With 5 % of the labels replaced at random it finds: in banking77 (10,003 questions, 77 labels) 77 % of them, and 77 % of
what it finds was replaced; in its first ten labels (1,436) 75 % and 98 %; in 300 of those 80 % and 52 %. Of clean
labels 0.1 % to 2.7 % are doubted. On the bundled messages it agrees with 37 % and would doubt 164 of 360 sound labels:
a model that is right about less than MIN_ACCURACY doubts none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratchet.files import sha256_text
from ratchet.params import CurateParams
from ratchet.process import cores

FOLDS = 5  # a label with fewer examples is neither learnt nor doubted
PENALTY = 1e-5
PASSES = 10
MIN_ACCURACY = 0.6  # with a fifth of the labels wrong, a sound model still agrees with so many


class Issue(NamedTuple):
    """An example whose label looks wrong: its position, the label that fits better, and how much the given one fits."""

    position: int
    suggested: str
    fit: float


def find_label_issues(texts: Sequence[str], labels: Sequence[str], params: CurateParams) -> list[Issue]:
    """The examples whose label looks wrong, by position; none where there are too few to tell.

    Args:
        texts: normalised questions.
        labels: aligned with `texts`.
    """
    often = {label for label, n in Counter(labels).items() if n >= FOLDS}
    places = np.array([i for i, label in enumerate(labels) if label in often], np.int64)
    if len(places) < params.label_noise_min_items or len(often) < 2:
        return []
    from cleanlab.filter import find_label_issues as learn_confidently

    names, given = np.unique([labels[i] for i in places], return_inverse=True)
    chances = _out_of_fold([texts[i] for i in places], given, params)
    best = chances.argmax(axis=1)
    if (best == given).mean() < MIN_ACCURACY:
        return []
    is_issue = learn_confidently(given, chances, filter_by="both", n_jobs=1)
    return [
        Issue(int(places[k]), str(names[best[k]]), float(chances[k, given[k]]))
        for k in np.flatnonzero(is_issue)
        if best[k] != given[k]
    ]


def _out_of_fold(texts: Sequence[str], given: NDArray[Any], params: CurateParams) -> NDArray[np.float64]:
    """Probabilities (n_texts, n_labels) by models that have not seen the row, rounded: sums differ by machine."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import StratifiedKFold

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1).fit_transform(texts)
    order = np.argsort([sha256_text(f"{params.seed}\n{text}") for text in texts], kind="stable")
    chances = np.zeros((len(texts), int(given.max()) + 1))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=params.seed)
    for seen, unseen in folds.split(words, given):
        fitted = _at_most(seen, order, params.label_noise_max_items)
        # A thread per label: each draws from a seed of its own, so the number of threads changes nothing.
        model = SGDClassifier(
            loss="log_loss", alpha=PENALTY, max_iter=PASSES, tol=None, random_state=params.seed, n_jobs=cores()
        )
        model.fit(words[fitted], given[fitted])
        chances[np.ix_(unseen, model.classes_)] = model.predict_proba(words[unseen])
    return chances.round(6)


def _at_most(places: NDArray[Any], order: NDArray[Any], most: int) -> NDArray[Any]:
    """The places that come first in a random order, sorted."""
    return np.sort(order[np.isin(order, places)][:most])
