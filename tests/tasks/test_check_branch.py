"""tasks.check_branch: which features a branch changes, and what is taken from the branch and what from the base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ratchet import git
from ratchet.errors import BadInput
from ratchet.settings import Settings
from tasks.check_branch import FeatureCheck, changed_features, check_branch
from tests.fake_model_server import FakeModelServer
from tests.routing_clone import RoutingClone, right_label, target


@pytest.fixture
def clone(tmp_path: Path) -> RoutingClone:
    """A clone on branch `edit`, with nothing changed yet, and a main that went on meanwhile."""
    made = RoutingClone(tmp_path)
    made.write_holdout("showcase", 60)
    made.write("features/routing/prompts/default.md", "Name the team.\n")
    made.write(".gitignore", "/cache\n/home\n/ci\n")
    git.run(tmp_path, "init", "-q", "-b", "main")
    commit(made)
    git.run(tmp_path, "checkout", "-q", "-b", "edit")
    return made


def commit(clone: RoutingClone) -> None:
    git.run(clone.root, "add", "-A")
    git.run(clone.root, "commit", "-q", "-m", "a change")


def settings(clone: RoutingClone, url: str) -> Settings:
    places = {"REPO": clone.root, "HOME": clone.root / "home", "CACHE": clone.root / "cache"}
    given = {f"RATCHET_{name}": str(path) for name, path in places.items()}
    return Settings.from_env(given | {"RATCHET_MODELSERVER_URL": url})


def obeys(body: dict[str, Any]) -> str:
    """A model that answers right, unless its prompt says otherwise."""
    return target("cards") if "always cards" in body["messages"][0]["content"] else right_label(body)


def check(clone: RoutingClone, base: str = "main") -> tuple[list[FeatureCheck], list[dict[str, Any]]]:
    with FakeModelServer(obeys) as server:
        found = check_branch(settings(clone, server.url), base)
    return found, server.bodies


def test_a_branch_that_changes_no_feature_asks_nothing(clone: RoutingClone) -> None:
    clone.write("README.md", "new")
    commit(clone)
    assert check(clone) == ([], [])


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("features/routing/prompts/default.md", "prompt"),
        ("features/routing/feature.yaml", "policy"),
        ("features/routing/cases/a.yaml", "cases"),
        ("features/routing/scorers.py", "code"),
        ("params.yaml", "product"),
        ("tasks/trial.py", "product"),
    ],
)
def test_what_changed_is_named(clone: RoutingClone, path: str, kind: str) -> None:
    clone.write(path, "x: 1\n")
    commit(clone)
    assert changed_features(clone.root, "main") == {"routing": (kind,)}


def test_a_prompt_that_does_harm_is_worse(clone: RoutingClone) -> None:
    clone.write("features/routing/prompts/default.md", "Say always cards.\n")
    commit(clone)
    (found,), bodies = check(clone)
    assert (found.verdict, found.status, found.changed) == ("worse", 4, ("prompt",)) and len(bodies) == 120
    assert found.comparison is not None and len(found.comparison.changed()) == 30


def test_a_prompt_that_changes_no_answer_is_fine(clone: RoutingClone) -> None:
    clone.write("features/routing/prompts/default.md", "Name the right team.\n")
    commit(clone)
    (found,), _ = check(clone)
    assert (found.status, found.reason) == (0, "none of 60 answers changed")


def test_a_broken_case_fails_the_branch_whatever_the_scores(clone: RoutingClone) -> None:
    clone.write("features/routing/cases/a.yaml", "{name: a, text: my loan, expect: {label: cards}}\n")
    commit(clone)
    (found,), _ = check(clone)
    assert (found.verdict, found.status, found.cases[0].outcome) == ("fine", 4, "failed")


def test_a_branch_cannot_mark_its_own_work(clone: RoutingClone) -> None:
    clone.write("features/routing/prompts/default.md", "Say always cards.\n")
    easy = [{"text": f"card {i}", "expected": "cards"} for i in range(60)]
    clone.write("data/demo/routing/holdout/showcase.jsonl", "".join(json.dumps(row) + "\n" for row in easy))
    policy = yaml.safe_load((clone.root / "features/routing/feature.yaml").read_text())
    policy |= {"scorer": "token_f1", "gate": {"anchor_margin": 1.0, "alpha": 0.0001}}
    clone.write("features/routing/feature.yaml", json.dumps(policy))
    clone.write("data/demo/routing/champion.json", "{}")
    commit(clone)
    (found,), _ = check(clone)
    assert found.status == 4 and "judged by the base's scorer, label_accuracy" in found.notes


def test_items_that_a_branch_put_into_git_are_refused(clone: RoutingClone) -> None:
    clone.write("features/routing/prompts/default.md", "Say always cards.\n")
    clone.write("data/routing/holdout/showcase.jsonl", '{"text": "card", "expected": "cards"}\n')
    commit(clone)
    with pytest.raises(BadInput, match="is in git on this branch"):
        check(clone)


def test_code_of_the_branch_is_not_run(clone: RoutingClone) -> None:
    clone.write("features/routing/scorers.py", f"open({str(clone.root / 'was_here')!r}, 'w')\n")
    commit(clone)
    (found,), _ = check(clone)
    assert not (clone.root / "was_here").exists() and "never imported" in found.notes[0]


def test_a_scorer_of_the_teams_own_is_not_run_and_cases_still_are(clone: RoutingClone) -> None:
    path = clone.root / "features/routing/feature.yaml"
    own = {"scorer": {"python": "features/routing/scorers.py:fn"}}
    path.write_text(json.dumps(yaml.safe_load(path.read_text()) | own))
    commit(clone)
    base = git.run(clone.root, "rev-parse", "HEAD")
    clone.write("features/routing/prompts/default.md", "Say always cards.\n")
    case = [{"name": "a card", "text": "card", "expect": {"label": "cards"}}]
    clone.write("features/routing/cases/cases.yaml", json.dumps(case))
    commit(clone)
    (found,), _ = check(clone, base)
    assert (found.verdict, found.comparison, len(found.cases)) == ("open", None, 1) and "team's own" in found.reason


def test_a_new_feature_has_nothing_to_be_compared_with(clone: RoutingClone) -> None:
    other = {"name": "other", "intent": "i", "owners": ["a"], "scorer": "exact_match"}
    clone.write("features/other/feature.yaml", json.dumps(other))
    clone.write("features/other/prompts/default.md", "Hello.\n")
    commit(clone)
    (found,), bodies = check(clone)
    assert (found.feature, found.status) == ("other", 3) and bodies == []


def test_an_unknown_base_says_how_to_get_it(clone: RoutingClone) -> None:
    with pytest.raises(BadInput, match="git fetch origin nowhere"):
        check(clone, "nowhere")
