"""Constrained decoding: an answer that is JSON of a schema, whatever the model would rather say.

Where only some texts are possible the model walks a trie over their tokens, and what is forced is appended without
asking it. The tokens are those that the whole text has by itself, the ones an adapter was trained on. Masking logits by
an automaton over tokens: Willard and Louf, "Efficient Guided Generation for Large Language Models", 2023.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from modelserver.schemas import Field, Outline, dump
from ratchet.errors import BadInput

Encode = Callable[[str], list[int]]
Decode = Callable[[Sequence[int]], str]

STRING_PART = re.compile(r'(?:[^"\\\x00-\x1f]|\\["\\/bfnrt])+')
BEGUN = {
    "integer": re.compile(r" ?-?(?:0|[1-9]\d{0,14})?"),
    "number": re.compile(r" ?-?(?:(?:0|[1-9]\d{0,14})(?:\.\d{0,6})?)?"),
}
WHOLE = {
    "integer": re.compile(r" ?-?(?:0|[1-9]\d{0,14})"),
    "number": re.compile(r" ?-?(?:0|[1-9]\d{0,14})(?:\.\d{1,6})?"),
}


@dataclass
class Trie:
    """Token sequences by their first tokens; `text` where one ends."""

    children: dict[int, Trie] = field(default_factory=dict)
    text: str | None = None

    def add(self, tokens: Sequence[int], text: str) -> None:
        """Add the tokens of a text.

        Raises:
            BadInput: the tokens are those of another text, or begin with them.
        """
        node = self
        for token in tokens:
            node = node.children.setdefault(token, Trie())
            if node.text is not None:
                break
        if node.text is not None or node.children:
            raise BadInput(f"json_schema: the model's tokens cannot tell {text[:60]!r} from another value")
        node.text = text


class Vocabulary:
    """What each token writes, and the tokens that a free value may use."""

    def __init__(self, texts: Sequence[str | None]) -> None:
        """`texts[i]` is what token i adds to a text; None for special tokens."""
        self.texts = [text or "" for text in texts]
        self.string_tokens = [i for i, text in enumerate(self.texts) if STRING_PART.fullmatch(text)]
        self.number_tokens = [i for i, text in enumerate(self.texts) if re.fullmatch(r" ?[-.0-9]*", text) and text]

    def closing(self, follow: str) -> list[int]:
        """The tokens that begin the text after a free value."""
        return [i for i, text in enumerate(self.texts) if text and follow.startswith(text)]


@dataclass(frozen=True)
class Choice:
    """A value out of few, with the fixed text on both sides."""

    trie: Trie


@dataclass(frozen=True)
class Free:
    """A value that the model writes: fixed text before, tokens that end it, fixed text after."""

    kind: str
    before: str
    before_tokens: tuple[int, ...]
    after: str
    after_tokens: tuple[int, ...]
    closing: tuple[int, ...]
    inside: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A compiled schema: the text that every answer begins with, then its pieces in order."""

    opening: str
    opening_tokens: tuple[int, ...]
    pieces: tuple[Choice | Free, ...]


def compile_plan(described: Outline, encode: Encode, vocabulary: Callable[[], Vocabulary]) -> Plan:
    """Compile an outline for one tokenizer; the vocabulary is asked for only where there are free values."""
    heads, tails = zip(*(_split(text) for text in described.literals[:-1]), strict=True)
    follows = (*heads[1:], described.literals[-1])
    pieces: list[Choice | Free] = []
    for described_field, tail, follow in zip(described.fields, tails, follows, strict=True):
        if described_field.kind == "choice":
            pieces.append(_choice(described_field, tail, follow, encode))
        else:
            pieces.append(_free(described_field.kind, tail, follow, encode, vocabulary()))
    return Plan(heads[0], tuple(encode(heads[0])), tuple(pieces))


