import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from ratchet.errors import BadInput
from ratchet.genai import (
    INPUT_MESSAGES,
    OUTPUT_MESSAGES,
    SYSTEM_INSTRUCTIONS,
    TOOL_DEFINITIONS,
    read_conversation,
    read_tools,
)

PUBLIC = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "peer_formats" / "otel_genai"
SHAPES: dict[str, TypeAdapter[Any]] = {
    "input-messages": INPUT_MESSAGES,
    "output-messages": OUTPUT_MESSAGES,
    "system-instructions": SYSTEM_INSTRUCTIONS,
    "tool-definitions": TOOL_DEFINITIONS,
}
SAID = [{"role": "assistant", "parts": [{"type": "text", "content": "Hi."}], "finish_reason": "stop"}]
ASKED = [{"role": "user", "parts": [{"type": "text", "content": "Hello?"}]}]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5) | st.sampled_from(["text", "stop", "user"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "role", "parts", "content", "name", "finish_reason"]), inner, max_size=4
        )
    ),
    max_leaves=6,
)


def schema(name: str) -> dict[str, Any]:
    path = PUBLIC / f"gen-ai-{name}.schema.json"
    if not path.is_file():
        pytest.skip(f"the public data beside the clone is missing: {path.name}")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def examples() -> list[tuple[str, Any]]:
    """(schema's name, value) of each of the conventions' own examples."""
    path = PUBLIC / "message_examples.jsonl"
    if not path.is_file():
        pytest.skip("the public data beside the clone is missing: message_examples.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    keys = [row["attribute"] or "gen_ai.system_instructions" for row in rows]
    names = [key.removeprefix("gen_ai.").replace(".", "-").replace("_", "-") for key in keys]
    return list(zip(names, (row["value"] for row in rows), strict=True))


def verdicts(name: str, value: Any) -> tuple[bool, bool]:
    """Whether our shape and whether the published schema takes a value."""
    try:
        SHAPES[name].validate_python(value)
        ours = True
    except ValidationError:
        ours = False
    return ours, jsonschema.Draft202012Validator(schema(name)).is_valid(value)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside a value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def mutated(value: Any, draw: Any) -> Any:
    """The value with one node, chosen at random, replaced or removed."""
    whole = copy.deepcopy(value)
    parent, key = draw(st.sampled_from(list(places(whole))))
    if draw(st.integers(0, 3)):
        parent[key] = draw(JSON_VALUES)
    else:
        del parent[key]
    return whole


def test_all_examples_of_the_conventions_parse() -> None:
    found = examples()
    assert len(found) == 19
    assert [verdicts(name, value) for name, value in found] == [(True, True)] * 19


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(st.data())
def test_mutated_examples_are_taken_and_refused_as_the_published_schemas_do(data: st.DataObject) -> None:
    name, value = data.draw(st.sampled_from(examples()))
    changed = mutated(value, data.draw)
    ours, theirs = verdicts(name, changed)
    assert ours == theirs


PART = {"type": "text", "content": "x"}
SPOILED = [{"role": 1}, {"role": None}, {"parts": None}, {"parts": {}}, {"parts": ["x"]}, {"parts": [{"content": "x"}]}]
SPOILED += [
    {"parts": [PART | {"type": 3}]},
    {"parts": [PART | {"content": 4}]},
    {"name": 5},
    {"name": None},
    {"more": 6},
]
SPOILED += [{"parts": []}, {"finish_reason": None}, {"finish_reason": "odd"}, {"role": "odd"}, {"finish_reason": 7}]


@pytest.mark.parametrize("name", ["input-messages", "output-messages"])
@pytest.mark.parametrize("change", SPOILED)
def test_each_field_is_judged_as_the_published_schemas_do(name: str, change: dict[str, Any]) -> None:
    sound = {"role": "user", "parts": [PART], "finish_reason": "stop"}
    for value in (sound | change, {k: v for k, v in sound.items() if k not in change}, list(change), change):
        ours, theirs = verdicts(name, [value])
        assert ours == theirs


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(SHAPES)), JSON_VALUES)
def test_any_json_is_taken_and_refused_as_the_published_schemas_do(name: str, value: Any) -> None:
    ours, theirs = verdicts(name, value)
    assert ours == theirs


