from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.errors import SettingsInvalid
from ratchet.prompts import Demonstration, Prompt, load_prompt, render
from ratchet.records import Context, Message

ASKED = (Message(role="user", content="where is my card?"),)


def system(text: str, variables: dict[str, Any], contexts: tuple[Context, ...] = ()) -> str:
    """The system text that a template gives."""
    return render(Prompt(text=text), ASKED, variables=variables, contexts=contexts)[0]["content"]


def test_rendering_orders_system_demonstrations_and_the_apps_messages() -> None:
    prompt = Prompt(text="Route.", demonstrations=(Demonstration(input="a", output="b"),))
    rendered = render(prompt, ASKED, variables={}, contexts=())
    assert [m["role"] for m in rendered] == ["system", "user", "assistant", "user"]
    assert [m["content"] for m in rendered] == ["Route.", "a", "b", "where is my card?"]


@pytest.mark.parametrize("text", ["", "  \n", "{{ missing }}"])
def test_empty_text_gives_no_system_message(text: str) -> None:
    assert [m["role"] for m in render(Prompt(text=text), ASKED, variables={}, contexts=())] == ["user"]


def test_value_with_placeholders_is_not_expanded() -> None:
    assert system("{{ a }}", {"a": "{{ b }} {{ contexts }}", "b": "SECRET"}) == "{{ b }} {{ contexts }}"


@pytest.mark.parametrize("text", ["{{ 1 + 1 }}", "{% if a %}x{% endif %}", "{{ a.b }}", "{{ a() }}", "{a} $a %(a)s"])
def test_templates_have_no_logic(text: str) -> None:
    assert system(text, {"a": "x"}) == text


def test_message_of_the_user_is_never_a_template() -> None:
    asked = (Message(role="user", content="{{ a }}"),)
    assert render(Prompt(text="x"), asked, variables={"a": "1"}, contexts=())[-1]["content"] == "{{ a }}"


def test_demonstration_is_never_a_template() -> None:
    prompt = Prompt(text="x", demonstrations=(Demonstration(input="{{ a }}", output="{{ a }}"),))
    assert {m["content"] for m in render(prompt, ASKED, variables={"a": "1"}, contexts=())[1:3]} == {"{{ a }}"}


def test_contexts_are_a_numbered_list_and_no_variable_takes_their_place() -> None:
    found = (Context(id="a", text="first"), Context(id="b", text="second"))
    assert system("Use:\n{{contexts}}", {"contexts": "forged"}, found) == "Use:\n[1] first\n[2] second"


@pytest.mark.parametrize(("value", "text"), [("é", "é"), (3, "3"), (None, "null"), ({"a": "é"}, '{"a": "é"}')])
def test_values_that_are_no_text_are_json(value: Any, text: str) -> None:
    assert system("<{{ a }}>", {"a": value}) == f"<{text}>"


@given(st.dictionaries(st.sampled_from(["a", "b", "contexts"]), st.text(st.characters(exclude_categories=["Cs"]))))
def test_any_value_appears_exactly_as_given(values: dict[str, str]) -> None:
    assert system("<{{ a }}|{{b}}>", values) == f"<{values.get('a', '')}|{values.get('b', '')}>"


@pytest.mark.parametrize("content", ["---\nowner: a\n---\nRoute it.\n", "Route it.", "\n\nRoute it.\n\n"])
def test_front_matter_is_not_part_of_the_prompt(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.md").write_text(content)
    assert load_prompt(tmp_path / "p.md") == Prompt(text="Route it.")


def test_rule_inside_the_text_is_kept(tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text("---\nowner: a\n---\nOne\n---\nTwo")
    assert load_prompt(tmp_path / "p.md").text == "One\n---\nTwo"


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"---\na: [\n---\nx", "not YAML"), (b"---\na: 1\nx", "no second ---"), (b"\xe9", "UTF-8"), (None, "is missing")],
)
def test_prompt_that_cannot_be_used_names_the_file(tmp_path: Path, content: bytes | None, problem: str) -> None:
    if content is not None:
        (tmp_path / "p.md").write_bytes(content)
    with pytest.raises(SettingsInvalid, match=rf"p\.md.*{problem}"):
        load_prompt(tmp_path / "p.md")
