"""Guards: what is looked for in a question before it goes to a model, and in an answer before it goes to a user.

One function for the gateway and for whoever tries a release on recorded requests. They are tripwires: patterns and word
lists, which miss what is put cleverly and know no language but English (personal data aside). What they find is named
by kind, never quoted.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ratchet.params import Section

Mode = Literal["off", "log", "annotate", "block"]


class Checks(Section):
    """What is looked for, each with what happens where it is found.

    `log` counts it, `annotate` also notes it in the record and in the header `x-ratchet-guards`, `block` refuses.

    Attributes:
        injection: words that would have a model forget its instructions, give them away, or take text for a role.
        pii: personal data by patterns; in an answer only what the question and its contexts did not hold.
        toxicity: insults, threats, profanity, slurs.
        moderation: what the moderation endpoint flags (the backend of the model `moderation`).
    """

    injection: Mode = "off"
    pii: Mode = "off"
    toxicity: Mode = "off"
    moderation: Mode = "off"


class Guards(Section):
    """A feature's guards; `repair_schema` asks once more where an answer is not JSON of the feature's schema."""

    input: Checks = Checks()
    output: Checks = Checks()
    repair_schema: bool = False

    @property
    def needs_whole_answer(self) -> bool:
        """Whether an answer must be there to its end before any of it is sent: what was sent cannot be taken back."""
        found = self.output
        return self.repair_schema or "block" in (found.injection, found.pii, found.toxicity, found.moderation)


class Finding(NamedTuple):
    """What was found, as `pii: EMAIL x2`, and what is to happen."""

    check: str
    what: str
    mode: Mode


# Each is about the model's own instructions, so that ordinary talk of rules and roles passes.
INJECTIONS = {
    "override": re.compile(
        r"\b(?:ignore|disregard|forget|override|bypass|do not follow|don't follow)\b[^.!?\n]{0,40}"
        r"\b(?:previous|prior|above|earlier|preceding|initial|original|system|all (?:of )?(?:the|your))\b[^.!?\n]{0,30}"
        r"\b(?:instruction|prompt|rule|direction|guideline|message|context|command|told)"
    ),
    "disclosure": re.compile(
        r"\b(?:reveal|show|print|repeat|output|display|tell me|give me|what (?:is|are|was|were)|leak|recite)\b"
        r"[^.!?\n]{0,40}\b(?:system prompt|system message|(?:your|the) (?:initial|original|hidden|secret|exact|full)"
        r" (?:prompt|instructions|rules)|your (?:prompt|instructions)|(?:everything|words|text) above)"
    ),
    "role change": re.compile(
        r"\byou are (?:now|no longer)\b[^.!?\n]{0,60}\b(?:dan|jailbroken|unrestricted|unfiltered|uncensored|evil|"
        r"developer mode|without (?:any )?(?:restrictions|rules|limits|filters)|bound by|an ai|assistant)"
        r"|\b(?:enable|enter|activate|switch to|act in) (?:developer|dan|god|jailbreak|debug|admin|root|sudo) mode\b"
        r"|\bdo anything now\b"
        r"|\b(?:pretend|act|behave|respond|answer)\b[^.!?\n]{0,30}\b(?:no|without|free of|ignoring)\b[^.!?\n]{0,20}"
        r"\b(?:restrictions|rules|guidelines|filters|limitations|ethics|policies)"
    ),
    "role marker": re.compile(
        r"<\|?/?(?:im_start|im_end|system|endoftext|eot_id|start_header_id)\|?>|\[/?inst\]|<</?sys>>"
        r"|^\s*#{0,3}\s*(?:system|assistant)\s*(?:prompt|message|override)?\s*:\s*\S",
        re.M,
    ),
    "exfiltration": re.compile(r"!\[[^\]]*\]\(https?://[^)\s]*[?&][^)\s]*=[^)\s]*\)"),
}
ENCODED = re.compile(r"[A-Za-z0-9+/]{40,4000}={0,2}")
TAGS = re.compile("[\U000e0020-\U000e007e]{4,}")  # letters that no screen shows; flags of countries have fewer
INVISIBLE = re.compile("[\u200b-\u200f\u2060-\u2064\ufeff\u00ad\U000e0000-\U000e007f]")


def check_input(checks: Checks, messages: Iterable[str], contexts: Iterable[str] = ()) -> list[Finding]:
    """What a request's messages hold, and the passages beside them (of which only injections are looked for)."""
    texts = list(messages)
    found = []
    if checks.injection != "off":
        kinds = (kind for text in [*texts, *contexts] for kind in find_injections(text))
        found += _finding("injection", kinds, checks.injection)
    if checks.pii != "off":
        found += _finding("pii", _personal(texts), checks.pii)
    if checks.toxicity != "off":
        found += _finding("toxicity", _toxic(texts), checks.toxicity)
    return found


