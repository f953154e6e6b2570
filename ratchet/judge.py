"""Answers of two releases with a judge's scores, and the draw of those that people label, blind.

An answers file has a line for each answer: {"item_id", "role": "champion" or "candidate", "output", "judge": 0 to 1,
"messages"?, "contexts"?}. A file of labels has a line for each answer drawn: {"key", "inclusion", "messages",
"contexts", "output", "human"}; people fill in `human`, from 0 to 1.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.errors import BadInput, BadRecord
from ratchet.files import canonical_json, sha256_text, write_whole
from ratchet.ppi import JudgedPair
from ratchet.records import Context, Message, Rejected, read_jsonl
from ratchet.stats import Floats

ROLES = ("champion", "candidate")
PEOPLE = ("human_champion", "human_candidate", "inclusion")  # of a row of scores: what people say of a judged item
APART = 0.1  # from this difference on the judge prefers one of the two answers
APART_COUNTS = 2.0  # an item where the judge prefers one is drawn so many times as often
LEAST_OF_STRATUM = 2
Row = TypeVar("Row", bound=BaseModel)


class JudgedAnswer(BaseModel):
    """One release's answer to one item, and what the judge says of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    item_id: str = Field(min_length=1, max_length=200)
    role: Literal["champion", "candidate"]
    output: str
    judge: float = Field(ge=0, le=1)
    messages: tuple[Message, ...] = ()
    contexts: tuple[Context, ...] = ()

    @property
    def key(self) -> str:
        """What a label is kept under: equal answers to an item share it, and it does not tell the release."""
        return sha256_text(canonical_json([self.item_id, self.output]))[:16]


class Label(BaseModel):
    """What people say of one answer; None where nobody has said it yet."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    inclusion: float = Field(gt=0, le=1)
    human: float | None = Field(default=None, ge=0, le=1)


class AnswerPair(NamedTuple):
    """Both releases' answers to one item."""

    champion: JudgedAnswer
    candidate: JudgedAnswer


class LabelledPair(NamedTuple):
    """Both answers to one item with people's labels, and the probability that it was drawn."""

    answers: AnswerPair
    human: tuple[float | None, float | None]
    inclusion: float

    def as_pair(self) -> JudgedPair:
        """The scores alone."""
        return JudgedPair(self.answers.champion.judge, self.answers.candidate.judge, *self.human, self.inclusion)


def read_answers(path: Path) -> list[AnswerPair]:
    """Read answers of two releases, an item's two together, in the order of the file.

    Raises:
        BadInput: no such file, no row in it, or an item that only one release answered.
        BadRecord: a malformed row, by line, or a release's second answer to an item.
    """
    found: dict[str, dict[str, JudgedAnswer]] = defaultdict(dict)
    for where, answer in read_rows(JudgedAnswer, path):
        if answer.role in found[answer.item_id]:
            raise BadRecord(f"{where}: the {answer.role}'s answer to this item stands twice; remove one")
        found[answer.item_id][answer.role] = answer
    one_sided = [item for item, answers in found.items() if len(answers) < 2]
    if one_sided:
        raise BadInput(f"{path}: {len(one_sided)} items have one release's answer only, such as {one_sided[0]!r}")
    if not found:
        raise BadInput(f"{path} holds no answers")
    return [AnswerPair(answers["champion"], answers["candidate"]) for answers in found.values()]


def read_labels(path: Path) -> dict[str, Label]:
    """Read labels by key, those that nobody filled in too.

    Raises:
        BadInput: no such file.
        BadRecord: a malformed row, by line, or a key that stands twice.
    """
    found: dict[str, Label] = {}
    for where, label in read_rows(Label, path):
        if label.key in found:
            raise BadRecord(f"{where}: the key stands twice; remove one")
        found[label.key] = label
    return found


def join(pairs: Sequence[AnswerPair], labels: Mapping[str, Label]) -> list[LabelledPair]:
    """Each item's answers with their labels.

    Raises:
        BadInput: a label of an answer that is not there.
    """
    strangers = labels.keys() - {answer.key for pair in pairs for answer in pair}
    if strangers:
        raise BadInput(f"{len(strangers)} labels are of other answers than these, such as {min(strangers)}")
    joined = []
    for pair in pairs:
        found = [labels.get(answer.key) for answer in pair]
        inclusion = min((label.inclusion for label in found if label is not None), default=1.0)
        old, new = (None if label is None else label.human for label in found)
        joined.append(LabelledPair(pair, (old, new), inclusion))
    return joined


