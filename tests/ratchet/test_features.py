from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from ratchet.errors import BadInput, SettingsInvalid, UnknownFeature
from ratchet.features import Feature, ScorerSpec, feature_names, load_feature

CLONE = Path(__file__).resolve().parents[2]
SCHEMA = {"type": "object", "properties": {"route": {"enum": ["cards", "loans"]}, "note": {"type": "string"}}}
FIELDS = {"name": "routing", "intent": "route", "owners": ["a"], "scorer": "label_accuracy", "output_schema": SCHEMA}


def write_policy(tmp_path: Path, content: str | bytes | dict[str, Any], folder: str = "routing") -> None:
    path = tmp_path / "features" / folder / "feature.yaml"
    path.parent.mkdir(parents=True)
    text = yaml.safe_dump(content) if isinstance(content, dict) else content
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def routing(**changes: Any) -> Feature:
    return Feature.model_validate(FIELDS | changes)


@pytest.mark.parametrize("name", feature_names(CLONE))
def test_shipped_features_are_valid(name: str) -> None:
    assert load_feature(CLONE, name).name == name


@pytest.mark.parametrize("name", ["nothing", "../routing", "routing/..", ""])
def test_unknown_feature_lists_those_that_exist(tmp_path: Path, name: str) -> None:
    write_policy(tmp_path, FIELDS)
    with pytest.raises(UnknownFeature, match="there are: routing"):
        load_feature(tmp_path, name)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"colour": 1}, "colour: unknown key"),
        ({"gate": {"alpha": 0.05, "anchor_margin": 0, "beta": 1}}, "gate.beta: unknown key"),
        ({"gate": {"alpha": 0.7, "anchor_margin": 0}}, "gate.alpha"),
        ({"rollout": {"steps": "fast"}}, "rollout.steps"),
        ({"scorer": "vibes"}, "scorer: .*unknown scorer 'vibes'; known: citations"),
        ({"scorer": "macro_f1"}, "scorer: .*macro_f1 is a figure of a whole set of answers"),
        ({"metrics": ["ece"]}, ".*ece is a figure of a whole set of answers"),
        (
            {"scorer": {"name": "judge", "as": "tokens", "rubric": "r", "model": "m"}},
            "scorer: .*the judge's name 'tokens' is taken",
        ),
        ({"scorer": {"name": "regex"}}, "scorer: .*option pattern"),
        ({"owners": []}, "owners"),
        ({"decoding": {"max_tokens": 0}}, "decoding.max_tokens"),
        ({"name": "Bad-Name"}, "name"),
        ({"privacy": {"entities": ["PERSON", "SHOE_SIZE"]}}, "privacy.entities"),
        ({"privacy": {"locales": ["fr_FR"]}}, "privacy.locales"),
        ({"privacy": {"locales": ["GB"]}}, "privacy.locales"),
        ({"privacy": {"scrub": True}}, "privacy.scrub: unknown key"),
    ],
)
def test_bad_key_is_named(tmp_path: Path, changes: dict[str, Any], key: str) -> None:
    write_policy(tmp_path, FIELDS | changes)
    with pytest.raises(SettingsInvalid, match=rf"feature\.yaml: {key}"):
        load_feature(tmp_path, "routing")


@pytest.mark.parametrize(
    "scorer",
    [
        "semantic_similarity",
        {"name": "regex", "pattern": "^Dear"},
        {"command": ["./score"]},
        {"python": "features/routing/scorers.py:fn"},
    ],
)
def test_quality_may_be_any_scorer_of_single_answers(scorer: Any) -> None:
    assert routing(scorer=scorer).scorer == ScorerSpec.model_validate(scorer)


def test_sources_are_declared_by_the_feature() -> None:
    declared = {"langfuse": {"scores": {"user-thumb": "thumb"}}, "s3": {"uri": "s3://logs/chat/"}}
    known = routing(sources=declared).sources
    assert known.langfuse is not None and known.langfuse.scores == {"user-thumb": "thumb"}
    assert known.s3 is not None and known.s3.format == "auto"
    assert (routing().sources.langfuse, routing().sources.s3) == (None, None)


