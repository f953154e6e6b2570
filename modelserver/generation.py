"""One request at work: its tokens, its text with stops, and how its next token is chosen."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from modelserver.adapters import Adapter
from modelserver.attention import KeyValues
from modelserver.constrain import ConstrainedText, Decode, Plan
from modelserver.prefix_cache import Chain


@dataclass(frozen=True)
class Request:
    """What is asked: prompt as tokens, and how to answer. Temperature 0 takes the likeliest token."""

    model: str
    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    plan: Plan | None = None


@dataclass(frozen=True)
class Delta:
    """A further piece of the answer's text."""

    text: str


@dataclass(frozen=True)
class Finished:
    """The end of an answer: the whole text, why it ended (`stop` or `length`), and what it took."""

    text: str
    reason: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


@dataclass(frozen=True)
class Failed:
    """The engine could not answer."""

    message: str


Event = Delta | Finished | Failed


class Writer(Protocol):
    """How an answer's text comes out of its tokens. `text` only grows."""

    tokens: list[int]
    text: str
    is_done: bool

    def start(self) -> list[int]:
        """Tokens that come before the first choice."""

    def allowed(self) -> Sequence[int] | None:
        """The tokens to choose from; None for all."""

    def take(self, token: int) -> list[int]:
        """Take a token. Returns the tokens that are appended for it."""

    def cut(self, count: int) -> str:
        """The text of the first `count` tokens."""


class FreeText:
    """An answer without constraints: it ends at one of the model's end tokens."""

    def __init__(self, ends: frozenset[int], decode: Decode) -> None:
        self.tokens: list[int] = []
        self.text = ""
        self.is_done = False
        self._ends = ends
        self._decode = decode
        self._begin = self._read = 0

    def start(self) -> list[int]:
        """Nothing comes before the first choice."""
        return []

    def allowed(self) -> None:
        """All tokens."""

    def take(self, token: int) -> list[int]:
        """Take a token; an end token is not part of the answer."""
        if token in self._ends:
            self.is_done = True
            self.text = self.cut(len(self.tokens))
            return []
        self.tokens.append(token)
        # Only a window is decoded anew: the last tokens may be part of a character that is not complete yet.
        known = self._decode(self.tokens[self._begin : self._read])
        window = self._decode(self.tokens[self._begin :])
        if len(window) > len(known) and not window.endswith("\ufffd"):
            self.text += window[len(known) :]
            self._begin, self._read = self._read, len(self.tokens)
        return [token]

    def cut(self, count: int) -> str:
        """The text of the first `count` tokens, which are all of them."""
        known = self._decode(self.tokens[self._begin : self._read])
        return self.text + self._decode(self.tokens[self._begin : count])[len(known) :]


@dataclass
class Row:
    """One request in the engine. All tokens but the last `pending` ones have their keys and values in `cache`."""

    request: Request
    writer: Writer
    adapter: Adapter
    cache: KeyValues
    on_event: Callable[[Event], None]
    tokens: list[int] = field(init=False)
    chain: Chain = field(init=False)
    draw: random.Random = field(init=False)
    cached_tokens: int = 0
    is_cancelled: bool = False
    is_finished: bool = False
    _sent: int = 0

    def __post_init__(self) -> None:
        self.tokens = list(self.request.prompt)
        self.chain = Chain(-self.adapter.number)
        self.draw = random.Random(self.request.seed)
        self._append(self.writer.start())

    @property
    def pending(self) -> int:
        """Tokens that wait to be read by the model."""
        return len(self.tokens) - self.cache.length

    def choose(self, logits: torch.Tensor, among: Sequence[int] | None) -> None:
        """Choose the next token by the logits of the tokens in `among` (None: of all), and send what it settles."""
        place = self._place(logits)
        self._append(self.writer.take(place if among is None else among[place]))

    def fail(self, message: str) -> None:
        """End without an answer."""
        self._send(Failed(message))
        self.is_finished = True

    def _place(self, logits: torch.Tensor) -> int:
        if self.request.temperature == 0:
            return int(logits.argmax())
        sums = torch.softmax(logits.double() / self.request.temperature, dim=0).cumsum(0)
        place = int(torch.searchsorted(sums, self.draw.random() * float(sums[-1]), right=True))
        return min(place, len(logits) - 1)

    def _append(self, tokens: list[int]) -> None:
        self.tokens += tokens
        written, most = len(self.writer.tokens), self.request.max_tokens
        if written > most or (written == most and not self.writer.is_done):
            text, reason = self.writer.cut(most), "length"
        else:
            text, reason = self.writer.text, "stop"
        is_over = self.writer.is_done or reason == "length"
        stop = min((at for s in self.request.stop if (at := text.find(s)) >= 0), default=None)
        if stop is not None:
            text, reason, is_over = text[:stop], "stop", True
        self._emit(text if is_over else text[: len(text) - _held_back(text, self.request.stop)])
        if is_over:
            usage = (len(self.request.prompt), min(written, most), self.cached_tokens)
            self._send(Finished(text, reason, *usage))
            self.is_finished = True

    def _emit(self, text: str) -> None:
        if len(text) > self._sent:
            self._send(Delta(text[self._sent :]))
            self._sent = len(text)

    def _send(self, event: Event) -> None:
        if not (self.is_cancelled or self.is_finished):
            self.on_event(event)


def new_writer(plan: Plan | None, ends: frozenset[int], decode: Decode) -> Writer:
    """The writer for a request: constrained where it has a plan."""
    return FreeText(ends, decode) if plan is None else ConstrainedText(plan, decode)


def _held_back(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end may be the beginning of a stop text."""
    longest = max((len(stop) - 1 for stop in stops), default=0)
    for count in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-count:]) for stop in stops):
            return count
    return 0
