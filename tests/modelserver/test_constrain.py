"""The constrained decoder alone, with a tokenizer of one token per character."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from modelserver.constrain import Cursor, Vocabulary, compile_schema
from ratchet.errors import BadInput


class Characters:
    """A tokenizer whose tokens are character codes."""

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [ord(c) for c in text]


VOCABULARY = Vocabulary([chr(i) if i else None for i in range(128)])


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def write(of: dict[str, Any], seed: int) -> str:
    cursor, draw, text = Cursor(compile_schema(of, Characters()), VOCABULARY), random.Random(seed), ""
    while not cursor.is_done and len(text) < 2000:
        token = draw.choice(sorted(cursor.allowed()))
        cursor.advance(token)
        text += chr(token) + "".join(map(chr, cursor.forced()))
    return text


@pytest.mark.parametrize("seed", range(5))
def test_enum_is_written_as_json_dumps_writes_it(seed: int) -> None:
    text = write(schema(route={"type": "string", "enum": ["card", "card_lost", 'quo"te']}), seed)
    assert text == json.dumps(json.loads(text))
    assert json.loads(text)["route"] in ("card", "card_lost", 'quo"te')


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_of_property_gives_valid_json(seed: int) -> None:
    of = schema(
        a={"type": "boolean"}, b={"type": "string"}, c={"type": "integer"}, d={"type": "number"}, e={"const": 7}
    )
    document = json.loads(write(of, seed))
    assert list(document) == ["a", "b", "c", "d", "e"]
    assert isinstance(document["a"], bool) and isinstance(document["b"], str) and document["e"] == 7
    assert isinstance(document["c"], int) and isinstance(document["d"], (int, float))


def test_forced_tokens_are_taken_until_there_is_a_choice() -> None:
    cursor = Cursor(compile_schema(schema(route={"enum": ["ab", "ac"]}), Characters()), VOCABULARY)
    assert "".join(map(chr, cursor.forced())) == '{"route": "a'
    assert {chr(t) for t in cursor.allowed()} == {"b", "c"}


@pytest.mark.parametrize(
    ("of", "keyword"),
    [
        (schema(a={"type": "array", "items": {}}), "items"),
        (schema(a={"type": "object", "properties": {}}), "properties"),
        (schema(a={"type": "string", "pattern": "x"}), "pattern"),
        ({"type": "array"}, "type object"),
        (schema(a={"enum": []}), "enum"),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_name(of: dict[str, Any], keyword: str) -> None:
    with pytest.raises(BadInput, match=keyword):
        compile_schema(of, Characters())
