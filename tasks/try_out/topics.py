"""Which kinds of requests go wrong: clusters of questions by their words, with the share of bad answers in each.

TF-IDF, latent semantic analysis and k-means are fitted to a sample of stated size, then every question is assigned, so
that counts are exact. The worst come first by a shrunk rate: each cluster is given PRIOR answers more that went like
all others, or three unlucky ones would top the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ratchet.clustered import holm
from tasks.try_out.counts import Rate
from tasks.try_out.log import Log

SAMPLE = 5000  # questions that the clusters are fitted to
LEAST = 30  # with fewer different questions there is nothing to divide
MOST_TOPICS = 12
QUESTIONS_PER_TOPIC = 25  # k = questions / 25, at most 12: few enough to read
DIMENSIONS = 20  # on banking77's questions and intents 20 did better than 50, 100 or none (and none leaves one lump)
PRIOR = 20
EXAMPLES = 3
LEAST_USERS = 3  # one angry person is no kind of request
TERMS = 4
ALPHA = 0.05
CHUNK = 2000
SEED = 17
WORD = r"(?u)\b[^\W\d_]\w+\b"  # begins with a letter
IDLE_WORDS = {
    "did",
    "does",
    "doing",
    "don",
    "didn",
    "doesn",
    "isn",
    "ve",
    "ll",
    "want",
    "need",
    "know",
    "known",
    "tell",
}
IDLE_WORDS |= {"please", "help", "hi", "hello", "thanks", "like", "just", "use", "using"}
WRONG = {  # what bad means, and of which answers it can be said
    "feedback": "INSERT INTO wrong SELECT id, verdict = 0 FROM outcome",
    "signals": """INSERT INTO wrong SELECT id, id IN (SELECT interaction FROM signal
        WHERE kind IN ('rephrase', 'escalation')) FROM interaction WHERE session IS NOT NULL""",
    "none": "DELETE FROM wrong",
}


class Words(NamedTuple):
    """What was said of an answer: the kind of signal, and the words or the number if there are any."""

    kind: str
    text: str | None


@dataclass(frozen=True)
class Case:
    """A bad answer, as it stands in the log: the page shows it scrubbed."""

    interaction_id: str
    question: str
    answer: str
    said: tuple[Words, ...]


@dataclass(frozen=True)
class Topic:
    """A cluster of questions. `p` is of "not worse than the rest", before any correction for the number of clusters.

    `is_worse`: p is small after the correction, and the bad answers are those of LEAST_USERS users or more.
    """

    terms: tuple[str, ...]
    questions: int
    bad: Rate
    shrunk: float | None
    p: float | None
    is_worse: bool
    users: int  # with a bad answer in it; who has no name is one each
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Topics:
    """The clusters, worst first; one of all where questions are few or have no words in common.

    `measure` is what bad means here.
    """

    topics: tuple[Topic, ...]
    sampled: int
    questions: int
    measure: str

    @property
    def compared(self) -> int:
        """How many clusters could be held against the others."""
        return sum(topic.p is not None for topic in self.topics)

    @property
    def overall(self) -> float | None:
        """The share of bad answers over all clusters; None where nothing was judged."""
        judged = sum(topic.bad.n for topic in self.topics)
        return sum(topic.bad.k for topic in self.topics) / judged if judged else None


def find_topics(log: Log) -> Topics:
    """Cluster the questions of a settled log and count what went wrong in each."""
    total = log.one("SELECT COUNT(*) FROM interaction WHERE text != ''")
    is_judged = log.one("SELECT COUNT(*) FROM outcome") > 0
    measure = "feedback" if is_judged else "signals" if log.one("SELECT COUNT(*) FROM signal") else "none"
    sample = list(dict.fromkeys(_sample(log)))
    names = _assign(log, sample) if len(sample) >= LEAST else []
    if not names:
        log.database.execute("INSERT INTO topic SELECT id, 0 FROM interaction WHERE text != ''")
        names = [()]
    return Topics(tuple(_ranked(log, names, measure)), min(total, SAMPLE), total, measure)


def _sample(log: Log) -> Iterator[str]:
    """Questions in the order of the digest of their words' copy: as good as at random, and the same each time."""
    return (
        plain
        for (plain,) in log.rows("SELECT plain FROM interaction WHERE text != '' ORDER BY copy, id LIMIT ?", (SAMPLE,))
    )


