"""Every scorer of ours by its name, with what it needs and what its ends mean; a high score is always the good end."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ratchet.features import Feature, ScorerSpec
from ratchet.scorers import code, llm_judge, meaning, privacy, refusal, structure, text, tone, toxicity


@dataclass(frozen=True)
class Entry:
    """One scorer.

    Attributes:
        score: takes an Item and its options by keyword.
        needs: what an item must have, or it is unscored.
        meaning: what it measures, and what it cannot see.
        is_judge: its function takes all items at once, and who judges.
    """

    score: Callable[..., Any]
    needs: str
    meaning: str
    is_judge: bool = False


CATALOGUE: dict[str, Entry] = {
    "exact_match": Entry(
        text.match, "expected", "1: the expected text, case and white space evened out (normalise=false: by letter)"
    ),
    "token_f1": Entry(text.shared_words, "expected", "F1 of the words shared with the expected text"),
    "regex": Entry(text.regex, "option pattern", "1: the pattern is found in the answer (found=false: it is not)"),
    "length": Entry(text.length, "-", "1: from `least` to `most` words, characters or sentences"),
    "label_accuracy": Entry(
        structure.label, "expected", "1: the label expected; macro-F1, confusion and, with `confidence`, ECE beside it"
    ),
    "schema_valid": Entry(structure.schema_valid, "schema", "1: JSON that fits the feature's output_schema"),
    "semantic_similarity": Entry(
        meaning.semantic_similarity, "expected", "cosine with the expected text under all-MiniLM-L6-v2; English"
    ),
    "groundedness": Entry(
        meaning.groundedness, "contexts", "share of sentences whose words and numbers (or vectors) the contexts support"
    ),
    "citations": Entry(meaning.citations, "contexts", "share of sentences with citations [n] that support them"),
    "refusal": Entry(
        refusal.refusal, "should_refuse or expected", "1: refused and should, or answered and should; English phrases"
    ),
    "pii_leak": Entry(privacy.pii_leak, "-", "1: no personal data but what the question holds; patterns, no names"),
    "toxicity": Entry(toxicity.toxicity, "-", "1: none of a small English list, disguised or not; no classifier"),
    "tone": Entry(tone.tone, "options", "share of the house's rules kept: banned, required, most_exclamations, ..."),
    "code_tests": Entry(
        code.code_tests, "variables.tests or expected", "1: the answer's Python passes its tests, inside a sandbox"
    ),
    "secure_code": Entry(code.secure_code, "-", "1: no insecure pattern in the answer's Python, by its syntax tree"),
    "judge": Entry(
        llm_judge.rubric, "options rubric, model; RATCHET_JUDGE_URL", "grade by an LLM, best 1, worst 0", is_judge=True
    ),
    "judge_pairwise": Entry(
        llm_judge.pairwise,
        "variables.other or expected; model; RATCHET_JUDGE_URL",
        "1: an LLM prefers it to the other answer in both orders, 0: in none",
        is_judge=True,
    ),
}


OF_WHOLE_SETS = ("macro_f1", "confusion", "calibration_error", "ece", "bias")


def is_judge(spec: ScorerSpec) -> bool:
    """Whether a scorer is an LLM as a judge."""
    return spec.name in CATALOGUE and CATALOGUE[str(spec.name)].is_judge


def options_of(spec: ScorerSpec, feature: Feature | None = None) -> dict[str, Any]:
    """A scorer's options, checked and of the right types; `schema` is the feature's where the scorer asks for one.

    Raises:
        ValueError: the scorer is not known, an option is not its own, missing or of a wrong type.
    """
    shape = _shape(spec)
    given = dict(spec.options)
    if feature is not None and "schema" in _names(shape):
        given.setdefault("schema", feature.output_schema)
    try:
        checked = shape.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)
        # A misspelt option explains a missing one.
        problem = min(problems, key=lambda p: p["type"] != "extra_forbidden")
        name, known = ".".join(str(p) for p in problem["loc"]), ", ".join(_names(shape)) or "none"
        raise ValueError(f"scorer {spec.metric}: option {name}: {problem['msg']}; its options: {known}") from error
    return {name: getattr(checked, field) for name, field in _names(shape).items()}


def read_options(name: str, written: Mapping[str, str]) -> dict[str, Any]:
    """Options as a person wrote them on a command line; what is not a text is read as YAML, as `[a, b]` or `3`."""
    fields = _shape(ScorerSpec(name=name)).model_fields.values()
    texts = {field.alias for field in fields if field.annotation in (str, re.Pattern[str])}
    return {key: value if key in texts else yaml.safe_load(value) for key, value in written.items()}


def _shape(spec: ScorerSpec) -> type[BaseModel]:
    """The options as a pydantic model, from the keyword parameters of the function that takes them."""
    function = _taker(spec)
    types = typing.get_type_hints(function)
    fields: dict[str, Any] = {  # a prefix, as pydantic has attributes of its own called `schema` and `model_...`
        f"option_{name}": (
            types[name],
            Field(alias=name) if parameter.default is parameter.empty else Field(parameter.default, alias=name),
        )
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    return create_model(f"{spec.metric}_options", __config__=ConfigDict(extra="forbid"), **fields)


def _names(shape: type[BaseModel]) -> dict[str, str]:
    """The options' names, each with its field's."""
    return {str(field.alias): name for name, field in shape.model_fields.items()}


def _taker(spec: ScorerSpec) -> Any:
    if spec.name is None:
        from ratchet.scorers import outside

        return outside.call_function if spec.python else outside.run_command
    if spec.name in OF_WHOLE_SETS:
        told = "is a figure of a whole set of answers, and here each answer needs a score of its own"
        raise ValueError(f"{spec.name} {told}; `ratchet score` tells it beside label_accuracy, or for rows in pairs")
    if spec.name not in CATALOGUE:
        raise ValueError(f"unknown scorer {spec.name!r}; known: {', '.join(sorted(CATALOGUE))}")
    return CATALOGUE[spec.name].score
