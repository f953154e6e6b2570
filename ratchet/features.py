"""features/<name>/feature.yaml: the policy of one feature, owned by the people who own the feature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ratchet.contract import Term
from ratchet.errors import BadInput, SettingsInvalid, UnknownFeature
from ratchet.guards import Guards
from ratchet.params import Section, Share, explain
from ratchet.pii import ENTITIES, PATTERNS, Selection
from ratchet.rollout_policy import RolloutPolicy

# Regions whose national numbers are known; which recognisers they mean: tasks/ner.py.
REGIONS = (
    "AU", "CA", "DE", "ES", "FI", "GB", "IN", "IT", "KR", "NG", "PH", "PL", "SE", "SG", "TH", "TR", "US", "ZA",
)  # fmt: skip

ScoreKind = Literal["thumb", "rating", "correction", "comment", "accept", "rephrase", "abandon", "escalation"]

MEASURED = ("quality", "tokens", "latency_ms")  # metrics that every feature has


class Decoding(Section):
    """How answers are drawn; temperature 0 is greedy."""

    temperature: float = Field(default=0.0, ge=0, le=2)
    max_tokens: int = Field(default=64, ge=1)


class SafetyGuard(Section):
    """Safety suites whose items count together, and the share of them that may be lost: attacked, or refused."""

    suites: tuple[str, ...] = Field(min_length=1)
    margin: float = Field(gt=0, lt=1)


class GatePolicy(Section):
    """When a candidate may replace the champion: one-sided error `alpha`, at least `min_items` scored pairs.

    Attributes:
        objective: what must be better: the score, the tokens per answer (cost), or the time per answer.
        anchor_margin: how much worse than the fixed anchor release a candidate's score may be.
        margins: by metric (`quality`, `tokens`, `latency_ms`, or one of the feature's `metrics`), the loss against the
            champion that is tolerated: points of the score, or a share of the champion's mean for tokens and
            latency_ms. A metric that is not named is not guarded, but quality is wherever it is not the objective
            (default: `anchor_margin`).
        safety: by a name of one's own, what may not get less safe, against the champion and the anchor.
    """

    objective: Literal["quality", "cost", "latency"] = "quality"
    margins: dict[str, float] = Field(default_factory=dict)
    safety: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,60}$")], SafetyGuard] = Field(default_factory=dict)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    min_items: int = Field(default=20, ge=1)
    anchor_margin: float = Share


class ApprovalPolicy(Section):
    """Who may approve, how they prove who they are, and how long a run waits for them.

    Attributes:
        approvers: names as enrolled, or as the identity provider or the git host knows them; empty: every enrolled
            person.
        four_eyes: two different people, neither of whom wrote the change. No machine.
        identity: what proves who a person is. A machine always uses its one-time codes.
        remind_after_h: after how many hours of waiting, and then again each time that many have gone by.
        expire_after_h: after how many hours nobody may approve any more and the run ends.
    """

    approvers: tuple[str, ...] = ()
    machine_approvers: tuple[str, ...] = ()
    four_eyes: bool = False
    identity: Literal["totp", "oidc-proxy", "pull-request"] = "totp"
    remind_after_h: float = Field(default=24, gt=0)
    expire_after_h: float = Field(default=14 * 24, gt=0)

    @model_validator(mode="after")
    def _somebody_can_approve(self) -> ApprovalPolicy:
        if self.identity != "totp" and not self.approvers:
            raise ValueError(f"identity: {self.identity} knows everybody, so `approvers` must say who may approve")
        if self.four_eyes and len(set(self.approvers)) == 1:
            raise ValueError("four_eyes needs two people, and `approvers` names one")
        return self

    @property
    def needed(self) -> int:
        """How many different people must approve."""
        return 2 if self.four_eyes else 1


class Price(Section):
    """What the feature's model costs, in one currency: for a million tokens read, and for a million written."""

    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    input: float = Field(ge=0)
    output: float = Field(ge=0)


class LangfuseSource(Section):
    """A Langfuse project that is pulled; of it the traces of one name, where one is given.

    `scores`: the kind of feedback that a score's name stands for; other names are read by their values.
    """

    trace_name: str | None = None
    scores: dict[str, ScoreKind] = Field(default_factory=dict)


class S3Source(Section):
    """A prefix whose objects are pulled, as s3://bucket/prefix, in a format that `ratchet import` knows."""

    uri: str = Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$")
    format: str = "auto"


class Sources(Section):
    """Where interactions and feedback are pulled from, each hour; addresses and keys are in the environment."""

    langfuse: LangfuseSource | None = None
    s3: S3Source | None = None


class Privacy(Section):
    """What is personal data in a feature's records.

    `entities`: the types that are replaced. PERSON, LOCATION, ORGANIZATION, NRP and DATE need the model, in harvest.
    `locales`: regions whose national numbers are looked for (as type ID), as [en_GB, de_DE].
    `allow`: literals that stay, whole and in any case: the hotline's number, the shop's name.
    `names`: keys of variables and attributes whose values are names of people in that conversation.
    `scrub_in_gateway`: whether records are scrubbed (without the model) before they are stored; it goes into releases.
    """

    entities: tuple[str, ...] = (*PATTERNS, "PERSON")
    locales: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    names: tuple[str, ...] = (
        "name", "full_name", "first_name", "last_name", "customer_name", "user_name", "agent_name", "customer.name",
        "user.name", "agent.name",
    )  # fmt: skip
    scrub_in_gateway: bool = False

    @field_validator("entities")
    @classmethod
    def _entities_are_known(cls, entities: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(entities) - set(ENTITIES)):
            raise ValueError(f"unknown: {', '.join(unknown)}; allowed: {', '.join(ENTITIES)}")
        return entities

    @field_validator("locales")
    @classmethod
    def _locales_are_known(cls, locales: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [locale for locale in locales if locale[-3:-2] != "_" or locale[-2:] not in REGIONS]:
            raise ValueError(f"unknown: {', '.join(unknown)}; a language and one of {', '.join(REGIONS)}, as en_GB")
        return locales

    @property
    def selection(self) -> Selection:
        """What patterns look for."""
        return Selection.of(self.entities, self.allow)


class ScorerSpec(BaseModel):
    """One scorer as feature.yaml names it.

    A bare name, or a mapping with exactly one of `name`, `python` and `command`, its options beside it:
    `{name: regex, pattern: "^Dear"}`, `{python: "features/x/scorers.py:fn"}`, `{command: [...], timeout_s: 60}`.

    Attributes:
        name: a scorer of ours (`ratchet score --list`).
        python: the team's own function in the clone, as file:function.
        command: a program in an environment of its own, which reads and writes JSONL.
        as_: what its metric is called where the default does not tell two apart.
        options: what the scorer is given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str | None = None
    python: str | None = Field(default=None, pattern=r"^features/[\w/.-]+\.py:[A-Za-z_]\w*$")
    command: tuple[str, ...] | None = Field(default=None, min_length=1)
    as_: str | None = Field(default=None, alias="as", pattern=r"^[a-z][a-z0-9_]{0,60}$")
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if not isinstance(value, dict) or "options" in value:
            return value
        own = {"name", "python", "command", "as", "as_"}
        options = {k: v for k, v in value.items() if k not in own}
        return {k: v for k, v in value.items() if k in own} | {"options": options}

    @model_validator(mode="after")
    def _is_one_kind(self) -> ScorerSpec:
        if sum(given is not None for given in (self.name, self.python, self.command)) != 1:
            raise ValueError("a scorer is exactly one of name, python and command")
        return self

    @property
    def metric(self) -> str:
        """What its metric is called: `as`, the scorer's name, the function's name, or `command`."""
        return self.as_ or self.name or (self.python.rpartition(":")[2] if self.python else "command")


class Feature(Section):
    """The policy of one feature: `scorer` is its quality; `metrics` are scorers that are reported beside it.

    Where one of them is a judge, its scores decide nothing but by people's labels (`ratchet.ppi`).
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{1,40}$")
    intent: str
    owners: tuple[str, ...] = Field(min_length=1)
    mode: Literal["managed", "passthrough"] = "managed"
    output_schema: dict[str, Any] | None = None
    scorer: ScorerSpec
    metrics: tuple[ScorerSpec, ...] = ()
    decoding: Decoding = Decoding()
    gate: GatePolicy = GatePolicy(anchor_margin=0.02)
    rollout: RolloutPolicy = RolloutPolicy()
    approval: ApprovalPolicy = ApprovalPolicy()
    sources: Sources = Sources()
    privacy: Privacy = Privacy()
    guards: Guards = Guards()
    consent: Literal["unless_refused", "required"] = "unless_refused"
    licence: str | None = None
    price: Price | None = None
    contract: tuple[Term, ...] = ()

    @field_validator("contract")
    @classmethod
    def _names_differ(cls, contract: tuple[Term, ...]) -> tuple[Term, ...]:
        titles = [term.title for term in contract]
        if len(set(titles)) < len(titles):
            twice = sorted({title for title in titles if titles.count(title) > 1})
            raise ValueError(f"two expectations are called {twice[0]!r}: give one another name")
        return contract

    @field_validator("scorer")
    @classmethod
    def _scorer_is_known(cls, scorer: ScorerSpec) -> ScorerSpec:
        if check_metric(scorer) and scorer.metric in MEASURED:
            raise ValueError(f"the judge's name {scorer.metric!r} is taken; give it another by `as:`")
        return scorer

    @model_validator(mode="after")
    def _metrics_are_known(self) -> Feature:
        names = [spec.metric for spec in self.metrics]
        if check_metric(self.scorer):  # its labels are kept by its name
            names.append(self.scorer.metric)
        for spec in self.metrics:
            check_metric(spec)
            if names.count(spec.metric) > 1 or spec.metric in MEASURED:
                raise ValueError(f"metrics: the name {spec.metric!r} is taken; give this one another by `as:`")
        known = [*MEASURED, *(spec.metric for spec in self.metrics)]
        unknown = sorted(set(self.gate.margins) - set(known))
        if unknown:
            told = f"gate.margins: {unknown[0]} is not measured; known: {', '.join(known)}"
            raise ValueError(f"{told}. Add it to `metrics`")
        return self

    def enum_field(self) -> tuple[str, list[str]] | None:
        """The schema's only enum property with its values; None where there is no schema or not exactly one."""
        return enum_field(self.output_schema)

    def wrap_target(self, value: Any) -> str:
        """The right output exactly as it would be served.

        A bare label is wrapped in the schema's only enum field; JSON (a dict or its text) is checked against the enum;
        without a schema the text is the target.

        Raises:
            BadInput: a label that is not in the schema, or a value of the wrong shape.
        """
        if self.output_schema is None:
            if not isinstance(value, str) or not value.strip():
                raise BadInput(f"{self.name}: the right output must be a non-empty text, not {type(value).__name__}")
            return value.strip()
        document = _as_document(value)
        enum = self.enum_field()
        if enum is None:
            if document is None:
                raise BadInput(f"{self.name}: the right output must be JSON of the feature's schema")
            return json.dumps(document, ensure_ascii=False)
        field, labels = enum
        label = document.get(field) if document is not None else value
        if label not in labels:
            raise BadInput(f"{self.name}: label {str(label)[:60]!r} is not in the schema; allowed: {', '.join(labels)}")
        return json.dumps(document if document is not None else {field: label}, ensure_ascii=False)

    def label_of(self, output: str) -> str | None:
        """The label an answer gives; None where it is not valid JSON of the schema."""
        return label_in(self.output_schema, output)


def enum_field(schema: dict[str, Any] | None) -> tuple[str, list[str]] | None:
    """A schema's only enum property with its values; None where there is no schema or not exactly one."""
    properties = (schema or {}).get("properties", {})
    enums = [(name, list(spec["enum"])) for name, spec in properties.items() if "enum" in spec]
    return enums[0] if len(enums) == 1 else None


def label_in(schema: dict[str, Any] | None, output: str) -> str | None:
    """The label that an answer gives under a schema; None where it is not valid JSON of it."""
    enum = enum_field(schema)
    document = _as_document(output)
    if enum is None or document is None or document.get(enum[0]) not in enum[1]:
        return None
    return str(document[enum[0]])


def check_metric(spec: ScorerSpec) -> bool:
    """Whether it is a judge; ValueError where a scorer is not known, or does not take its options."""
    from ratchet.scorers import catalogue  # it stands on this module, and costs time where it is not used

    catalogue.options_of(spec)
    return catalogue.is_judge(spec)


def load_feature(repo: Path, name: str) -> Feature:
    """Read and check features/<name>/feature.yaml.

    Raises:
        UnknownFeature: there is none; the message lists those that exist.
        SettingsInvalid: a key is unknown or its value not allowed.
    """
    path = repo / "features" / name / "feature.yaml"
    if not path.is_file():
        raise UnknownFeature(f"unknown feature {name!r}; there are: {', '.join(feature_names(repo)) or 'none'}")
    try:
        feature = Feature.model_validate(yaml.safe_load(path.read_bytes()))
    except yaml.YAMLError as error:
        raise SettingsInvalid(f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:
        raise SettingsInvalid(explain(path, error)) from error
    if feature.name != name:
        raise SettingsInvalid(f"{path}: name: is {feature.name!r} but the folder is {name!r}; they must agree")
    return feature


def feature_names(repo: Path) -> list[str]:
    """The features of this clone, sorted."""
    return sorted(p.parent.name for p in (repo / "features").glob("*/feature.yaml"))


def _as_document(value: Any) -> dict[str, Any] | None:
    if isinstance(value, dict):
        return value
    try:
        parsed = json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
