"""Regression cases: what a feature must answer, written by its owner in features/<name>/cases/*.yaml."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.llm import Answer
from ratchet.params import Section, explain
from ratchet.records import Context, Message
from tasks.contenders import Contender, Served, ask

Outcome = Literal["passed", "failed", "xfailed", "xpassed", "error"]
BROKEN = ("failed", "error")
SHOWN_CHARS = 200


class Expectation(Section):
    """What the answer must be like; all that is given must hold. Texts are compared as they are, case and all."""

    equals: str | None = None
    label: str | None = None
    contains: tuple[str, ...] = ()
    not_contains: tuple[str, ...] = ()
    matches: str | None = None
    max_chars: int | None = Field(default=None, ge=0)

    @field_validator("contains", "not_contains", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("matches")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value

    @model_validator(mode="after")
    def _says_something(self) -> Expectation:
        if not self.model_fields_set:
            raise ValueError("says nothing; give one of equals, label, contains, not_contains, matches, max_chars")
        return self


class Case(Section):
    """One case. `xfail` is the reason why it is known to fail, and does no harm until somebody mends it."""

    name: str = Field(min_length=1, max_length=120)
    text: str | None = None
    messages: tuple[Message, ...] = ()
    variables: dict[str, Any] = Field(default_factory=dict)
    contexts: tuple[Context, ...] = ()
    expect: Expectation
    xfail: str | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _text_is_one_message(cls, row: Any) -> Any:
        if isinstance(row, dict) and ("text" in row) == ("messages" in row):
            raise ValueError('needs either "text" or "messages"')
        if isinstance(row, dict) and "text" in row:
            return row | {"messages": [{"role": "user", "content": row["text"]}]}
        return row


class CaseResult(NamedTuple):
    """How a case ended, why, and how long its answer took."""

    name: str
    outcome: Outcome
    reason: str
    seconds: float


def read_cases(repo: Path, feature: Feature) -> list[Case]:
    """The cases of a feature, file by file; a file holds one case or a list of them.

    Raises:
        BadInput: a malformed case, two of one name, or a label that the feature does not have.
    """
    cases: dict[str, Case] = {}
    for path in sorted((repo / "features" / feature.name / "cases").glob("*.yaml")):
        for case in _read_file(path):
            if case.name in cases:
                raise BadInput(f"{path}: two cases are called {case.name!r}; rename one")
            if case.expect.label is not None:
                _check_label(path, case, feature)
            cases[case.name] = case
    return list(cases.values())


def run_cases(
    cases: Sequence[Case],
    feature: Feature,
    contender: Contender,
    served: Served,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[CaseResult]:
    """Ask a release every case, in order."""
    answers = ask(contender, cases, served, on_progress)
    return [judge_case(case, answer, feature) for case, answer in zip(cases, answers, strict=True)]


def judge_case(case: Case, answer: Answer, feature: Feature) -> CaseResult:
    """Whether an answer is what the case asks for."""
    seconds = round(answer.latency_ms / 1000, 3)
    if answer.error:
        return CaseResult(case.name, "error", answer.error, seconds)
    wrong = list(_failures(case.expect, answer.text, feature))
    if case.xfail:
        return CaseResult(case.name, "xfailed" if wrong else "xpassed", case.xfail, seconds)
    told = f"{'; '.join(wrong)}; the answer: {answer.text[:SHOWN_CHARS]!r}" if wrong else ""
    return CaseResult(case.name, "failed" if wrong else "passed", told, seconds)


def _failures(expect: Expectation, text: str, feature: Feature) -> list[str]:
    label = feature.label_of(text)
    checks = [
        (expect.equals is None or text.strip() == expect.equals.strip(), f"is not {expect.equals!r}"),
        (expect.label is None or label == expect.label, f"label {label}, not {expect.label}"),
        *((part in text, f"lacks {part!r}") for part in expect.contains),
        *((part not in text, f"holds {part!r}") for part in expect.not_contains),
        (expect.matches is None or bool(re.search(expect.matches, text)), f"does not match {expect.matches!r}"),
        (expect.max_chars is None or len(text) <= expect.max_chars, f"{len(text)} characters, not {expect.max_chars}"),
    ]
    return [told for holds, told in checks if not holds]


def _read_file(path: Path) -> list[Case]:
    try:
        found = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not valid YAML: {error}") from error
    cases = []
    for place, row in enumerate(found if isinstance(found, list) else [found], start=1):
        try:
            cases.append(Case.model_validate(row))
        except ValidationError as error:
            raise BadInput(f"case {place}: {explain(path, error)}") from error
    return cases


def _check_label(path: Path, case: Case, feature: Feature) -> None:
    enum = feature.enum_field()
    if enum is None or case.expect.label not in enum[1]:
        allowed = ", ".join(enum[1]) if enum else "none, as its schema has no only enum"
        raise BadInput(f"{path}: {case.name}: label {case.expect.label!r} is not of {feature.name}; allowed: {allowed}")
