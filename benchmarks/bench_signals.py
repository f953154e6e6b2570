"""Do the signals of ratchet/signals.py predict what people say? Real rated chats, AUROC with intervals by user.

python -m benchmarks.bench_signals [--quick] [--json]

Truth, per answered request of ifllm: `low rating`, the mean Likert of what was shown is 3 or less of 5; `worse`, the
person called the answer worse than the one before (one-answer requests only). Users are split in two by a digest of
their pseudonym: figures of the held-out half decide, the other half fits the combined score. Intervals resample
users, since one of them made a fifth of all requests.

What the split cannot mend: that sending the same words twice is no rephrase was seen in the whole file. What choosing
the rule from the data is worth is therefore measured apart, by cross-validation over users.
Of the cues that ifllm does not hold, only false alarms can be counted: on banking77's 13,083 single questions.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.ifllm import FOLDER, Row, read_turns
from benchmarks.report import Result, arguments, say
from ratchet.signals import (
    ACCEPTS,
    ASKS_FOR_PERSON,
    COMPLAINS,
    HEAD,
    WEIGHT,
    WITHIN,
    Kind,
    derive_signals,
    is_repeated,
    likeness,
)
from ratchet.stats import wilson_interval

KINDS: tuple[Kind, ...] = ("rephrase", "abandon", "escalation", "accept")
LOW_RATING = 3.0
SEED = 17
FOLDS = 5
Floats = NDArray[np.float64]
Score = Callable[["Asked"], float]


@dataclass(frozen=True)
class Asked:
    """One request: what was shown was rated, what the person did next, and what the signals say of it."""

    user_id: str
    text: str
    output: str
    next_text: str | None
    waited: timedelta | None
    is_low: bool | None
    is_worse: bool | None
    signals: dict[str, float]


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__)
    result = Result("bench_signals", options.quick)
    measure(result, resamples=200 if options.quick else 4000)
    result.finish(as_json=options.json)
    return 0


def measure(result: Result, resamples: int) -> None:
    """Each signal and baseline against each truth, on all users and on those held out; then the weights."""
    asked = load(read_turns())
    held = [one for one in asked if is_held_out(one.user_id)]
    learned = [one for one in asked if not is_held_out(one.user_id)]
    scores: dict[str, Score] = {kind: signal_score(kind) for kind in KINDS}
    scores |= {"all signals": fit_together(learned), **BASELINES}
    result.figures["rows"] = {
        "requests": len(asked),
        "users": len({one.user_id for one in asked}),
        "followed_by_another": sum(one.next_text is not None for one in asked),
        "signals": {kind: sum(kind in one.signals for one in asked) for kind in KINDS},
    }
    for truth in ("low rating", "worse"):
        for part, rows in (("held-out users", held), ("all users", asked)):
            say(f"{truth}, {part}")
            result.figures[f"{truth}, {part}"] = table(rows, truth, scores, resamples)
    say("rule and threshold of rephrase chosen by cross-validation over users")
    result.figures["rephrase chosen by cross-validation"] = cross_validated(asked, resamples)
    result.figures["cues on banking77"] = false_alarms()
    result.figures["weights"] = weights(result.figures["low rating, held-out users"])
    result.figures["weights in ratchet/signals.py"] = dict(WEIGHT)
    got = result.figures["low rating, held-out users"]["rephrase"]
    result.aim(
        "rephrase predicts a low rating of held-out users: lower end of the AUROC's interval",
        aim="> 0.5",
        got=got["interval"][0],
        met=got["interval"][0] > 0.5,
    )
    chosen = result.figures["rephrase chosen by cross-validation"]["interval"][0]
    result.aim("the same for a rule chosen by cross-validation over users", aim="> 0.5", got=chosen, met=chosen > 0.5)
    is_same = result.figures["weights"] == dict(WEIGHT)
    result.aim("the weights in ratchet/signals.py are those measured", aim="yes", got=float(is_same), met=is_same)


def load(turns: Sequence[Row]) -> list[Asked]:
    """The requests that have a time, with their signals."""
    rows = sorted((row for row in turns if at_of(row)), key=lambda r: (r["conversation_id"], at_of(r), r["query_id"]))
    signals: dict[str, dict[str, float]] = defaultdict(dict)
    for signal in derive_signals(_turn(row) for row in rows):
        signals[signal.interaction_id][signal.kind] = signal.confidence
    following = [*rows[1:], None]
    return [_asked(row, after, signals[str(row["query_id"])]) for row, after in zip(rows, following, strict=True)]


def at_of(row: Row) -> datetime | None:
    """When a request was made; None for the zero time stamp."""
    try:
        return datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC)
    except ValueError:
        return None


def is_held_out(user_id: str) -> bool:
    """Half of the users, by digest."""
    return hashlib.sha256(user_id.encode()).digest()[0] % 2 == 1


def signal_score(kind: Kind) -> Score:
    """The confidence of one signal; accept counts against a bad answer."""
    sign = -1.0 if kind == "accept" else 1.0
    return lambda one: sign * one.signals.get(kind, 0.0)


def same_words(one: Asked) -> float:
    """The rule before this one: shared words of all words of the two questions, within ten minutes, repeats too."""
    if one.next_text is None or one.waited is None or one.waited > WITHIN:
        return 0.0
    a, b = (set(re.findall(r"\w+", text.casefold())) for text in (one.text, one.next_text))
    index = len(a & b) / max(1, len(a | b))
    return index if index >= 0.5 else 0.0


OLD_RULE = "baseline: half the words, repeats too"
FLAGS = (*KINDS, OLD_RULE)
BASELINES: dict[str, Score] = {
    OLD_RULE: same_words,
    "baseline: short answer": lambda one: -float(len(one.output)),
    "baseline: short next question": lambda one: -float(len(one.next_text or "")),
    "baseline: quick next question": lambda one: -(one.waited.total_seconds() if one.waited else 1e9),
    "baseline: last of its session": lambda one: float(one.next_text is None),
    "baseline: random": lambda one: int(hashlib.sha256(f"{one.user_id}{one.text}".encode()).hexdigest()[:8], 16),
}


def fit_together(rows: Sequence[Asked]) -> Score:
    """A logistic regression on the four confidences, fitted to low ratings of the users that are not held out."""
    from sklearn.linear_model import LogisticRegression

    def features(one: Asked) -> list[float]:
        return [one.signals.get(kind, 0.0) for kind in KINDS]

    known = [one for one in rows if one.is_low is not None]
    model = LogisticRegression(C=1.0).fit([features(one) for one in known], [one.is_low for one in known])
    return lambda one: float(np.dot(model.coef_[0], features(one)))


def table(rows: Sequence[Asked], truth: str, scores: dict[str, Score], resamples: int) -> dict[str, Any]:
    """AUROC and rates of each score; rows whose truth nobody stated are left out."""
    known = [
        (one, bool(label))
        for one in rows
        if (label := one.is_low if truth == "low rating" else one.is_worse) is not None
    ]
    bad = np.array([label for _, label in known])
    users = [one.user_id for one, _ in known]
    found: dict[str, Any] = {
        "n": len(known),
        "users": len(set(users)),
        "bad": int(bad.sum()),
        "bad_rate": _round(bad.mean()),
    }
    for name, score in scores.items():
        values = np.array([score(one) for one, _ in known], dtype=np.float64)
        found[name] = judged(values, bad, users, resamples)
        if name in FLAGS:
            found[name] |= rates(values, bad, users)
    return found


def judged(values: Floats, bad: NDArray[np.bool_], users: Sequence[str], resamples: int) -> dict[str, Any]:
    """The AUROC and its percentile interval over resampled users; None where nothing fired."""
    if len(set(values.tolist())) < 2:
        return {"auroc": None, "interval": None}
    ranks, at = auroc(values, bad), user_places(users)
    drawn: list[float] = []
    rng = np.random.default_rng(SEED)
    while len(drawn) < resamples:
        chosen = np.concatenate([at[i] for i in rng.integers(0, len(at), len(at))])
        if 0 < bad[chosen].sum() < len(chosen):
            drawn.append(auroc(values[chosen], bad[chosen]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"auroc": _round(ranks), "interval": [_round(low), _round(high)]}


def auroc(values: Floats, bad: NDArray[np.bool_]) -> float:
    """The chance that a bad answer scores above a good one, ties counting half (Hanley & McNeil 1982)."""
    from scipy.stats import rankdata

    ranks, n_bad = rankdata(values), int(bad.sum())
    n_good = len(bad) - n_bad
    return float((ranks[bad].sum() - n_bad * (n_bad + 1) / 2) / (n_bad * n_good))


def user_places(users: Sequence[str]) -> list[NDArray[np.int64]]:
    """For each user the positions of their rows."""
    places: dict[str, list[int]] = defaultdict(list)
    for i, user in enumerate(users):
        places[user].append(i)
    return [np.array(found, dtype=np.int64) for found in places.values()]


def rates(values: Floats, bad: NDArray[np.bool_], users: Sequence[str]) -> dict[str, Any]:
    """How often a signal fired, for how many users, and the share of bad answers where it did."""
    fired = values != 0
    k, n = int(bad[fired].sum()), int(fired.sum())
    found = {"fired": n, "fired_users": len(set(np.array(users)[fired])), "bad_where_fired": k}
    rate = _round(k / n) if n else None
    return found | {"bad_rate": rate, "bad_rate_interval": [_round(end) for end in wilson_interval(k, n)]}


def cross_validated(asked: Sequence[Asked], resamples: int) -> dict[str, Any]:
    """What choosing the rule from the data is worth: chosen on four fifths of the users, judged on the fifth."""
    rows = [one for one in asked if one.is_low is not None]
    bad = np.array([bool(one.is_low) for one in rows])
    fold = np.array([hashlib.sha256(one.user_id.encode()).digest()[1] % FOLDS for one in rows])
    rules = {name: np.array([score(one) for one in rows]) for name, score in rephrase_rules().items()}
    values, chosen = np.zeros(len(rows)), []
    for k in range(FOLDS):
        best = max(rules, key=lambda name: auroc(rules[name][fold != k], bad[fold != k]))
        values[fold == k] = rules[best][fold == k]
        chosen.append(best)
    return {
        "chosen": chosen,
        **judged(values, bad, [one.user_id for one in rows], resamples),
        "fired": int(values.sum()),
        "bad_where_fired": int(bad[values > 0].sum()),
    }


def rephrase_rules() -> dict[str, Score]:
    """The grid: what is compared, from which likeness on, and whether sending the same again counts."""

    def rule(measure: Callable[[str, str], float], least: float, with_repeats: bool) -> Score:
        def score(one: Asked) -> float:
            if one.next_text is None or one.waited is None or one.waited > WITHIN:
                return 0.0
            is_counted = with_repeats or not is_repeated(one.text, one.next_text)
            return float(is_counted and measure(one.text, one.next_text) >= least)

        return score

    measures = {"trigrams": likeness, "words": _shared_words}
    return {
        f"{name} >= {least}{', repeats too' if repeats else ''}": rule(measure, least, repeats)
        for name, measure in measures.items()
        for least in (0.4, 0.5, 0.6, 0.7)
        for repeats in (False, True)
    }


def false_alarms() -> dict[str, int]:
    """How often a cue is found in banking77's questions, each the first of its talk: nothing was answered yet."""
    found = {"questions": 0, "complaint": 0, "asks for a person": 0, "accept": 0}
    for part in ("train", "test"):
        with (FOLDER.parent / "banking77" / f"{part}.jsonl").open(encoding="utf-8") as file:
            heads = [json.loads(line)["text"][:HEAD] for line in file]
        found["questions"] += len(heads)
        for name, cue in (("complaint", COMPLAINS), ("asks for a person", ASKS_FOR_PERSON), ("accept", ACCEPTS)):
            found[name] += sum(cue.search(head) is not None for head in heads)
    return found


