from __future__ import annotations

from typing import Any

import pytest

from modelserver.schemas import outline
from ratchet.errors import BadInput


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def test_literals_and_fields_alternate() -> None:
    taken = outline(of(a={"enum": ["x", "y"]}, b=of(c={"type": "integer"}), d={"type": "boolean"}))
    assert taken.literals == ('{"a": ', ', "b": {"c": ', '}, "d": ', "}")
    assert [(f.path, f.kind) for f in taken.fields] == [("a", "choice"), ("b.c", "integer"), ("d", "choice")]
    assert taken.fields[0].texts == ('"x"', '"y"')


def test_equal_values_count_once() -> None:
    assert outline(of(a={"enum": ["x", "x"]})).fields[0].texts == ('"x"',)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (of(a={"type": "array", "items": {}}), "'items' of a"),
        (of(a={"type": "array"}), "type 'array' of a"),
        (of(a=of(b={"type": "string", "pattern": "x"})), "'pattern' of a.b"),
        (of(a={"anyOf": [{"type": "null"}]}), "'anyOf' of a"),
        (of(a={"$ref": "#/x"}), "'\\$ref' of a"),
        (of(a={"type": ["string", "null"]}), "of a is not supported"),
        (of(a={"enum": []}), "'enum' of a"),
        (of(a={"enum": [{"b": 1}]}), "of an object|an object"),
        (of(a=of()), "a must have properties"),
        (of(a=True), "a must be an object"),
        ({"type": "array"}, "type 'object'"),
        ({**of(a={"type": "null"}), "required": ["b"]}, "required"),
        ({**of(a={"type": "null"}), "patternProperties": {}}, "patternProperties"),
        (of(**{f"p{i}": {"type": "null"} for i in range(65)}), "65 properties"),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_name(schema: Any, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        outline(schema)


def test_deep_nesting_is_refused() -> None:
    schema = of(a={"type": "null"})
    for _ in range(20):
        schema = of(a=schema)
    with pytest.raises(BadInput, match="deeper"):
        outline(schema)
