"""JSON schemas that can be enforced while decoding, taken apart into fields and the fixed text around them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ratchet.errors import BadInput

FREE_KINDS = ("string", "integer", "number")
DESCRIBING = {"title", "description", "default", "examples", "$schema", "$id", "$comment"}
MOST_FIELDS = 64
MOST_VALUES = 2000
MOST_DEPTH = 8


@dataclass(frozen=True)
class Field:
    """One value of the answer: the JSON texts to choose from, or the kind of a free one."""

    path: str
    kind: str
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outline:
    """An object as text: `literals[i]` stands before `fields[i]`, the last literal after the last field."""

    literals: tuple[str, ...]
    fields: tuple[Field, ...]


def dump(value: Any) -> str:
    """JSON as answers write it, and as training targets are written: json.dumps with its default separators."""
    return json.dumps(value, ensure_ascii=False)


def outline(schema: Any) -> Outline:
    """Take an object schema apart. All its properties are written, in its order, also those not required.

    Raises:
        BadInput: names the property and the keyword that cannot be enforced.
    """
    literals: list[str] = [""]
    fields: list[Field] = []
    _add_object(schema, "the schema", literals, fields, depth=1)
    if len(fields) > MOST_FIELDS:
        raise BadInput(f"json_schema: {len(fields)} properties; at most {MOST_FIELDS} can be enforced")
    return Outline(tuple(literals), tuple(fields))


def _add_object(schema: Any, path: str, literals: list[str], fields: list[Field], *, depth: int) -> None:
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise BadInput(f"json_schema: {path} must have the type 'object'")
    if depth > MOST_DEPTH:
        raise BadInput(f"json_schema: {path} is nested deeper than {MOST_DEPTH} objects")
    _refuse_unknown(schema, {"type", "properties", "required", "additionalProperties"}, path)
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties:
        raise BadInput(f"json_schema: {path} must have properties")
    required = schema.get("required", [])
    if not isinstance(required, list) or any(name not in properties for name in required):
        raise BadInput(f"json_schema: 'required' of {path} names a property that it does not have")
    for i, (name, value) in enumerate(properties.items()):
        literals[-1] += f"{', ' if i else '{'}{dump(name)}: "
        inner = name if path == "the schema" else f"{path}.{name}"
        if isinstance(value, dict) and value.get("type") == "object" and not {"enum", "const"} & set(value):
            _add_object(value, inner, literals, fields, depth=depth + 1)
        else:
            fields.append(_field(value, inner))
            literals.append("")
    literals[-1] += "}"


def _field(schema: Any, path: str) -> Field:
    if not isinstance(schema, dict):
        raise BadInput(f"json_schema: {path} must be an object")
    _refuse_unknown(schema, {"type", "enum", "const"}, path)
    kind = schema.get("type")
    if "const" in schema or "enum" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        if not isinstance(values, list) or not 1 <= len(values) <= MOST_VALUES:
            raise BadInput(f"json_schema: 'enum' of {path} must be a list of 1 to {MOST_VALUES} values")
        if any(isinstance(value, dict | list) for value in values):
            raise BadInput(f"json_schema: {path} has an object or a list in 'enum' or 'const', which is not supported")
        return Field(path, "choice", tuple(dict.fromkeys(dump(value) for value in values)))
    if kind in ("boolean", "null"):
        return Field(path, "choice", ("true", "false") if kind == "boolean" else ("null",))
    if kind in FREE_KINDS:
        return Field(path, str(kind))
    raise BadInput(f"json_schema: type {str(kind)[:40]!r} of {path} is not supported")


def _refuse_unknown(schema: dict[str, Any], known: set[str], path: str) -> None:
    unknown = sorted(set(schema) - known - DESCRIBING)
    if unknown:
        raise BadInput(f"json_schema: keyword {unknown[0][:40]!r} of {path} is not supported")
