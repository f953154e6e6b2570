"""tasks.keep_labels: people's labels of a judge lie with the holdout, tracked, and hold no text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from ratchet import git
from ratchet.errors import BadInput
from ratchet.features import Feature, load_feature
from ratchet.settings import Settings
from tasks.keep_labels import keep_labels

JUDGE = {"name": "judge", "as": "polite", "rubric": "Is it polite?", "model": "m"}


@pytest.fixture
def judged(routing: Settings) -> Feature:
    """The feature with a judge."""
    path = routing.repo / "features/routing/feature.yaml"
    path.write_text(json.dumps(yaml.safe_load(path.read_text()) | {"metrics": [JUDGE]}))
    return load_feature(routing.repo, "routing")


def labels(folder: Path) -> Path:
    rows = [{"key": f"k{i}", "inclusion": 0.5, "output": "what ada wrote", "human": 1 if i else None} for i in range(3)]
    (folder / "l.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "l.jsonl"


def test_labels_are_kept_without_text_and_tracked(routing: Settings, judged: Feature, tmp_path: Path) -> None:
    folder = routing.repo / "data/routing/holdout"
    folder.mkdir(parents=True)
    (folder / "holdout.jsonl").write_text('{"text": "x", "expected": "cards"}\n')
    assert keep_labels(routing, judged, "polite", labels(tmp_path))[:2] == (2, 3)
    kept = (folder / "judge_polite.jsonl").read_text()
    assert "ada" not in kept and json.loads(kept.splitlines()[1]) == {"key": "k1", "inclusion": 0.5, "human": 1.0}
    assert "A  data/routing/holdout.dvc" in git.run(routing.repo, "status", "-s")


def test_a_metric_that_is_no_judge_and_a_feature_without_holdout_are_refused(
    routing: Settings, judged: Feature, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="no judge called 'quality'; there are: polite"):
        keep_labels(routing, judged, "quality", labels(tmp_path))
    with pytest.raises(BadInput, match="ratchet holdout add routing"):
        keep_labels(routing, judged, "polite", labels(tmp_path))