def labels_file(metric: str) -> str:
    """Where in a feature's holdout folder people's labels of what a judge scored lie."""
    return f"judge_{metric}.jsonl"


def said_by_people(pairs: Sequence[AnswerPair], labels: Mapping[str, Label]) -> dict[str, dict[str, float | None]]:
    """What people say of each item that they labelled, in the fields of a row of scores.

    Nothing where a label is of an answer that is not there: the labels were drawn from other answers, and those that
    happen to fit are no random sample of these.
    """
    try:
        joined = join(pairs, labels)
    except BadInput:
        return {}
    return {
        pair.answers.champion.item_id: {
            "human_champion": pair.human[0],
            "human_candidate": pair.human[1],
            "inclusion": pair.inclusion,
        }
        for pair in joined
        if pair.human != (None, None)
    }


def check_labels(row: Mapping[str, Any], where: str) -> None:
    """Raise BadRecord where what people said of a judged item is no score, or how it was drawn no probability."""
    for name in PEOPLE:
        value = row.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
        if value is not None and (not is_number or (name == "inclusion" and value == 0)):
            raise BadRecord(f"{where}: {name} is a number from 0 to 1 (inclusion: above 0), or null")


def draw(pairs: Sequence[AnswerPair], n: int, seed: int) -> list[dict[str, Any]]:
    """Draw n items for people to label: the rows of a file of labels, in random order, blind to release and score.

    Equal answers of both releases are one row. `inclusion` is the probability with which the item was drawn.
    """
    rng = np.random.default_rng(seed)
    old, new = (np.array([pair[role].judge for pair in pairs]) for role in (0, 1))
    chosen, inclusion = draw_items(old, new, n, rng)
    rows = {}
    for i, probability in zip(chosen.tolist(), inclusion.tolist(), strict=True):
        for answer in pairs[i]:
            shown = answer.model_dump(mode="json", include={"messages", "contexts", "output"})
            rows[answer.key] = {"key": answer.key, "inclusion": probability, **shown, "human": None}
    keys = sorted(rows)
    return [rows[keys[i]] for i in rng.permutation(len(keys))]


def draw_items(old: Floats, new: Floats, n: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Floats]:
    """Draw n of the items, stratified by which answer the judge prefers, or by its score where it prefers none.

    Strata in which it prefers one hold most of what is unknown, and are drawn from twice as densely. Returns the
    positions and the probabilities of inclusion, aligned.
    """
    gap, middle = new - old, (old + new) / 2
    stratum = np.where(gap >= APART, 0, np.where(gap <= -APART, 1, np.where(middle >= 0.5, 2, 3)))
    sizes = np.bincount(stratum, minlength=4)
    counts = allocate(sizes, np.array([APART_COUNTS, APART_COUNTS, 1.0, 1.0]), min(n, len(old)))
    chosen = [rng.choice(np.flatnonzero(stratum == s), size=counts[s], replace=False) for s in range(4) if counts[s]]
    positions = np.concatenate(chosen)
    return positions, (counts / np.maximum(sizes, 1))[stratum[positions]]


def allocate(sizes: NDArray[np.int64], densities: Floats, n: int) -> NDArray[np.int64]:
    """How many of n to draw from each stratum: by size times density, all at most, and two at least whatever n is."""
    counts = np.minimum(sizes, LEAST_OF_STRATUM).tolist()
    share = (sizes * densities).tolist()
    for _ in range(n - sum(counts)):
        counts[max((s for s, c in enumerate(counts) if c < sizes[s]), key=lambda s: share[s] / (counts[s] + 1))] += 1
    return np.array(counts)


def write_labels(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a file of labels for people to fill in.

    Raises:
        BadInput: the file is there, and people may have worked in it.
    """
    if path.exists():
        raise BadInput(f"{path} exists, and may hold labels: name another file, or remove it")
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_rows(kind: type[Row], path: Path) -> list[tuple[str, Row]]:
    """Each row of a JSONL file as `kind`, with `file:line`.

    Raises:
        BadInput: no such file.
        BadRecord: a malformed row; nothing is measured on a part of the rows.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    rows = []
    for where, row in read_jsonl(path):
        if isinstance(row, Rejected):
            raise BadRecord(f"{where}: {row.reason}")
        rows.append((where, _read(kind, row, where)))
    return rows


def _read(kind: type[Row], row: Mapping[str, Any], where: str) -> Row:
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "row"
        raise BadRecord(f"{where}: {field}: {first['type'].replace('_', ' ')}") from None