def check_output(checks: Checks, answer: str, messages: Sequence[str], contexts: Iterable[str] = ()) -> list[Finding]:
    """What an answer holds; personal data only where neither the messages nor the contexts held it."""
    found = []
    if checks.injection != "off":
        found += _finding("injection", find_injections(answer), checks.injection)
    if checks.pii != "off":
        found += _finding("pii", _personal([answer], known=[*messages, *contexts]), checks.pii)
    if checks.toxicity != "off":
        found += _finding("toxicity", _toxic([answer]), checks.toxicity)
    return found


def find_injections(text: str) -> set[str]:
    """The kinds of injection in a text, also where letters look otherwise, are invisible, or are Base64."""
    plain = _even_out(text)
    found = {kind for kind, pattern in INJECTIONS.items() if pattern.search(plain)}
    if TAGS.search(text):
        found.add("hidden text")
    for encoded in ENCODED.findall(text)[:20]:
        if {kind for kind, pattern in INJECTIONS.items() if pattern.search(_even_out(_decode(encoded)))}:
            found.add("encoded")
    return found


def problem_of(schema: Mapping[str, Any], answer: str) -> str | None:
    """Why an answer is not JSON of a schema, without quoting it; None where it is."""
    from ratchet.scorers.item import Item
    from ratchet.scorers.structure import schema_valid

    score = schema_valid(Item(output=answer), schema=dict(schema))
    return score.reason if score.score == 0.0 else None


def repair_messages(messages: Sequence[Mapping[str, Any]], answer: str, problem: str) -> list[dict[str, Any]]:
    """What is sent to have an answer put right: the question, the answer, and what is wrong with it."""
    asked = f"Your answer cannot be used ({problem}). Answer once more, with nothing but JSON of the schema."
    return [*map(dict, messages), {"role": "assistant", "content": answer}, {"role": "user", "content": asked}]


def _finding(check: str, kinds: Iterable[str], mode: Mode) -> list[Finding]:
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    what = ", ".join(f"{kind} x{n}" if n > 1 else kind for kind, n in sorted(counts.items()))
    return [Finding(check, what, mode)] if counts else []


def _personal(texts: Iterable[str], known: Iterable[str] = ()) -> list[str]:
    from ratchet.pii import find_pii

    said = {text[span.start : span.end].casefold() for text in known for span in find_pii(text)}
    found = ((text[span.start : span.end].casefold(), span.type) for text in texts for span in find_pii(text))
    return [kind for datum, kind in found if datum not in said]


def _toxic(texts: Iterable[str]) -> list[str]:
    from ratchet.scorers.toxicity import find_toxic

    return [kind for text in texts for kind in find_toxic(text)]


def _even_out(text: str) -> str:
    plain = INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold().replace("’", "'")
    return re.sub(r"[^\S\n]+", " ", plain)


def _decode(encoded: str) -> str:
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode("utf-8", "ignore")
    except (binascii.Error, ValueError):
        return ""
