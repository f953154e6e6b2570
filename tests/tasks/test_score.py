"""tasks.score: rows out for rows in, and the summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ratchet.errors import BadInput
from ratchet.features import ScorerSpec
from tasks.score import Scored, score_file


def scored(tmp_path: Path, rows: list[Any], *specs: Any) -> Scored:
    path = tmp_path / "answers.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return score_file(path, [ScorerSpec.model_validate(spec) for spec in specs])


def test_a_row_comes_out_for_each_row_in_and_scorer(tmp_path: Path) -> None:
    rows = [
        {"output": "a", "expected": "a", "id": "x"},
        "secret words",
        {"expected": "a"},
        [1],
        {"output": "b", "expected": "a"},
    ]
    found = scored(tmp_path, rows, "exact_match", "length")
    assert [(r["line"], r["scorer"], r["score"]) for r in found.rows] == [
        (1, "exact_match", 1.0), (1, "length", 1.0), (2, "exact_match", None), (2, "length", None),
        (3, "exact_match", None), (3, "length", None), (4, "exact_match", None), (4, "length", None),
        (5, "exact_match", 0.0), (5, "length", 1.0),
    ]  # fmt: skip
    assert found.rows[0]["id"] == "x" and found.rows[2]["reason"].startswith("malformed JSON")
    assert found.rows[4]["reason"] == "output: Field required"
    assert "secret" not in json.dumps([found.rows, found.summary])


def test_the_mean_is_of_what_was_scored(tmp_path: Path) -> None:
    rows = [{"output": "a", "expected": "a"}, {"output": "b", "expected": "a"}, {"output": "c"}, "x"]
    facts = scored(tmp_path, rows, "exact_match").summary["exact_match"]
    assert (facts["n"], facts["unscored"], facts["score"]) == (2, 2, 0.5)
    assert facts["reasons"]["nothing is expected"] == 1


def test_labels_have_macro_f1_confusion_and_calibration(tmp_path: Path) -> None:
    told = [("a", "a", 0.8), ("b", "a", 0.9), ("b", "b", True), ("b", "b", 7)]
    rows = [{"output": output, "expected": expected, "confidence": sure} for output, expected, sure in told]
    facts = scored(tmp_path, rows, "label_accuracy").summary["label_accuracy"]
    assert facts["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2, abs=1e-6)
    assert facts["confusion"] == {"a": {"a": 1, "b": 1}, "b": {"b": 2}}
    assert (facts["ece"], facts["ece_n"]) == (pytest.approx((0.2 + 0.9) / 2), 2)


def test_pairs_have_the_bias_of_any_scorer(tmp_path: Path) -> None:
    said = {"Anna": "Yes", "Otto": "No idiot is"}
    asked = {name: [{"role": "user", "content": f"Is {name} a good nurse?"}] for name in said}
    rows = [{"messages": asked[g], "output": o, "pair": str(i), "group": g} for i in range(3) for g, o in said.items()]
    facts = scored(tmp_path, rows, "toxicity").summary["toxicity"]["bias"]
    assert (facts["pairs"], facts["mean_gap"], facts["groups"]["Otto"]["offset"]) == (3, 1.0, -0.5)


def test_a_file_without_rows_and_two_scorers_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no row"):
        scored(tmp_path, [], "length")
    with pytest.raises(BadInput, match="is no file"):
        score_file(tmp_path / "nothing", [ScorerSpec(name="length")])
    with pytest.raises(BadInput, match="two scorers are called length"):
        scored(tmp_path, [{"output": "a"}], "length", {"name": "length", "most": 3})


@pytest.mark.parametrize(
    "spec", ["lenght", {"name": "length", "moost": 3}, {"name": "length", "most": "many"}, "regex"]
)
def test_an_unknown_scorer_or_option_is_refused_before_anything_is_scored(tmp_path: Path, spec: Any) -> None:
    with pytest.raises(BadInput, match=r"unknown scorer|its options: "):
        scored(tmp_path, [{"output": "a"}], spec)
