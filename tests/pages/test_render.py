import re

import pytest

from pages.render import MOST_WORDS, TEMPLATES, changed, unseen, visible, words


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "{{ 7*7 }}", "&lt;"])
def test_text_stays_text(text: str) -> None:
    shown = str(visible(text))
    assert "<" not in shown and '"' not in shown and "49" not in shown


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("\u202eevil", "U+202E"),  # right-to-left override
        ("a\u2066b", "U+2066"),
        ("a\u200bb", "U+200B"),
        ("a\x00b", "U+0000"),
        ("a\x1b[31m", "U+001B"),
        ("\U000e0041", "U+E0041"),  # a tag character
        ("a\rb", "U+000D"),
        ("\ufeffa", "U+FEFF"),
    ],
)
def test_what_cannot_be_seen_is_shown_as_its_code(text: str, code: str) -> None:
    assert f">{code}<" in visible(text) and not re.search(
        "[\u202e\u2066\u200b\x00\x1b\U000e0041\r\ufeff]", visible(text)
    )
    assert [name.split(" ")[0] for name in unseen(text)] == [code]


@pytest.mark.parametrize("text", ["two\nlines\tand", "one\r\ntwo", "می‌خواهم", "👩‍👧 ok", "שלום", "naïve 日本"])
def test_what_people_write_is_left_alone(text: str) -> None:
    assert visible(text) == text.replace("\r\n", "\n") and unseen(text) == []


def test_label_may_break_between_its_words_only() -> None:
    assert words("card_<b>") == "card_<wbr>&lt;b&gt;"


def test_words_in_which_a_suggestion_differs_are_marked() -> None:
    assert changed("It costs £6 today.", "It costs £5 today.") == "It costs £<del>5</del><ins>6</ins> today."
    assert changed("It is <b> free now.", "It is <b> free.") == "It is &lt;b&gt; free<ins> now</ins>."
    assert (
        changed("Quite another matter", "It costs £5")
        == "Quite another matter"
        == changed("Quite another matter", None)
    )


def test_long_texts_are_shown_without_marks_at_once() -> None:
    words = " ".join(str(n) for n in range(MOST_WORDS))
    assert changed(words, words + "x") == words


def test_every_template_escapes_and_loads_nothing_from_elsewhere() -> None:
    assert TEMPLATES.autoescape is True
    for name in TEMPLATES.list_templates():
        source = TEMPLATES.loader.get_source(TEMPLATES, name)[0]
        assert not re.search(r"\|\s*safe|https?://|\son\w+=|\sstyle=|<style|<script>|autoescape", source), name
