"""tasks.cases and tasks.junit: what a case asks for, and how its outcome is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ratchet.errors import BadInput
from ratchet.features import load_feature
from ratchet.llm import Answer
from tasks.cases import Case, CaseResult, judge_case, read_cases
from tasks.junit import write_junit
from tests.routing_clone import RoutingClone, target

CLONE = Path(__file__).resolve().parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> RoutingClone:
    return RoutingClone(tmp_path)


def outcome(clone: RoutingClone, expect: dict[str, Any], text: str, **more: Any) -> str:
    case = Case.model_validate({"name": "c", "text": "q", "expect": expect} | more)
    return judge_case(case, Answer(text, 1, 1, 5.0, "stop"), clone.feature).outcome


@pytest.mark.parametrize(
    ("expect", "right", "wrong"),
    [
        ({"equals": "yes"}, " yes\n", "Yes"),
        ({"label": "cards"}, target("cards"), target("loans")),
        ({"label": "cards"}, target("cards"), "cards"),
        ({"contains": "£5"}, "it costs £5", "it costs 5"),
        ({"contains": ["a", "b"]}, "b a", "a"),
        ({"not_contains": "sorry"}, "yes", "I am sorry"),
        ({"matches": "^[0-9]+$"}, "42", "42 days"),
        ({"max_chars": 3}, "abc", "abcd"),
        ({"contains": "a", "max_chars": 3}, "a", "a long one"),
    ],
)
def test_each_expectation_tells_right_from_wrong(
    clone: RoutingClone, expect: dict[str, Any], right: str, wrong: str
) -> None:
    assert (outcome(clone, expect, right), outcome(clone, expect, wrong)) == ("passed", "failed")


def test_a_known_failure_does_no_harm_and_its_mending_is_told(clone: RoutingClone) -> None:
    known = {"xfail": "not learnt yet"}
    assert outcome(clone, {"equals": "a"}, "b", **known) == "xfailed"
    assert outcome(clone, {"equals": "a"}, "a", **known) == "xpassed"


def test_a_failed_request_is_an_error_and_no_known_failure(clone: RoutingClone) -> None:
    case = Case.model_validate({"name": "c", "text": "q", "expect": {"equals": "a"}, "xfail": "known"})
    assert judge_case(case, Answer("", 0, 0, 1.0, None, "HTTP 500"), clone.feature).outcome == "error"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{name: a, text: q, expect: {}}", "says nothing"),
        ("{name: a, expect: {equals: x}}", 'either "text" or "messages"'),
        ("{name: a, text: q, expect: {equal: x}}", "unknown key"),
        ("{name: a, text: q, expect: {matches: '('}}", "not a regular expression"),
        ("{name: a, text: q, expect: {label: pets}}", "label 'pets' is not of routing; allowed: cards, loans"),
        ("[{name: a, text: q, expect: {equals: x}}, {name: a, text: q, expect: {equals: x}}]", "two cases are called"),
        ("{name: [", "not valid YAML"),
        ("", "case 1"),
    ],
)
def test_a_malformed_case_is_named(clone: RoutingClone, content: str, told: str) -> None:
    clone.write("features/routing/cases/a.yaml", content)
    with pytest.raises(BadInput, match=told):
        read_cases(clone.root, clone.feature)


@pytest.mark.parametrize("name", ["support_routing", "help_answers"])
def test_the_bundled_cases_are_well_formed(name: str) -> None:
    assert len(read_cases(CLONE, load_feature(CLONE, name))) >= 3


def test_junit_counts_and_keeps_to_xml(tmp_path: Path) -> None:
    results = [CaseResult("a", "passed", "", 0.1), CaseResult("b<\x00", "failed", "is \x1b & not", 0.2)]
    write_junit(tmp_path / "j.xml", {"f": [*results, CaseResult("c", "xfailed", "known", 0.0)]})
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert suite[1].get("name") == "b<�" and suite[1][0].get("message") == "is � & not"
