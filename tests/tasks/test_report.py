"""tasks.report: the page is inert whatever users wrote, and says the same numbers as gate.json."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ratchet.runs import Run
from tasks.report import (
    approval_markdown,
    changed_answers,
    difference_picture,
    interval_bars,
    slice_table,
    write_report,
)

HOSTILE = "<script>alert(1)</script>{{ 7 * 7 }}{% raw %}<img src=x onerror=y> \u202egnirts & \"quoted\" 'x'"
SUMMARY = {"n": 100, "unscored": 0, "score": 0.8, "low": 0.7, "high": 0.87, "tokens_per_answer": 61.5}


def gate_facts(**changes: Any) -> dict[str, Any]:
    roles = {role: {"release_id": f"rel_{role}", **SUMMARY} for role in ("champion", "anchor", "candidate")}
    difference = {"estimate": 0.25, "low": 0.14, "high": 0.36}
    facts = {"feature": "f", "scorer": "label_accuracy", "chosen_arm": "sft", "verdict": "accept", "reasons": ["Good."]}
    numbers = {"items": 100, "n": 100, "p_value": 1e-5, "alpha": 0.05, "alpha_spent": 0.025, "looks": 1}
    more = {"advisory": False, "sealed": False, "difference": difference, "holdout_digest": "d1"}
    return {**facts, **numbers, **more, **roles, **changes}


def evaluated(**changes: Any) -> dict[str, Any]:
    sft = {"n": 40, "score": 0.9, "low": 0.0, "high": 1.0, "champion_score": 0.512}
    arms = {"sft": sft, "fewshot": {"n": 0, "score": None, "champion_score": None}}
    return {"arms": arms, **changes}


def shown(**changes: Any) -> dict[str, Any]:
    return {"text": "my card", "champion": "a", "candidate": "b", "expected": "b", **changes}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def page(folder: Path, *, showcase: list[dict[str, Any]] | None = None, **changes: Any) -> str:
    write_lines(folder / "evaluation" / "showcase.jsonl", showcase if showcase is not None else [shown()])
    rows = [{"slice": "cards", "champion": 0.0, "candidate": 1.0}, {"slice": None, "champion": 1.0, "candidate": 1.0}]
    write_report(folder, gate_facts(**changes), evaluated(), rows)
    return (folder / "report.html").read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Collects what a browser would act on, and what it would show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_text_comes_out_escaped_and_inert(tmp_path: Path) -> None:
    html = page(tmp_path, showcase=[shown(text=HOSTILE, champion=HOSTILE, candidate="b" + HOSTILE)])
    found = Reader(html)
    assert not found.tags & {"script", "img", "link", "iframe", "object", "form"}
    assert not {name for name in found.attributes if name.startswith("on") or name in ("src", "href")}
    assert "<script>alert(1)</script>{{ 7 * 7 }}{% raw %}" in found.text and "\u202e" not in html


def test_the_page_may_load_nothing(tmp_path: Path) -> None:
    html = page(tmp_path)
    assert """content="default-src 'none'; style-src 'unsafe-inline'">""" in html
    assert "http:" not in html and "https:" not in html and "url(" not in html


def test_a_hostile_label_and_feature_are_escaped(tmp_path: Path) -> None:
    rows = [{"slice": "<b>x", "champion": 0.0, "candidate": 1.0}]
    write_report(tmp_path, gate_facts(feature="</title><script>"), evaluated(), rows)
    html = (tmp_path / "report.html").read_text()
    assert "<b>x" not in html and "<script>" not in html


@pytest.mark.parametrize(
    ("verdict", "headline"), [("accept", "Better"), ("reject", "Worse"), ("inconclusive", "Not proven")]
)
def test_the_verdict_stands_on_top_in_plain_words(tmp_path: Path, verdict: str, headline: str) -> None:
    text = " ".join(Reader(page(tmp_path, verdict=verdict)).text.split())
    assert text.index(headline) < text.index("Good.") < text.index("Scores")


def test_the_page_shows_scores_difference_and_lineage(tmp_path: Path) -> None:
    text = " ".join(Reader(page(tmp_path)).text.split())
    for expected in (
        "0.700 to 0.870",
        "+25.0 points",
        "+14.0 to +36.0",
        "scored 0.512 on validation",
        "rel_candidate",
        "rel_anchor",
        "d1",
    ):
        assert expected in text


def test_counts_of_rows_are_shown_by_stage_with_reasons(tmp_path: Path) -> None:
    counts = {"rows": 360, "used": 119, "set_aside": 241, "reasons": {"silent <b>": 200}, "verdict": "pass"}
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "curate.json").write_text(json.dumps(counts))
    text = Reader(page(tmp_path)).text
    assert "curate: reasons: silent <b> 200 · rows 360 · set aside 241 · used 119" in text


def test_a_free_text_feature_without_anything_scored_has_a_page(tmp_path: Path) -> None:
    nothing = {"n": 0, "unscored": 9, "score": None, "low": None, "high": None, "tokens_per_answer": None}
    roles = {role: {"release_id": f"rel_{role}", **nothing} for role in ("champion", "anchor", "candidate")}
    write_report(tmp_path, gate_facts(difference=None, verdict="inconclusive", **roles), evaluated(), [])
    text = Reader((tmp_path / "report.html").read_text()).text
    assert "By label" not in text and "There is no showcase" in text


def test_an_advisory_page_does_not_promise_an_error_bound(tmp_path: Path) -> None:
    assert "Nobody counted the looks" in page(tmp_path, advisory=True, looks=0)
    assert "This is look 1." in page(tmp_path)


def test_bars_leave_out_what_was_not_scored_and_keep_a_low_of_zero() -> None:
    bars = interval_bars(evaluated(), gate_facts())
    assert [bar.name for bar in bars] == ["arm sft", "anchor", "champion", "candidate"]
    assert bars[0].low == 0.0 and bars[0].x == (0.0, 360.0, 400.0)


def test_the_picture_is_as_wide_as_the_interval_needs() -> None:
    assert difference_picture(gate_facts()) == (270.0, 325.0, 380.0, 0.4)
    assert difference_picture(gate_facts(difference=None)) is None


def test_labels_are_listed_with_the_largest_loss_first() -> None:
    rows = [
        {"slice": s, "champion": a, "candidate": b} for s, a, b in (("x", 0.0, 1.0), ("y", 1.0, 0.0), ("x", None, 1.0))
    ]
    assert [(row.name, row.n, row.candidate - row.champion) for row in slice_table(rows)] == [("y", 1, -1), ("x", 1, 1)]


def test_only_changed_answers_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    rows = [shown(), shown(candidate="a"), *[shown(candidate=None)] * 30]
    found = changed_answers(write_lines(tmp_path / "showcase.jsonl", rows))
    assert (len(found.rows), found.changed, found.asked) == (20, 31, 32)


def markdown(**changes: Any) -> str:
    fields = {"run_id": "f-1", "feature": "f", "started_at": "2026-01-02", "release_id": "rel_" + "ab" * 32, **changes}
    return approval_markdown(Run.model_validate(fields), gate_facts(reasons=["Better by 25.0 points (p < 0.01)."]))


def test_the_markdown_has_the_numbers_and_the_digest() -> None:
    text = markdown()
    assert "| candidate | 0.800 | 0.700 to 0.870 | 100 | 61.5 |" in text
    assert "ab" * 32 in text and r"Better by 25\.0 points \(p &lt; 0\.01\)\." in text


def test_words_from_outside_are_escaped_in_the_markdown() -> None:
    text = markdown(refusal="<img src=x>\n# [click](http://x)", rows={"curate": {"reasons": {"a|b<script>": 3}}})
    assert "<img" not in text and "<script>" not in text and "\n# " not in text
    assert r"\[click\]\(http\://x\)" in text and r"reasons\: a\|b&lt;script&gt; 3" in text
