"""Sound documents spoiled at random, as strangers and broken networks do; deterministic by the given generator."""

import copy
import json
import random
from typing import Any

SECRET = "hunter2"  # what a user wrote: it may stand in records, never in an answer, a reason or a log
ODD: list[Any] = [None, True, 0, -1, 1e308, 2**63, 2**70, "", " ", SECRET, "\x00", "\ud800", "=cmd|'/c'!A1", [], {}]
ODD += [[[]], [None], {"": SECRET}, {SECRET: 1}, "[1", '{"a":', "9999-12-31T23:59:59-14:00", "1e999", "[" * 70]
ODD += [float("nan"), float("inf"), "x" * 70_000, {"stringValue": {}}, {"arrayValue": {"values": [{}]}}]
BOMBS = (b"[", b'{"a":', b'{"kvlistValue":{"values":[{"key":"k","value":')


def spoiled(document: Any, draw: random.Random, *, damage: float) -> bytes:
    """The document as JSON with one to three values replaced, removed, wrapped or doubled.

    damage: how often its bytes are cut, doubled or sprinkled with bytes that are no text as well.
    """
    made = [copy.deepcopy(document)]
    for _ in range(draw.randint(1, 3)):
        _change(made, draw)
    text = json.dumps(made[0]).encode()
    return damaged(text, draw) if draw.random() < damage else text


def damaged(text: bytes, draw: random.Random) -> bytes:
    """Bytes cut, doubled, sprinkled or replaced by a depth bomb."""
    at = draw.randrange(len(text) + 1)
    ways = [text[:at], text[:at] + b"\x00" + text[at:], text[:at] + b"\xff\xfe" + text[at:], text[at:] + text[:at]]
    bomb = draw.choice(BOMBS) * draw.choice([80, 2000])
    return draw.choice([*ways, text[:at] + text[at // 2 :], bomb, text[:at] + bomb + text[at:]])


def _change(made: list[Any], draw: random.Random) -> None:
    holder, key = draw.choice(list(_places(made)))
    if holder is made or draw.random() < 0.6:
        holder[key] = copy.deepcopy(draw.choice(ODD))
    elif draw.random() < 0.4:
        del holder[key]
    elif isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    else:
        holder[key] = [holder[key]]


def _places(value: Any) -> Any:
    """Every (container, key) inside a document."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
