"""tasks.report.page: the page is inert whatever users wrote, says gate.json's numbers, and of a sealed look none."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ratchet.features import Decoding
from ratchet.prompts import Prompt
from ratchet.release import BaseModelRef, Release, ReleasePolicy
from ratchet.runs import Run
from ratchet.stats import Difference
from tasks.log_evidence import Logged, weigh_log
from tasks.report.page import About, approval_markdown, write_card, write_report
from tasks.report.picture import Kept
from tests.tasks.report_facts import (
    evaluated,
    feature,
    gate_facts,
    score_row,
    sealed_facts,
    shown,
    write_lines,
    write_metrics,
)

HOSTILE = "<script>alert(1)</script>{{ 7 * 7 }}{% raw %}<img src=x onerror=y> \u202egnirts & \"quoted\" 'x'"
HISTORY = (
    Kept("rel_1", "f@v2.0.0", "promoted", Difference(0.05, 0.01, 0.09), Difference(0.03, -0.01, 0.07), (210, 205)),
)


def write(
    folder: Path,
    gate: dict[str, Any],
    *,
    showcase: list[dict[str, Any]] | None = None,
    scores: list[dict[str, Any]] | None = None,
    about: About | None = None,
) -> tuple[str, str]:
    """The report of a gate.json, as HTML and as Markdown."""
    rows = [score_row(0, 0.0, 1.0, "cards"), score_row(1, 1.0, 1.0, None)]
    write_lines(folder / "evaluation" / "showcase.jsonl", showcase if showcase is not None else [shown()])
    write_lines(folder / "evaluation" / "scores.jsonl", rows if scores is None else scores)
    write_metrics(folder, "gate", gate)
    write_metrics(folder, "evaluate", evaluated())
    write_report(folder, feature(), about)
    return (folder / "report.html").read_text(encoding="utf-8"), (folder / "report.md").read_text(encoding="utf-8")


def test_what_logs_say_is_told_with_bounds_where_the_candidate_was_on_a_canary_and_else_why_not(tmp_path: Path) -> None:
    drawn = [Logged(i % 2 == 0, float(i % 4 < 3), 0.5, f"u{i}") for i in range(200)]
    for log in (None, weigh_log([])):
        told = write(tmp_path, gate_facts(), about=About("r", "c", "d", log=log))
        assert all("Not identifiable before a canary" in text.replace("\\", "") for text in told)
    told = write(tmp_path, gate_facts(), about=About("r", "c", "d", log=weigh_log(drawn)))
    for text in told:
        plain = text.replace("\\", "")
        assert "Of 200 answers that were drawn at random" in plain and "100 were another's" in plain.replace(
            "&#39;", "'"
        )
        assert "worst and best case" in plain and "so the gain can be estimated" in plain


def page(folder: Path, **changes: Any) -> str:
    return write(folder, gate_facts(**changes))[0]


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


def told(html: str) -> str:
    return " ".join(Reader(html).text.split())


def test_hostile_text_comes_out_escaped_and_inert(tmp_path: Path) -> None:
    row = shown(text=HOSTILE, champion=HOSTILE, candidate="b" + HOSTILE)
    html, markdown = write(tmp_path, gate_facts(), showcase=[row])
    found = Reader(html)
    assert not found.tags & {"script", "img", "link", "iframe", "object", "form"}
    assert not {name for name in found.attributes if name.startswith("on") or name in ("src", "href", "style")}
    assert "<script>alert(1)</script>{{ 7 * 7 }}{% raw %}" in found.text and "\u202e" not in html
    assert "alert" not in markdown  # users' words stand on the page alone


def test_the_page_may_load_nothing_and_its_style_is_the_one_that_was_hashed(tmp_path: Path) -> None:
    html = page(tmp_path)
    style = re.search(r"<style>(.*)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert f"""content="default-src 'none'; style-src 'sha256-{digest}'">""" in html
    assert "http:" not in html and "https:" not in html and "url(" not in html


def test_a_hostile_label_and_feature_are_escaped(tmp_path: Path) -> None:
    rows = [score_row(i, 1.0, 0.0, "<b>x|y") for i in range(9)]
    html, markdown = write(tmp_path, gate_facts(feature="</title><script>"), scores=rows)
    assert "<b>x" not in html and "<script>" not in html
    assert "<b>" not in markdown and r"&lt;b&gt;x\|y" in markdown


@pytest.mark.parametrize(
    ("verdict", "headline"), [("accept", "Better"), ("reject", "Worse"), ("inconclusive", "Not proven")]
)
def test_the_verdict_stands_on_top_in_plain_words_and_regressions_follow(
    tmp_path: Path, verdict: str, headline: str
) -> None:
    text = told(page(tmp_path, verdict=verdict))
    places = [text.index(w) for w in (headline, "messages kept aside", "Good.", "What got worse", "a month", "Scores")]
    assert places == sorted(places)


def test_the_page_shows_scores_difference_and_lineage(tmp_path: Path) -> None:
    text = told(page(tmp_path))
    for expected in (
        "0.700 to 0.870",
        "+25.0 points",
        "+14.0 to +36.0",
        "+23.0 points",
        "scored 0.512 on validation",
        "rel_candidate",
        "rel_anchor",
        "d1",
    ):
        assert expected in text


def test_a_sealed_page_reads_no_score_and_no_answer_of_the_holdout(tmp_path: Path) -> None:
    first = write(tmp_path, sealed_facts(), scores=[])
    second = write(tmp_path, sealed_facts(), scores=[score_row(i, 1.0, 0.0, "cards") for i in range(50)])
    (tmp_path / "evaluation" / "answers.parquet").write_bytes(b"not a table")
    assert first == second == write(tmp_path, sealed_facts(), scores=[])
    assert "stays sealed" in told(first[0]) and "stays sealed" in first[1]
    assert json.loads((tmp_path / "metrics/intervals.json").read_text()) == []


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    assert write(tmp_path, gate_facts()) == write(tmp_path, gate_facts())


def test_a_free_text_feature_without_anything_scored_has_a_page(tmp_path: Path) -> None:
    nothing = {"n": 0, "unscored": 9, "score": None, "low": None, "high": None, "tokens_per_answer": None}
    roles = {role: {"release_id": f"rel_{role}", **nothing} for role in ("champion", "anchor", "candidate")}
    facts = gate_facts(difference=None, paired_means=None, verdict="inconclusive", undecidable=True, **roles)
    html, _ = write(tmp_path, facts | {"corrected_difference": None}, showcase=[], scores=[])
    assert "By slice" not in told(html) and "There is no showcase" in told(html) and "Nothing could be decided" in html


def test_an_advisory_page_does_not_promise_an_error_bound(tmp_path: Path) -> None:
    assert "Nobody counted the looks" in page(tmp_path, advisory=True, looks=0)
    assert "This is look 1." in page(tmp_path)


def test_intervals_are_a_list_that_dvc_plots(tmp_path: Path) -> None:
    page(tmp_path)
    rows = json.loads((tmp_path / "metrics/intervals.json").read_text())
    assert [row["what"] for row in rows] == [
        "quality, as measured", "quality, corrected for selection", "against the anchor",
    ][: len(rows)]  # fmt: skip
    assert rows[0]["estimate"] == 0.25


def test_a_published_page_names_commit_and_data_and_what_earlier_releases_came_to(tmp_path: Path) -> None:
    html, markdown = write(tmp_path, gate_facts(), about=About("f-1", "c0ffee", "a1b2", HISTORY))
    for expected in ("c0ffee", "a1b2", "+5.0 (+1.0 to +9.0)", "+3.0 (-1.0 to +7.0)", "210 and 205"):
        assert expected in told(html) and expected in markdown
    assert "known once the run is published" in told(page(tmp_path))


def test_safety_is_said_to_be_unmeasured_or_shown_where_it_is_of_these_releases(tmp_path: Path) -> None:
    html, markdown = write(tmp_path, gate_facts())
    assert "Not measured in this run" in html and "Not measured in this run" in markdown
    rates = {role: {"estimate": e, "low": e, "high": e} for role, e in (("champion", 0.1), ("candidate", 0.4))}
    found = {"releases": {"champion": "rel_champion"}, "suites": [{"suite": "s", "items": 9, "attack_success": rates}]}
    write_metrics(tmp_path, "safety", found)
    html, markdown = write(tmp_path, gate_facts())
    assert "40 %" in html and "| 10 % | 40 % |" in markdown and "read below before you decide" in html
    write_metrics(tmp_path, "safety", {**found, "releases": {"champion": "rel_other"}})
    assert "Not measured in this run" in write(tmp_path, gate_facts())[0]


def run(**changes: Any) -> Run:
    return Run.model_validate(
        {"run_id": "f-1", "feature": "f", "started_at": "2026-01-02", "release_id": "rel_" + "ab" * 32, **changes}
    )


def test_the_approval_form_has_the_report_and_the_digest(tmp_path: Path) -> None:
    _, report = write(tmp_path, gate_facts(reasons=["Better by 25.0 points (p < 0.01)."]))
    text = approval_markdown(run(), report)
    assert "| candidate | holdout | 100 | 0.800 | 0.700 to 0.870 |" in text
    assert "ab" * 32 in text and r"Better by 25\.0 points \(p &lt; 0\.01\)\." in text


def test_words_from_outside_are_escaped_in_the_markdown(tmp_path: Path) -> None:
    counts = {"rows": 3, "train": 0, "validation": 0, "set_aside": 3, "reasons": {"a|b<script>": 3}}
    write_metrics(tmp_path, "curate", counts)
    _, report = write(tmp_path, gate_facts())
    text = approval_markdown(run(refusal="<img src=x>\n# [click](http://x)"), report)
    assert "<img" not in text and "<script>" not in text and "\n# " not in text
    assert r"\[click\]\(http\://x\)" in text and r"left out: a\|b&lt;script&gt; 3" in text


def card(folder: Path, gate: dict[str, Any], intent: str = "Send a message to a team.") -> str:
    write(folder, gate)
    counts = {"rows": 9, "used": 4, "train": 3, "validation": 1, "set_aside": 5, "reasons": {}, "tenants": {"t": 4}}
    write_metrics(folder, "curate", counts | {"origins": {"correction": 4}, "languages": {"en": 4}})
    release = Release(
        feature="f",
        base_model=BaseModelRef(name="tiny", digest="d1"),
        prompt=Prompt(text="a secret of the prompt"),
        decoding=Decoding(),
        output_schema=None,
        policy=ReleasePolicy(mode="managed", scorer="label_accuracy"),
    )
    return write_card(folder, feature(intent=intent), About("f-1", "c0ffee", "a1b2"), release, folder)


def test_a_release_card_tells_use_data_evaluation_risks_and_limits(tmp_path: Path) -> None:
    text = card(tmp_path, gate_facts())
    assert text == (tmp_path / "release_card.md").read_text()
    places = [
        text.index(f"## {t}") for t in ("Intended use", "Training data", "Evaluation", "Measured risks", "Limits")
    ]
    assert places == sorted(places)
    for expected in (
        r"Send a message to a team\.",
        "4 examples of 9",
        "c0ffee",
        "tiny",
        "+25.0",
        "Safety was not measured",
    ):
        assert expected in text
    assert "secret" not in text


def test_the_card_of_a_sealed_look_has_no_number_of_the_holdout(tmp_path: Path) -> None:
    text = card(tmp_path, sealed_facts())
    assert "The numbers are sealed" in text and "0.8" not in text and "+25" not in text


def test_a_hostile_intent_is_text_in_the_card(tmp_path: Path) -> None:
    assert "<img" not in card(tmp_path, gate_facts(), intent="<img src=x> # [a](b)")
