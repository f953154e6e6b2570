import json
from pathlib import Path

import pytest

from ratchet import git


@pytest.fixture
def labels(tmp_path: Path) -> str:
    (tmp_path / "labels.txt").write_text("billing\ntechnical\n")
    return str(tmp_path / "labels.txt")


def test_new_feature_is_served_as_v1(ratchet, routing, labels: str) -> None:
    ended = ratchet("feature", "new", "tickets", "--from", "routing", "--labels", labels, "--json")
    made = json.loads(ended.out)
    assert (ended.status, made["version"]) == (0, "v1.0.0") and "tickets@v1.0.0" in git.tags(routing.repo, "*")
    assert json.loads(ratchet("status", "tickets", "--json").out)["tickets"]["live"] == made["release_id"]


def test_new_feature_says_what_comes_next(ratchet, labels: str) -> None:
    out = ratchet("feature", "new", "tickets", "--from", "routing", "--labels", labels).out
    assert "features/tickets" in out and "ratchet holdout add tickets FILE" in out


@pytest.mark.parametrize("name", ["routing", "Bad", "demo"])
def test_bad_or_taken_name_ends_with_2(ratchet, labels: str, name: str) -> None:
    assert ratchet("feature", "new", name, "--from", "routing", "--labels", labels).status == 2


def test_bad_label_ends_with_2_and_the_line(ratchet, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text('a\n{"label": ')
    ended = ratchet("feature", "new", "tickets", "--from", "routing", "--labels", str(tmp_path / "labels.txt"))
    assert ended.status == 2 and "labels.txt:2: malformed JSON" in ended.err


def test_missing_model_says_what_to_run_and_leaves_no_folder(ratchet, routing, labels: str) -> None:
    (routing.cache / "models" / "tiny" / "ratchet.json").unlink()
    ended = ratchet("feature", "new", "tickets", "--from", "routing", "--labels", labels)
    assert ended.status == 2 and "make setup" in ended.err
    assert not (routing.repo / "features" / "tickets").exists()


def test_missing_git_identity_says_how_to_set_it(ratchet, routing, labels: str, no_git_identity: None) -> None:
    ended = ratchet("feature", "new", "tickets", "--from", "routing", "--labels", labels)
    assert ended.status == 2 and "git config --global user.name" in ended.err
    assert not (routing.repo / "features" / "tickets").exists()