@pytest.mark.parametrize("as_text", [True, False])
def test_messages_are_read_as_text_and_as_a_structure(as_text: bool) -> None:
    given = {"gen_ai.input.messages": ASKED, "gen_ai.output.messages": SAID}
    found = read_conversation({k: json.dumps(v) for k, v in given.items()} if as_text else dict(given))
    assert found is not None
    assert [(m.role, m.content) for m in found.messages] == [("user", "Hello?")]
    assert (found.output.content, found.finish_reason, found.is_reduced, found.n_choices) == ("Hi.", "stop", False, 1)


def test_system_instructions_come_first() -> None:
    rules = [{"type": "text", "content": "Be brief."}]
    found = read_conversation(
        {"gen_ai.system_instructions": rules, "gen_ai.input.messages": ASKED, "gen_ai.output.messages": SAID}
    )
    assert found is not None and [m.role for m in found.messages] == ["system", "user"]


def test_tool_results_become_messages_and_calls_become_openai_calls() -> None:
    call = {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Paris"}}
    result = {"type": "tool_call_response", "id": "c1", "response": {"sky": "grey"}}
    asked = [*ASKED, {"role": "assistant", "parts": [call]}, {"role": "user", "parts": [result]}]
    said = [{"role": "assistant", "parts": [call], "finish_reason": "tool_call"}]
    found = read_conversation({"gen_ai.input.messages": asked, "gen_ai.output.messages": said})
    assert found is not None and found.is_reduced
    assert [(m.role, m.content) for m in found.messages][1:] == [("assistant", ""), ("tool", '{"sky": "grey"}')]
    function = {"name": "weather", "arguments": '{"city": "Paris"}'}
    assert found.output.tool_calls == [{"id": "c1", "type": "function", "function": function}]
    assert found.output.content is None


OLDER = [
    {"gen_ai.prompt": '[{"role": "user", "content": "Hello?"}]', "gen_ai.completion": "Hi."},
    {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "Hello?", "gen_ai.completion.0.content": "Hi."},
    {"llm.input_messages.0.message.role": "human", "llm.input_messages.0.message.content": "Hello?"}
    | {"llm.output_messages.0.message.content": "Hi."},
    {"openinference.span.kind": "LLM", "input.value": "Hello?", "output.value": "Hi."},
    {"gen_ai.input.messages": [{"role": "user", "content": "Hello?"}], "gen_ai.output.messages": [{"content": "Hi."}]},
    {"gen_ai.prompt": "Hello?", "gen_ai.completion": [{"message": {"content": [{"type": "text", "text": "Hi."}]}}]},
]


@pytest.mark.parametrize("attributes", OLDER)
def test_the_older_dialects_say_the_same(attributes: dict[str, Any]) -> None:
    found = read_conversation(attributes)
    assert found is not None
    assert [(m.role, m.content) for m in found.messages] == [("user", "Hello?")] and found.output.content == "Hi."


def test_numbered_messages_stand_in_the_order_of_their_numbers() -> None:
    texts = {f"gen_ai.prompt.{n}.content": str(n) for n in (10, 2, 0)}
    found = read_conversation(texts | {"gen_ai.completion.0.content": "x"})
    assert found is not None and [m.content for m in found.messages] == ["0", "2", "10"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gen_ai.output.messages": None}, "no output messages"),
        ({"gen_ai.input.messages": []}, "no input messages"),
        ({"gen_ai.input.messages": "[{"}, "gen_ai.input.messages: malformed JSON: unexpected end of data"),
        ({"gen_ai.input.messages": [{"role": "user"}]}, "gen_ai.input.messages: parts: Field required"),
        ({"gen_ai.input.messages": "[" * 80 + "]" * 80}, "gen_ai.input.messages: JSON nested too deeply"),
        ({"gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text"}]}]}, "a text part without text"),
        ({"gen_ai.output.messages": [{**SAID[0], "parts": []}]}, "the answer holds neither text nor tool calls"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInput) as raised:
        read_conversation({"gen_ai.input.messages": ASKED, "gen_ai.output.messages": SAID} | changes)
    assert str(raised.value) == reason


def test_a_span_without_messages_holds_no_conversation() -> None:
    assert read_conversation({"http.request.method": "GET"}) is None


def test_tools_are_read_and_malformed_ones_cost_nothing() -> None:
    assert read_tools({"gen_ai.tool.definitions": '[{"type": "function", "name": "f"}]'}) == [
        {"type": "function", "name": "f"}
    ]
    assert read_tools({"gen_ai.tool.definitions": [{"name": "f"}]}) is None