def weights(found: dict[str, Any]) -> dict[str, float]:
    """What each signal is worth: how far, at least, it moves the share of bad answers from its base towards certainty.

    (lower end of the rate where it fired - base) / (1 - base), rounded down to 0.05; 0 where it did not fire, or where
    the interval of its AUROC on held-out users holds 0.5.
    """
    base = found["bad_rate"]
    worth: dict[str, float] = {}
    for kind in KINDS:
        one = found[kind]
        predicts = one["interval"] is not None and not one["interval"][0] <= 0.5 <= one["interval"][1]
        moved = (one["bad_rate_interval"][0] - base) / (1 - base) if predicts else 0.0
        worth[kind] = float(np.floor(max(0.0, moved) * 20) / 20)
    return worth


def _turn(row: Row) -> dict[str, Any]:
    return {
        "tenant": "default",
        "session_id": row["conversation_id"],
        "user_id": row["user_id"],
        "at": at_of(row),
        "interaction_id": str(row["query_id"]),
        "input_text": row["user"],
        "output": row["responses"][0]["text"],
    }


def _asked(row: Row, after: Row | None, signals: dict[str, float]) -> Asked:
    is_same = after is not None and after["conversation_id"] == row["conversation_id"]
    likert = [answer["likert"] for answer in row["responses"] if answer["likert"] is not None]
    said_worse = row["preference"] if row["design"] == "pointwise" else None
    began, ended = at_of(row), at_of(after) if after is not None and is_same else None
    return Asked(
        user_id=row["user_id"],
        text=row["user"],
        output=row["responses"][0]["text"],
        next_text=after["user"] if after is not None and is_same else None,
        waited=ended - began if began is not None and ended is not None else None,
        is_low=float(np.mean(likert)) <= LOW_RATING if likert else None,
        is_worse=None if said_worse is None else said_worse == 0,
        signals=signals,
    )


def _shared_words(one: str, other: str) -> float:
    a, b = (set(re.findall(r"\w+", text.casefold())) for text in (one, other))
    return len(a & b) / max(1, len(a | b))


def _round(value: float) -> float:
    return round(float(value), 3)


if __name__ == "__main__":
    sys.exit(main())