@pytest.mark.parametrize(
    "sources", [{"langfuse": {"scores": {"x": "clap"}}}, {"s3": {"uri": "logs/chat"}}, {"kafka": {}}, {"s3": {}}]
)
def test_a_source_that_cannot_be_read_is_refused(sources: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sources"):
        routing(sources=sources)


@pytest.mark.parametrize("steps", [[], [0.5, 0.2], [0.2, 0.2], [0.0], [1.5], [float("nan")]])
def test_rollout_steps_rise_between_0_and_1(steps: list[float]) -> None:
    with pytest.raises(ValueError, match="steps"):
        routing(rollout={"steps": steps})


@pytest.mark.parametrize("content", ["name: [", b"name: \xe9", "", "text"])
def test_policy_that_is_no_yaml_mapping_is_refused(tmp_path: Path, content: str | bytes) -> None:
    write_policy(tmp_path, content)
    with pytest.raises(SettingsInvalid, match=r"feature\.yaml"):
        load_feature(tmp_path, "routing")


def test_name_must_agree_with_the_folder(tmp_path: Path) -> None:
    write_policy(tmp_path, FIELDS, folder="other")
    with pytest.raises(SettingsInvalid, match="'routing' but the folder is 'other'"):
        load_feature(tmp_path, "other")


@pytest.mark.parametrize("value", ["cards", {"route": "cards"}, '{"route": "cards"}', ' {"route":"cards"} '])
def test_right_output_is_wrapped_exactly_as_served(value: Any) -> None:
    assert routing().wrap_target(value) == '{"route": "cards"}'


@pytest.mark.parametrize(
    "value", ["boats", {"route": "boats"}, {"note": "x"}, None, 3, True, ["cards"], "", "[" * 9999]
)
def test_label_outside_the_schema_is_refused_with_what_is_allowed(value: Any) -> None:
    with pytest.raises(BadInput, match="not in the schema; allowed: cards, loans"):
        routing().wrap_target(value)


def test_text_is_the_target_where_there_is_no_schema() -> None:
    assert routing(output_schema=None).wrap_target(" hello {x} ") == "hello {x}"


@pytest.mark.parametrize("value", [None, "", "  ", {"a": 1}, 3])
def test_target_without_a_schema_must_be_text(value: Any) -> None:
    with pytest.raises(BadInput, match="non-empty text"):
        routing(output_schema=None).wrap_target(value)


def test_schema_without_an_enum_takes_json_only() -> None:
    feature = routing(output_schema={"properties": {"note": {"type": "string"}}})
    assert feature.enum_field() is None and feature.wrap_target({"note": "x"}) == '{"note": "x"}'
    with pytest.raises(BadInput, match="must be JSON"):
        feature.wrap_target("x")


def test_two_enums_leave_no_single_field_to_wrap() -> None:
    assert routing(output_schema={"properties": {"a": {"enum": [1]}, "b": {"enum": [2]}}}).enum_field() is None


@pytest.mark.parametrize(
    ("output", "label"),
    [('{"route": "loans"}', "loans"), ('{"route": "boats"}', None), ("loans", None), ("", None), ("[" * 9999, None)],
)
def test_label_of_an_answer(output: str, label: str | None) -> None:
    assert routing().label_of(output) == label


def test_without_a_privacy_section_people_are_replaced_and_places_stay() -> None:
    privacy = routing().privacy
    assert {"PERSON", "EMAIL", "ADDRESS"} <= set(privacy.entities) and "LOCATION" not in privacy.entities
    assert not privacy.scrub_in_gateway and privacy.locales == privacy.allow == ()


def test_metrics_are_named_bare_or_with_options_and_may_be_guarded() -> None:
    metrics = ["schema_valid", {"name": "regex", "as": "no_promises", "pattern": "guarantee", "found": False},
               {"python": "features/x/scorers.py:fn"}, {"command": ["score"], "timeout_s": 5}]  # fmt: skip
    feature = routing(metrics=metrics, gate={"anchor_margin": 0.02, "margins": {"no_promises": 0.01}})
    assert [spec.metric for spec in feature.metrics] == ["schema_valid", "no_promises", "fn", "command"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"metrics": ["nothing"]}, "unknown scorer 'nothing'"),
        ({"metrics": [{"name": "regex"}]}, "option pattern"),
        ({"metrics": [{"name": "length", "moost": 3}]}, "option moost"),
        ({"metrics": ["length", {"name": "length", "most": 3}]}, "the name 'length' is taken"),
        ({"metrics": [{"name": "length", "as": "quality"}]}, "the name 'quality' is taken"),
        ({"metrics": [{"name": "length", "command": ["x"]}]}, "exactly one of"),
        ({"metrics": [{"python": "/etc/x.py:fn"}]}, "String should match"),
        ({"gate": {"anchor_margin": 0.02, "margins": {"toxicity": 0.01}}}, "toxicity is not measured"),
    ],
)
def test_metrics_that_cannot_be_computed_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        routing(**changes)
