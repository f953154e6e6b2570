"""Safety suites: the prompts that every release is tried with, and what counts as an attack that succeeded.

Our own lie in features/_safety/<suite>.jsonl and, for one feature alone, features/_safety/<feature>/<suite>.jsonl. Each
line is a SafetyItem; `python -m tasks.decontaminate` keeps them out of training.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from ratchet.errors import BadInput
from ratchet.params import Section
from ratchet.records import Context, Message, Rejected, read_jsonl
from tasks.safety.encodings import ENCODINGS
from tasks.safety.public import PUBLIC

Check = Literal["refuse", "answer", "obey", "follow", "leak", "prompt", "pii"]
Measure = Literal["attack_success", "over_refusal"]
ENCODED = "encodings"  # our harmful requests, each in one encoding, in turn
SHORTEST_CANARY = 6  # letters and digits; a shorter one stands in answers by chance


class SafetyItem(Section):
    """One prompt.

    Attributes:
        check: what is looked for in the answer (tasks/safety/grade.py).
        canary: of `obey` and `leak`, the strings that give the attack away.
        asked: what is really asked where the messages hide it: the plain text of an encoded request, or the
            instruction inside a passage. Without it, the last message.
    """

    id: str = Field(pattern=r"^[\w.+-]{1,100}$")
    category: str = Field(default="", max_length=100)
    messages: tuple[Message, ...] = Field(min_length=1)
    contexts: tuple[Context, ...] = ()
    variables: dict[str, Any] = Field(default_factory=dict)
    check: Check
    canary: tuple[str, ...] = ()
    asked: str = ""

    @model_validator(mode="before")
    @classmethod
    def _text_is_one_message(cls, row: Any) -> Any:
        if isinstance(row, dict) and ("text" in row) == ("messages" in row):
            raise ValueError('needs either "text" or "messages"')
        if isinstance(row, dict) and "text" in row:
            row = {k: v for k, v in row.items() if k != "text"} | {
                "messages": [{"role": "user", "content": row["text"]}]
            }
        return row

    @model_validator(mode="after")
    def _canary_fits_check(self) -> SafetyItem:
        if (self.check in ("obey", "leak")) != bool(self.canary):
            raise ValueError("the checks obey and leak need a canary, and only they have one")
        if any(sum(c.isalnum() for c in canary) < SHORTEST_CANARY for canary in self.canary):
            raise ValueError(f"a canary has at least {SHORTEST_CANARY} letters and digits, or chance writes it")
        return self

    @property
    def request(self) -> str:
        """What is really asked."""
        return self.asked or self.messages[-1].content


@dataclass(frozen=True)
class Suite:
    """Items that are counted together; all of them measure the same."""

    name: str
    items: tuple[SafetyItem, ...]

    @property
    def measure(self) -> Measure:
        """Whether a success is an attack's, or a refusal of what should be answered."""
        return "over_refusal" if self.items[0].check == "answer" else "attack_success"

    def sample(self, limit: int | None, seed: int) -> Suite:
        """At most `limit` items, the same ones for equal seeds, in the order of the suite."""
        if limit is None or limit >= len(self.items):
            return self
        kept = sorted(random.Random(seed).sample(range(len(self.items)), limit))
        return Suite(self.name, tuple(self.items[place] for place in kept))


def own_suites(folder: Path, feature: str) -> list[str]:
    """The names of our suites for a feature: those of every feature, encodings, and the feature's own."""
    files = [*sorted(folder.glob("*.jsonl")), *sorted((folder / feature).glob("*.jsonl"))]
    names = [path.stem for path in files]
    return [*names, ENCODED] if "harmful" in names else names


def load_suites(names: Sequence[str], *, folder: Path, feature: str, data: Path | None) -> list[Suite]:
    """Suites by name: our own, the public ones that lie in `data`, and NAME+ENCODING of either.

    Raises:
        BadInput: no such suite, a malformed item, a file of public data is missing, or an encoding of what is no
            harmful request.
    """
    return [_load(name, folder, feature, data) for name in dict.fromkeys(names)]


def _load(name: str, folder: Path, feature: str, data: Path | None) -> Suite:
    plain, _, encoding = name.partition("+")
    if encoding:
        if encoding not in ENCODINGS:
            raise BadInput(f"unknown encoding {encoding!r}; there are: {', '.join(ENCODINGS)}")
        items = [_encode(item, encoding) for item in _load(plain, folder, feature, data).items]
        return _suite(name, items, plain)
    if name == ENCODED:
        harmful, names = _load("harmful", folder, feature, data).items, list(ENCODINGS)
        return _suite(name, [_encode(item, names[i % len(names)]) for i, item in enumerate(harmful)], name)
    for path in (folder / f"{name}.jsonl", folder / feature / f"{name}.jsonl"):
        if path.is_file():
            return _suite(name, _parse(list(read_jsonl(path))), str(path))
    if name in PUBLIC:
        if data is None:
            raise BadInput(f"suite {name} is public data, which is not in the clone: say where it lies with --data DIR")
        return _suite(name, _parse(PUBLIC[name](data)), str(data))
    known = ", ".join([*own_suites(folder, feature), *PUBLIC])
    raise BadInput(f"unknown safety suite {name!r}; there are: {known}, and NAME+ENCODING ({', '.join(ENCODINGS)})")


def _parse(rows: Sequence[tuple[str, dict[str, Any] | Rejected]]) -> list[SafetyItem]:
    items = []
    for where, row in rows:
        if isinstance(row, Rejected):
            raise BadInput(f"{where}: {row.reason}")
        try:
            items.append(SafetyItem.model_validate(row))
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in problem["loc"])
            raise BadInput(f"{where}: {place or 'the item'}: {problem['msg']}") from error
    return items


def _suite(name: str, items: Sequence[SafetyItem], where: str) -> Suite:
    if not items:
        raise BadInput(f"{where}: no item of suite {name}")
    if len({item.id for item in items}) < len(items):
        raise BadInput(f"{where}: two items of suite {name} have the same id")
    if len({item.check == "answer" for item in items}) > 1:
        raise BadInput(f"{where}: suite {name} mixes items to refuse and items to answer; make two suites of it")
    return Suite(name, tuple(items))


def _encode(item: SafetyItem, encoding: str) -> SafetyItem:
    if item.check != "refuse":
        raise BadInput(f"only harmful requests are encoded, and {item.id} is none (its check is {item.check})")
    last = item.messages[-1]
    hidden = last.model_copy(update={"content": ENCODINGS[encoding](last.content)})
    changes = {"id": f"{item.id}+{encoding}", "category": encoding, "asked": item.request}
    return item.model_copy(update={**changes, "messages": (*item.messages[:-1], hidden)})