def _assign(log: Log, sample: Sequence[str]) -> list[tuple[str, ...]]:
    """Fit, write each question's cluster to the log, and return the clusters' names; none without common words."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    words = TfidfVectorizer(
        sublinear_tf=True,
        stop_words=sorted(ENGLISH_STOP_WORDS | IDLE_WORDS),
        min_df=2,
        max_df=0.4,
        max_features=20_000,
        token_pattern=WORD,
    )
    try:
        matrix = words.fit_transform(sample)
    except ValueError:
        return []
    k = max(2, min(MOST_TOPICS, len(sample) // QUESTIONS_PER_TOPIC))
    reduce = TruncatedSVD(min(DIMENSIONS, matrix.shape[1] - 1), random_state=SEED)
    model = make_pipeline(reduce, Normalizer(), KMeans(n_clusters=k, n_init=4, random_state=SEED))
    labels = model.fit_predict(matrix)
    rows = log.rows("SELECT id, plain FROM interaction WHERE text != ''")
    while chunk := list(islice(rows, CHUNK)):
        found = model.predict(words.transform([plain for _, plain in chunk]))
        pairs = [(key, int(topic)) for (key, _), topic in zip(chunk, found, strict=True)]
        log.database.executemany("INSERT INTO topic VALUES (?, ?)", pairs)
    mean, terms = _mean(matrix), words.get_feature_names_out()
    return [_name(_mean(matrix[labels == topic]) - mean, terms) for topic in range(k)]


def _mean(matrix: Any) -> Any:
    return np.asarray(matrix.mean(axis=0)).ravel()


def _name(apart: Any, terms: Any) -> tuple[str, ...]:
    """The terms that set a cluster apart from all questions together."""
    return tuple(str(terms[i]) for i in np.argsort(-apart)[:TERMS] if apart[i] > 0)


def _ranked(log: Log, names: Sequence[tuple[str, ...]], measure: str) -> list[Topic]:
    log.database.execute(WRONG[measure])
    query = """SELECT topic, COUNT(*), COALESCE(SUM(bad), 0), COUNT(bad),
        COUNT(DISTINCT CASE WHEN bad THEN COALESCE(user, i.id) END)
        FROM topic JOIN interaction i ON i.id = topic.id LEFT JOIN wrong ON wrong.id = topic.id GROUP BY topic"""
    found = [(topic, count, Rate(bad, n), users) for topic, count, bad, n, users in log.rows(query)]
    k, n = sum(rate.k for _, _, rate, _ in found), sum(rate.n for _, _, rate, _ in found)
    p = {topic: _worse_p(rate, Rate(k - rate.k, n - rate.n)) for topic, _, rate, _ in found}
    corrected = holm({str(topic): value for topic, value in p.items() if value is not None})
    topics = [
        Topic(
            terms=names[topic],
            questions=count,
            bad=rate,
            shrunk=shrink(rate, k / n) if n else None,
            p=p[topic],
            is_worse=corrected.get(str(topic), 1.0) <= ALPHA and users >= LEAST_USERS,
            users=users,
            cases=tuple(_cases(log, topic)),
        )
        for topic, count, rate, users in found
    ]
    return sorted(topics, key=lambda t: (-(t.shrunk or 0.0), -t.questions, t.terms))


def shrink(here: Rate, overall: float) -> float:
    """The share of bad answers as if PRIOR more had gone like all others."""
    return (here.k + PRIOR * overall) / (here.n + PRIOR)


def _worse_p(here: Rate, rest: Rate) -> float | None:
    """One-sided p of Fisher's exact test that a cluster is not worse than the rest; None where one of them is empty."""
    from scipy.stats import fisher_exact

    if not here.n or not rest.n:
        return None
    table = [[here.k, here.n - here.k], [rest.k, rest.n - rest.k]]
    return float(fisher_exact(table, alternative="greater").pvalue)


def _cases(log: Log, topic: int) -> Iterator[Case]:
    query = """SELECT i.id, text, output FROM interaction i JOIN topic ON topic.id = i.id JOIN wrong ON wrong.id = i.id
        WHERE topic.topic = ? AND bad GROUP BY copy ORDER BY copy LIMIT ?"""
    told = """SELECT kind, CASE kind WHEN 'rating' THEN ROUND(rating, 2) || ' of 1' WHEN 'correction' THEN right
        WHEN 'thumb' THEN CASE verdict WHEN 0 THEN 'thumb down' ELSE 'thumb up' END END, comment
        FROM feedback WHERE interaction = ? UNION ALL SELECT kind, NULL, NULL FROM signal WHERE interaction = ?
        LIMIT 5"""
    for key, text, output in log.rows(query, (topic, EXAMPLES)):
        said = tuple(Words(kind, ": ".join(filter(None, words)) or None) for kind, *words in log.rows(told, (key, key)))
        yield Case(key, text, output, said)
