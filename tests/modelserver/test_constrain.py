"""The constrained decoder alone, with a tokenizer of characters and a few words."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from typing import Any

import pytest

from modelserver.constrain import ConstrainedText, Plan, Vocabulary, compile_plan
from modelserver.schemas import outline
from ratchet.errors import BadInput

TEXTS = [*map(chr, range(128)), '"}', '",', "card", "_lost", ' "', '":', "\\n", "é"]
WORDS = re.compile("|".join(re.escape(text) for text in sorted(TEXTS, key=len, reverse=True)), re.DOTALL)
VOCABULARY = Vocabulary([None, *TEXTS[1:]])


def encode(text: str) -> list[int]:
    return [TEXTS.index(word) for word in WORDS.findall(text)]


def decode(tokens: Sequence[int]) -> str:
    return "".join(TEXTS[token] for token in tokens)


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def plan(**properties: Any) -> Plan:
    return compile_plan(outline(schema(**properties)), encode, lambda: VOCABULARY)


def write(plan: Plan, draw: random.Random) -> ConstrainedText:
    """Take allowed tokens at random, free values ending sooner or later."""
    text = ConstrainedText(plan, decode)
    text.start()
    while not text.is_done and len(text.tokens) < 5000:
        text.take(draw.choice(list(text.allowed())))
    return text


ALL_KINDS = plan(
    route={"type": "string", "enum": ["card", "card_lost", 'quo"te', "ünï"]},
    urgent={"type": "boolean"},
    inner={"type": "object", "properties": {"why": {"type": "string"}, "n": {"type": "integer"}}},
    share={"type": "number"},
    kind={"const": 7},
    last={"enum": [1, 12, None, "1"]},
)


@pytest.mark.parametrize("seed", range(30))
def test_any_path_writes_json_as_json_dumps_does(seed: int) -> None:
    text = write(ALL_KINDS, random.Random(seed))
    document = json.loads(text.text)
    assert text.is_done and text.text == json.dumps(document, ensure_ascii=False)
    assert list(document) == ["route", "urgent", "inner", "share", "kind", "last"]
    assert document["route"] in ("card", "card_lost", 'quo"te', "ünï") and document["urgent"] in (True, False)
    assert isinstance(document["inner"]["why"], str) and type(document["inner"]["n"]) is int
    assert document["kind"] == 7 and document["last"] in (1, 12, None, "1")


@pytest.mark.parametrize("seed", range(10))
def test_an_answer_cut_anywhere_goes_on_from_what_was_settled(seed: int) -> None:
    text = write(ALL_KINDS, random.Random(seed))
    cuts = [text.cut(count) for count in range(len(text.tokens) + 1)]
    assert cuts[0] == "" and cuts[-1] == text.text
    settled = [cuts[count] for count, _ in text._marks]
    assert all(text.text.startswith(cut) for cut in settled)


def test_forced_tokens_come_at_once() -> None:
    text = ConstrainedText(plan(route={"enum": ["card_lost", "card_new"]}), decode)
    assert decode(text.start()) == '{"route": "card'
    assert {TEXTS[i] for i in text.allowed()} == {"_lost", "_"}
    assert decode(text.take(encode("_lost")[0])) == '_lost"}'
    assert text.is_done and text.text == '{"route": "card_lost"}'


def test_an_answer_with_one_possible_text_needs_no_choice() -> None:
    text = ConstrainedText(plan(a={"const": "x"}, b={"type": "null"}), decode)
    assert decode(text.start()) == text.text == '{"a": "x", "b": null}'
    assert text.is_done


def test_a_closing_token_that_writes_less_is_completed() -> None:
    text = ConstrainedText(plan(a={"type": "string"}, b={"type": "boolean"}), decode)
    text.start()
    text.take(encode("card")[0])
    assert decode(text.take(encode('"')[0])) == '", "b": '
    assert text.text == '{"a": "card", "b'


def test_escapes_in_strings_stay_valid() -> None:
    text = ConstrainedText(plan(a={"type": "string"}), decode)
    text.start()
    for token in (TEXTS.index("\\n"), TEXTS.index("é"), TEXTS.index('"}')):
        assert token in text.allowed()
        text.take(token)
    assert text.text == '{"a": "\\né"}'
    assert not {TEXTS.index("\\"), TEXTS.index("\n"), TEXTS.index('",')} & set(
        text.allowed() if not text.is_done else ()
    )


@pytest.mark.parametrize("number", ["-", "1.", "01", "--", "1e", "1..2", "1-"])
def test_what_is_no_number_cannot_be_finished(number: str) -> None:
    text = ConstrainedText(plan(a={"type": "number"}), decode)
    text.start()
    for char in number:
        if TEXTS.index(char) not in text.allowed():
            return
        text.take(TEXTS.index(char))
    assert TEXTS.index("}") not in text.allowed()


def test_values_that_the_tokens_cannot_tell_apart_are_refused() -> None:
    def lossy(text: str) -> list[int]:
        return [1] * len(text)

    with pytest.raises(BadInput, match="cannot tell"):
        compile_plan(outline(schema(a={"enum": ["ab", "cd"]})), lossy, lambda: VOCABULARY)
