"""tasks.try_out.page: what the page says is what was counted, scrubbed, escaped, and complete on any input."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ratchet.features import Privacy
from tasks.ner import load_detector
from tasks.try_out import Facts
from tasks.try_out.findings import findings, percent
from tasks.try_out.page import SHOWN_CHARS, render, shown
from tests.tasks.try_out.logs import asked, said, tried

KEY = b"k" * 32
DETECTOR = load_detector(Privacy())
MAIL = "ana.muster@mail.example"
SCRIPT = "<script>alert(1)</script>"


def page(facts: Facts) -> str:
    return render(facts, key=KEY)


class Tags(HTMLParser):
    """Tags that are still open, and every attribute that could load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        self.loads += [str(v) for k, v in attrs if k in ("src", "href", "action", "data", "srcset", "background")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [str(v) for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def full(folder: Path, text: str = "question {} about cards", count: int = 60) -> Facts:
    rows: list[dict[str, Any]] = []
    for i in range(count):
        rows.append(asked(i, text.format(i), release_id="v1" if i < count // 2 else "v2", model="m"))
        rows.append(said(i, "thumb", i % 3 > 0, comment=f"call {MAIL}"))
    return tried(folder, *rows)


def test_the_page_is_whole_loads_nothing_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    text = page(full(tmp_path))
    tags = Tags(text)
    assert tags.open == []
    assert tags.loads and all(link.startswith("#") and link[1:] in tags.ids for link in tags.loads)
    assert "<script" not in text and "default-src 'none'" in text and "url(" not in text


def test_no_personal_data_that_a_pattern_finds_is_on_the_page(tmp_path: Path) -> None:
    text = page(full(tmp_path, "question {} from " + MAIL + " or +49 170 1234567"))
    assert MAIL not in text and "1234567" not in text
    assert "EMAIL_" in text


def test_what_people_wrote_cannot_become_markup(tmp_path: Path) -> None:
    rows = [asked(i, f"{SCRIPT} question {i}", release_id=SCRIPT, model=f"{SCRIPT}{i % 2}") for i in range(60)]
    text = page(tried(tmp_path, *rows, *(said(i, "thumb", False, comment=SCRIPT) for i in range(60))))
    assert "<script" not in text and "&lt;script&gt;" in text


def test_a_template_in_a_text_is_not_evaluated(tmp_path: Path) -> None:
    text = page(full(tmp_path, "{{{{ 7 * 7 }}}} {{%% raw %%}} question {}"))
    assert "{{ 7 * 7 }}" in text


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [asked(1, "a")],
        [asked(1, "")],
        [asked(1, "a", session_id=None, user_id=None), said(1, "rating", 0.5)],
        [asked(1, "a", at="1970-01-01T00:00:00Z"), said(1, "thumb", False)],
        [asked(1, "a", output={"content": None}), said(2, "comment", "x")],
        [asked(i, "the same") for i in range(50)],
        [{"interaction_id": "x"}],
    ],
)
def test_any_input_gives_a_whole_page(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert Tags(page(tried(tmp_path, *rows))).open == []


def test_equal_logs_and_keys_give_equal_pages(tmp_path: Path) -> None:
    assert page(full(tmp_path)) == page(full(tmp_path))


def test_the_counts_on_the_page_are_those_of_the_log(tmp_path: Path) -> None:
    text = re.sub(r"<[^>]+>|\s+", " ", page(full(tmp_path)))
    assert re.search(r"33\s*%\s+of the judged answers were bad", text)
    assert "120 records = 60 interactions + 60 feedbacks + 0 seen twice + 0 not usable" in text


def test_findings_say_not_identifiable_where_there_are_no_versions(tmp_path: Path) -> None:
    assert any("not identifiable" in found.text for found in findings(tried(tmp_path, asked(1, "a"))))


def test_a_text_is_scrubbed_before_it_is_cut() -> None:
    text = "x" * (SHOWN_CHARS - 6) + f" {MAIL}"
    assert "ana" not in shown(text, "s", key=KEY, detector=DETECTOR)
    assert shown("a\u202eb\x00c", "s", key=KEY, detector=DETECTOR) == "a b c"


def test_a_name_in_an_example_is_replaced() -> None:
    text = "Hello, this is Daniel Whitfield again, my parcel has not come"
    told = shown(text, "s", key=KEY, detector=DETECTOR)
    assert "Daniel" not in told and "Whitfield" not in told and "<PERSON_" in told


def test_a_text_of_any_length_is_read_as_far_as_it_is_shown() -> None:
    told = shown("word " * 200_000, "s", key=KEY, detector=DETECTOR)
    assert told.endswith(" …") and len(told) <= SHOWN_CHARS + 2


@pytest.mark.parametrize(("share", "text"), [(0.5, "50"), (0.0412, "4.1"), (0.0004, "0.04"), (0.0, "0"), (1.0, "100")])
def test_shares_are_told_with_two_digits_that_count(share: float, text: str) -> None:
    assert percent(share) == f"{text}\u00a0%"
