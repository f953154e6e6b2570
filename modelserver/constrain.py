"""Constrained decoding: which tokens may come next, so that the answer is JSON of a schema as json.dumps writes it.

A schema is compiled to pieces in the order of its properties: tries (token sequences of all texts that are possible
where only finitely many are) and free pieces (strings, integers, numbers). The idea of masking logits by an automaton
over tokens is that of Willard and Louf, "Efficient Guided Generation for Large Language Models", 2023.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ratchet.errors import BadInput

MOST_TEXTS = 4096
FREE_KINDS = ("string", "integer", "number")
IGNORED = {"title", "description", "default", "$schema", "additionalProperties", "required", "type", "examples"}


class Tokenizer(Protocol):
    """What is needed of a tokenizer."""

    def encode(self, text: str, add_special_tokens: bool = ...) -> list[int]:
        """The tokens of a text."""


@dataclass
class Trie:
    """Token sequences by their first tokens; `is_end` where a sequence may stop."""

    children: dict[int, Trie] = field(default_factory=dict)
    is_end: bool = False

    def add(self, tokens: Sequence[int]) -> None:
        """Add one sequence."""
        node = self
        for token in tokens:
            node = node.children.setdefault(token, Trie())
        node.is_end = True


@dataclass(frozen=True)
class Free:
    """A piece that the model writes itself: a string, an integer or a number."""

    kind: str


@dataclass(frozen=True)
class Grammar:
    """A compiled schema: tries and free pieces in turn, beginning and ending with a trie."""

    pieces: tuple[Trie | Free, ...]


class Vocabulary:
    """The tokens that each kind of free piece may use, from the text of every token."""

    def __init__(self, texts: Sequence[str | None]) -> None:
        """`texts[i]` is the text of token i; None for special tokens."""
        plain = [(i, text) for i, text in enumerate(texts) if text]
        self.allowed = {
            "string": frozenset(i for i, t in plain if not any(c in '"\\' or ord(c) < 32 for c in t)),
            "integer": frozenset(i for i, t in plain if t.isascii() and t.isdigit()),
            "number": frozenset(i for i, t in plain if t.isascii() and set(t) <= set("0123456789.")),
        }
        self.points = frozenset(i for i, t in plain if "." in t)


class Cursor:
    """Where one answer stands in its grammar."""

    def __init__(self, grammar: Grammar, vocabulary: Vocabulary) -> None:
        """Begin at the first piece."""
        self.grammar = grammar
        self.vocabulary = vocabulary
        self.piece = 0
        self.node: Trie | None = self._trie(0)
        self.written = 0
        self.has_point = False

    @property
    def is_done(self) -> bool:
        """Whether the answer is complete."""
        is_last = self.piece == len(self.grammar.pieces) - 1
        return is_last and self.node is not None and self.node.is_end and not self.node.children

    def allowed(self) -> frozenset[int]:
        """The tokens that may come next; empty once the answer is complete."""
        if self.node is not None:
            return frozenset(self.node.children)
        kind = self._free_kind()
        closing = frozenset(self._trie(self.piece + 1).children)
        if kind != "string" and self.written == 0:
            return self.vocabulary.allowed["integer"]
        if kind == "number" and self.has_point:
            return (self.vocabulary.allowed["number"] - self.vocabulary.points) | closing
        if kind != "string" and self.written >= 15:
            return closing
        return self.vocabulary.allowed[kind] | closing

    def advance(self, token: int) -> None:
        """Take one allowed token."""
        if self.node is None:
            closing = self._trie(self.piece + 1)
            if token not in closing.children:
                self.written += 1
                self.has_point = self.has_point or token in self.vocabulary.points
                return
            self.piece, self.node = self.piece + 1, closing
        self.node = self.node.children[token]
        if self.node.is_end and not self.node.children and self.piece < len(self.grammar.pieces) - 1:
            self.piece, self.node, self.written, self.has_point = self.piece + 1, None, 0, False

    def forced(self) -> list[int]:
        """The tokens that come next whatever the model thinks; they are taken."""
        taken: list[int] = []
        while self.node is not None and len(self.node.children) == 1 and not self.node.is_end:
            token = next(iter(self.node.children))
            self.advance(token)
            taken.append(token)
        return taken

    def _trie(self, piece: int) -> Trie:
        found = self.grammar.pieces[piece]
        assert isinstance(found, Trie)
        return found

    def _free_kind(self) -> str:
        found = self.grammar.pieces[self.piece]
        assert isinstance(found, Free)
        return found.kind


def compile_schema(schema: Any, tokenizer: Tokenizer) -> Grammar:
    """Compile an object schema.

    Raises:
        BadInput: names the keyword that is not supported.
    """
    parts = _object_parts(schema)
    pieces: list[Trie | Free] = []
    finite: list[list[str]] = []
    for part in parts:
        if isinstance(part, Free):
            pieces += [_trie_of(finite, tokenizer), part]
            finite = []
        else:
            finite.append(part)
    return Grammar((*pieces, _trie_of(finite, tokenizer)))


def _object_parts(schema: Any) -> list[list[str] | Free]:
    """The answer as a sequence of choices between texts and free pieces."""
    if not isinstance(schema, dict) or schema.get("type") != "object" or not schema.get("properties"):
        raise BadInput("json_schema: the schema must be of type object with properties")
    _refuse_unknown(schema, {"properties"})
    parts: list[list[str] | Free] = []
    opening = "{"
    for name, spec in schema["properties"].items():
        opening += f"{json.dumps(name, ensure_ascii=False)}: "
        value = _value_parts(name, spec)
        if isinstance(value, Free) and value.kind == "string":
            parts += [[opening + '"'], value]
            opening = '", '
        elif isinstance(value, Free):
            parts += [[opening], value]
            opening = ", "
        else:
            parts += [[opening], value]
            opening = ", "
    parts.append([opening.removesuffix(", ") + "}"])
    return parts


def _value_parts(name: str, spec: Any) -> list[str] | Free:
    if not isinstance(spec, dict):
        raise BadInput(f"json_schema: property {name!r} must be an object")
    _refuse_unknown(spec, {"enum", "const"})
    if "const" in spec or "enum" in spec:
        values = [spec["const"]] if "const" in spec else spec["enum"]
        if not isinstance(values, list) or not values:
            raise BadInput(f"json_schema: the enum of {name!r} must be a list of one value or more")
        return [json.dumps(value, ensure_ascii=False) for value in values]
    kind = spec.get("type")
    if kind == "object":
        raise BadInput(f"json_schema: nested objects are not supported (property {name!r})")
    if kind == "boolean":
        return ["true", "false"]
    if kind == "null":
        return ["null"]
    if kind in FREE_KINDS:
        return Free(str(kind))
    raise BadInput(f"json_schema: type {kind!r} of property {name!r} is not supported")


def _refuse_unknown(spec: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(spec) - known - IGNORED)
    if unknown:
        raise BadInput(f"json_schema: the keyword {unknown[0]!r} is not supported")


def _trie_of(choices: list[list[str]], tokenizer: Tokenizer) -> Trie:
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > MOST_TEXTS:
        raise BadInput(f"json_schema: {count} different answers are too many to enforce (at most {MOST_TEXTS})")
    trie = Trie()
    for combination in itertools.product(*choices):
        trie.add(tokenizer.encode("".join(combination), add_special_tokens=False))
    return trie
