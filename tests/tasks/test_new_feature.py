from pathlib import Path

import pytest
import yaml

from ratchet.errors import BadInput, BadRecord, UnknownFeature
from ratchet.features import load_feature
from ratchet.prompts import load_prompt
from tasks.new_feature import Label, read_labels, write_feature

POLICY = {"name": "routing", "intent": "route", "owners": ["a"], "scorer": "label_accuracy"}
POLICY |= {"output_schema": {"properties": {"route": {"enum": ["a", "b"]}}}, "decoding": {"max_tokens": 8}}
LABELS = [Label("billing", "money questions"), Label("technical")]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "features" / "routing"
    folder.mkdir(parents=True)
    (folder / "feature.yaml").write_text(yaml.safe_dump(POLICY))
    return tmp_path


def labels_in(tmp_path: Path, content: str | bytes) -> list[Label]:
    (tmp_path / "labels.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_labels(tmp_path / "labels.txt")


def test_labels_are_read_a_line_or_as_jsonl(tmp_path: Path) -> None:
    assert labels_in(tmp_path, "billing\n\n  technical  \r\n") == [Label("billing"), Label("technical")]
    rows = '{"label": "billing", "description": "money questions"}\n{"label": "technical"}\n'
    assert labels_in(tmp_path, rows) == LABELS


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a\nb\na\n", r"labels\.txt:3: label 'a' stands twice"),
        ('a\n{"label": ', r"labels\.txt:2: malformed JSON"),
        ('a\n{"label": 3}', r'labels\.txt:2: needs "label"'),
        ('a\n{"label": " "}', r'labels\.txt:2: needs "label"'),
        ('a\n{"name": "x"}', r'labels\.txt:2: needs "label"'),
        ('a\n{"label": "x", "description": 3}', r"labels\.txt:2: .*description"),
        ("a\nb\x00\n", r"labels\.txt:2: .*control"),
        ('a\n{"label": "b\\nc"}', r"labels\.txt:2: .*control"),
        ('a\n{"label": "\\ud800"}', r"labels\.txt:2: .*control"),
        (b"a\n\xe9\n", r"labels\.txt: not UTF-8"),
    ],
)
def test_bad_label_is_told_with_its_line(tmp_path: Path, content: str | bytes, problem: str) -> None:
    with pytest.raises(BadRecord, match=problem):
        labels_in(tmp_path, content)


@pytest.mark.parametrize("content", ["", "\n", "only\n"])
def test_fewer_than_two_labels_are_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(BadInput, match="two or more"):
        labels_in(tmp_path, content)


def test_missing_labels_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_labels(tmp_path / "nothing.txt")


def test_new_feature_has_the_policy_of_its_source_and_the_new_labels(repo: Path) -> None:
    write_feature(repo, "tickets", source="routing", labels=LABELS, owner="Ana")
    feature = load_feature(repo, "tickets")
    assert feature.enum_field() == ("route", ["billing", "technical"])
    assert (feature.scorer.name, feature.owners) == ("label_accuracy", ("Ana",))
    assert feature.decoding.max_tokens >= 16 + len("technical")
    assert yaml.safe_load((repo / "features/tickets/feature.yaml").read_text())["contract"] == []


def test_new_feature_does_not_read_the_traffic_of_its_source(repo: Path) -> None:
    declared = yaml.safe_dump(POLICY | {"sources": {"s3": {"uri": "s3://logs/routing/"}}})
    (repo / "features" / "routing" / "feature.yaml").write_text(declared)
    write_feature(repo, "tickets", source="routing", labels=LABELS, owner="a")
    assert load_feature(repo, "tickets").sources.s3 is None


def test_prompt_tells_the_labels_with_what_belongs_to_them(repo: Path) -> None:
    folder = write_feature(repo, "tickets", source="routing", labels=LABELS, owner="Ana")
    text = load_prompt(folder / "prompts" / "default.md").text
    assert "- billing: money questions\n- technical" in text and "owner" not in text


@pytest.mark.parametrize("owner", ['Ana: the "great" {one}', "- x", "é", "#1", "---"])
def test_any_name_of_an_owner_gives_a_prompt_that_loads(repo: Path, owner: str) -> None:
    folder = write_feature(repo, "tickets", source="routing", labels=LABELS, owner=owner)
    assert load_prompt(folder / "prompts" / "default.md").text.startswith("Read the message")
    assert load_feature(repo, "tickets").owners == (owner,)


def test_label_that_looks_like_a_placeholder_stays_text(repo: Path) -> None:
    labels = [Label("{{ contexts }}"), Label("b")]
    folder = write_feature(repo, "tickets", source="routing", labels=labels, owner="Ana")
    assert "{{" not in load_prompt(folder / "prompts" / "default.md").text
    assert load_feature(repo, "tickets").wrap_target("{{ contexts }}")


@pytest.mark.parametrize("name", ["", "A", "1a", "a", "a-b", "../x", "a" * 60, "a b", "demo"])
def test_name_that_is_not_allowed_is_refused(repo: Path, name: str) -> None:
    with pytest.raises(BadInput, match="feature name"):
        write_feature(repo, name, source="routing", labels=LABELS, owner="Ana")


def test_name_that_is_taken_is_refused_and_left_as_it_is(repo: Path) -> None:
    with pytest.raises(BadInput, match="exists already"):
        write_feature(repo, "routing", source="routing", labels=LABELS, owner="Ana")
    assert load_feature(repo, "routing").owners == ("a",)


def test_unknown_source_is_refused(repo: Path) -> None:
    with pytest.raises(UnknownFeature, match="there are: routing"):
        write_feature(repo, "tickets", source="nothing", labels=LABELS, owner="Ana")


def test_source_without_labels_of_its_own_is_refused(repo: Path) -> None:
    policy = {k: v for k, v in POLICY.items() if k != "output_schema"}
    (repo / "features" / "routing" / "feature.yaml").write_text(yaml.safe_dump(policy))
    with pytest.raises(BadInput, match="no output schema with a single enum"):
        write_feature(repo, "tickets", source="routing", labels=LABELS, owner="Ana")
    assert not (repo / "features" / "tickets").exists()


def test_source_that_leaves_decoding_to_the_default_is_fine(repo: Path) -> None:
    policy = {k: v for k, v in POLICY.items() if k != "decoding"}
    (repo / "features" / "routing" / "feature.yaml").write_text(yaml.safe_dump(policy))
    write_feature(repo, "tickets", source="routing", labels=LABELS, owner="Ana")
    assert load_feature(repo, "tickets").decoding.max_tokens == 64