class ConstrainedText:
    """One answer under way. `text` is what its finished pieces say; it only grows."""

    def __init__(self, plan: Plan, decode: Decode) -> None:
        """`decode` gives what tokens add to a text that they continue."""
        self.tokens: list[int] = []
        self.text = ""
        self.is_done = False
        self._plan = plan
        self._decode = decode
        self._marks = [(0, "")]
        self._piece = -1
        self._node: Trie | None = None
        self._value_start = 0

    def start(self) -> list[int]:
        """The tokens that every answer begins with."""
        self.tokens += self._plan.opening_tokens
        self._settle(self._plan.opening)
        self._run()
        return list(self.tokens)

    def allowed(self) -> Sequence[int]:
        """The tokens that may come next."""
        if self._node is not None:
            return tuple(self._node.children)
        piece = self._free()
        if piece.kind == "string":
            return (*piece.inside, *piece.closing)
        begun, written = BEGUN[piece.kind], self._written()
        inside = [i for i in piece.inside if begun.fullmatch(written + self._decode([i]))]
        return [*inside, *piece.closing] if WHOLE[piece.kind].fullmatch(written) else inside

    def take(self, token: int) -> list[int]:
        """Take one allowed token. Returns it with the tokens that it forces."""
        before = len(self.tokens)
        if self._node is not None:
            self._node = self._node.children[token]
            self.tokens.append(token)
        elif token not in (piece := self._free()).closing:
            self.tokens.append(token)
        else:
            value = self._value()
            self.tokens += piece.after_tokens  # the token may write less than what is forced
            self._settle(piece.before + value + piece.after)
        self._run()
        return self.tokens[before:]

    def cut(self, count: int) -> str:
        """The text of an answer that ends early, after its first `count` tokens."""
        settled, text = max(mark for mark in self._marks if mark[0] <= count)
        return text + self._decode(self.tokens[settled:count])

    def _run(self) -> None:
        """Append what comes next whatever the model thinks."""
        while (node := self._node) is not None and (node.text is not None or len(node.children) == 1):
            if node.text is not None:
                self._settle(node.text)
            else:
                token, self._node = next(iter(node.children.items()))
                self.tokens.append(token)

    def _settle(self, text: str) -> None:
        """Finish a piece and begin the next one."""
        self.text += text
        self._marks.append((len(self.tokens), self.text))
        self._node = None
        self._piece += 1
        if self._piece == len(self._plan.pieces):
            self.is_done = True
        elif isinstance(piece := self._plan.pieces[self._piece], Choice):
            self._node = piece.trie
        else:
            self.tokens += piece.before_tokens
            self._value_start = len(self.tokens)

    def _free(self) -> Free:
        piece = self._plan.pieces[self._piece]
        assert isinstance(piece, Free)
        return piece

    def _written(self) -> str:
        return self._decode(self.tokens[self._value_start :])

    def _value(self) -> str:
        if self._free().kind == "string":
            return dump(json.loads(f'"{self._written()}"'))[1:-1]
        return dump(json.loads(self._written()))


def _split(literal: str) -> tuple[str, str]:
    """Cut fixed text behind its last letter or digit: tokens do not reach from a name into the punctuation after it."""
    end = max((i + 1 for i, char in enumerate(literal) if char.isalnum()), default=0)
    return literal[:end], literal[end:]


def _choice(described: Field, tail: str, follow: str, encode: Encode) -> Choice:
    trie = Trie()
    for text in described.texts:
        whole = tail + text + follow
        trie.add(encode(whole), whole)
    return Choice(trie)


def _free(kind: str, tail: str, follow: str, encode: Encode, vocabulary: Vocabulary) -> Free:
    is_string = kind == "string"
    before, after = (f'{tail}"', f'"{follow}') if is_string else (tail, follow)
    closing = vocabulary.closing(after)
    if not closing:
        raise BadInput("json_schema: the model has no token that could end a free value")
    return Free(
        kind=kind,
        before=before,
        before_tokens=tuple(encode(before if is_string else before.rstrip(" "))),  # " 12" may be one token
        after=after,
        after_tokens=tuple(encode(after)),
        closing=tuple(closing),
        inside=tuple(vocabulary.string_tokens if is_string else vocabulary.number_tokens),
    )
