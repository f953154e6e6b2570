from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from modelserver.adapters import Adapter
from modelserver.attention import CacheShape, KeyValues
from modelserver.generation import Delta, Event, Finished, FreeText, Request, Row

END = 0


def decode(tokens: Sequence[int]) -> str:
    return bytes(tokens).decode("utf-8", "replace")


def written(text: str, *, ends: bool = True, **how: object) -> tuple[list[str], Finished]:
    """What a row sends when it is made to write this text byte by byte."""
    events: list[Event] = []
    request = Request("m", (1, 2), **{"max_tokens": 100, **how})  # type: ignore[arg-type]
    cache = KeyValues(CacheShape(1, 1, 1), 1)
    row = Row(request, FreeText(frozenset({END}), decode), Adapter("m", None, 0, {}), cache, events.append)
    for token in [*text.encode(), *([END] if ends else [])]:
        if not row.is_finished:
            row.choose(torch.nn.functional.one_hot(torch.tensor(token), 256).float(), None)
    end = events.pop()
    assert isinstance(end, Finished)
    return [event.text for event in events if isinstance(event, Delta)], end


def test_an_end_token_ends_with_stop() -> None:
    pieces, end = written("hello")
    assert "".join(pieces) == end.text == "hello"
    assert (end.reason, end.prompt_tokens, end.completion_tokens) == ("stop", 2, 5)


def test_the_limit_ends_with_length() -> None:
    _, end = written("hello", ends=False, max_tokens=3)
    assert (end.text, end.reason, end.completion_tokens) == ("hel", "length", 3)


def test_characters_of_several_tokens_are_sent_whole() -> None:
    pieces, end = written("aé漢!")
    assert pieces == ["a", "é", "漢", "!"] and end.text == "aé漢!"


def test_a_character_that_stays_incomplete_is_not_lost() -> None:
    _, end = written("é", ends=False, max_tokens=1)
    assert end.text == "\ufffd"


@pytest.mark.parametrize("stop", ["lo w", "o", "hello"])
def test_a_stop_text_is_never_sent_even_in_part(stop: str) -> None:
    pieces, end = written("hello world", stop=(stop,))
    assert "".join(pieces) == end.text == "hello world"[: "hello world".index(stop)]
    assert end.reason == "stop"


def test_the_beginning_of_a_stop_text_is_sent_once_it_is_none() -> None:
    pieces, end = written("abcabd", stop=("abd!",))
    assert "".join(pieces) == end.text == "abcabd"


def test_sampling_follows_the_seed_and_the_probabilities() -> None:
    def sample(seed: int) -> str:
        events: list[Event] = []
        cache, request = KeyValues(CacheShape(1, 1, 1), 1), Request("m", (1,), 200, temperature=1.0, seed=seed)
        row = Row(request, FreeText(frozenset(), decode), Adapter("m", None, 0, {}), cache, events.append)
        while not row.is_finished:
            row.choose(torch.tensor([0.0, float(torch.tensor(3.0).log())]), [97, 98])
        return "".join(event.text for event in events if isinstance(event, Delta))

    assert sample(1) == sample(1) != sample(2)
    assert 120 < sample(1).count("b") < 180  # expected 150 of 200
