"""What people's behaviour says about an answer: four signals, each with a written rule, a confidence and a weight.

| signal | rule | confidence |
|---|---|---|
| rephrase | within ten minutes the next question says nearly the same in other words, or complains | likeness, or 0.8 |
| escalation | the next question asks for a person, or the application marks a hand-over | 0.8, or 1 |
| accept | the next question begins with thanks or "solved", or the application marks a copy | 0.8, or 1 |
| abandon | the session ends on an answer that was empty, or to a question that repeated or complained | 0.5 |

A turn has at most one of the first three, and they speak of the answer before the words. What they are worth is
measured on real chats (benchmarks/bench_signals.py) and stands in `WEIGHT`; what predicts nothing weighs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Literal, NamedTuple

Kind = Literal["rephrase", "abandon", "escalation", "accept"]
WEIGHT: dict[Kind, float] = {"rephrase": 0.1, "abandon": 0.0, "escalation": 0.0, "accept": 0.0}

WITHIN = timedelta(minutes=10)  # later, a person comes back with the same need rather than for another answer
LIKENESS = 0.5  # Jaccard index of character trigrams: half of what either question says stands in both
ABANDONED_AFTER = timedelta(minutes=30)  # the usual end of a web session
HEAD = 100  # a cue counts in the first so many characters: later it is part of what is asked about
LONGEST = 2000  # characters compared; a longer question is a document, and its beginning tells

# Cues, a line per language; short on purpose: a cue that fires wrongly costs more than one that is missed.
COMPLAINT = (
    r"no,? i (?:meant?|asked|said|want(?:ed)?)\b|i meant\b|not what i\b",
    r"th(?:at|is)(?:'s| is| was) (?:not|wrong|incorrect)\b",
    r"you (?:did not|didn't|have not|haven't) (?:answer|underst)|(?:you )?misunderst|wrong answer|still not\b",
    r"nein,? ich|ich meinte|das (?:ist|war) (?:falsch|nicht)|nicht das,? was",
    r"non,? je|je voulais dire|ce n'est pas|c'est faux",
    r"no,? quise decir|no es lo que|me refería|eso no es",
    r"não foi isso|não,? eu|quis dizer|não é isso",
    r"no,? intendevo|non è quello|nee,? ik|ik bedoelde|nie,? chodzi",
)
PERSON = (
    r"\b(?:speak|talk|chat|(?:connect|transfer|put|pass|get) me)\b[^.?!]{0,20}"
    r"\b(?:human|person|agent|representative|operator|someone|supervisor|advisor)\b",
    r"\bi (?:want|need|would like) (?:a |an )?(?:real |actual |live |human )?(?:human|agent|representative|operator)\b",
    r"\b(?:real (?:person|human)|human (?:agent|please|support)|live (?:agent|chat|support))\b",
    r"\bmit (?:einem |einer )?(?:echten )?(?:menschen|mitarbeiter|berater|person)",
    r"\bparler à (?:un|une) (?:humain|conseill|personne|agent)",
    r"\bhablar con (?:un |una )?(?:humano|persona|agente|asesor)",
    r"\bfalar com (?:um |uma )?(?:humano|pessoa|atendente)",
    r"\bparlare con (?:un |una )?(?:umano|persona|operatore)|\bmet een (?:mens|medewerker)",
)
THANKS = (
    r"(?:many )?thanks?(?! (?:you )?in advance)\b|thank you(?! in advance)\b|thx\b|ty\b|cheers\b",
    r"(?:that|this|it)(?:'s| is| has)? (?:work(?:s|ed)|solved|help(?:s|ed)|fixed|perfect)\b",
    r"(?:problem )?solved\b|got it\b",
    r"(?:great|perfect|awesome|excellent)\s*(?:[.!,]|$)",
    r"danke\b|vielen dank|merci\b|(?:muchas )?gracias\b|obrigad[oa]\b|grazie\b|dank je|bedankt|dziękuję|спасибо",
    r"谢谢|ありがとう|감사",
)

WORDS = re.compile(r"\w+")


def _cue(before: str, phrases: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(f"{before}(?:{'|'.join(phrases)})", re.IGNORECASE)


COMPLAINS = _cue(r"(?:^\W*|[.!?,;:]\s+|\bbut )", COMPLAINT)
ASKS_FOR_PERSON = _cue("", PERSON)
ACCEPTS = _cue(r"^\W*(?:(?:ok(?:ay)?|yes|ah|oh|great|perfect|awesome|super|wow)\b[\s,.!-]*)?", THANKS)


class Signal(NamedTuple):
    """What a person's behaviour says about one answer, and when it was known; `confidence` is above 0, up to 1."""

    interaction_id: str
    kind: Kind
    at: datetime
    confidence: float


def derive_signals(turns: Iterable[Mapping[str, Any]]) -> Iterator[Signal]:
    """The signals of all sessions; in memory are two turns. Turns without a session say nothing.

    An `abandon` is dated half an hour after the last turn: whoever reads a log before that leaves it out.

    Args:
        turns: sorted by (tenant, session_id, at, interaction_id), with tenant, session_id, at (ISO text or datetime),
            interaction_id, input_text, output; `attributes`, if there, may say `escalated` or `copied`.
    """
    for (_, session_id), session in groupby(turns, key=lambda turn: (turn["tenant"], turn["session_id"])):
        if session_id:
            yield from _of_session(session)


def likeness(one: str, other: str) -> float:
    """The Jaccard index of the character trigrams of two texts, 0 to 1; case, spaces and punctuation do not count."""
    return _jaccard(_trigrams(_plain(one)), _trigrams(_plain(other)))


def is_repeated(before: str, after: str) -> bool:
    """Whether two texts are the same but for case, spaces and punctuation: sent twice, not asked anew."""
    return _plain(before) == _plain(after)


class _Turn(NamedTuple):
    """A turn with what two turns are compared by, worked out once."""

    interaction_id: str
    at: datetime
    head: str
    plain: str
    trigrams: frozenset[str]
    is_empty: bool
    marked: Signal | None


def _of_session(session: Iterator[Mapping[str, Any]]) -> Iterator[Signal]:
    before: _Turn | None = None
    is_retry = False  # whether the question of `before` repeats or complains
    for turn in map(_read, session):
        if before is not None:
            found = _between(before, turn)
            is_retry = found is not None and found.kind == "rephrase"
            said = before.marked or found
            if said is not None:
                yield said
        before = turn
    assert before is not None
    if before.marked is not None:
        yield before.marked
    elif is_retry or before.is_empty:
        yield Signal(before.interaction_id, "abandon", before.at + ABANDONED_AFTER, 0.5)


def _between(before: _Turn, after: _Turn) -> Signal | None:
    """What the next words say about the answer before them."""
    is_soon = after.at - before.at <= WITHIN
    if ASKS_FOR_PERSON.search(after.head):
        return Signal(before.interaction_id, "escalation", after.at, 0.8)
    if is_soon and COMPLAINS.search(after.head):
        return Signal(before.interaction_id, "rephrase", after.at, 0.8)
    if is_soon and before.plain != after.plain:
        like = _jaccard(before.trigrams, after.trigrams)
        if like >= LIKENESS:
            return Signal(before.interaction_id, "rephrase", after.at, round(like, 3))
    if ACCEPTS.search(after.head):
        return Signal(before.interaction_id, "accept", after.at, 0.8)
    return None


def _read(turn: Mapping[str, Any]) -> _Turn:
    at, text, interaction_id = turn["at"], turn["input_text"] or "", turn["interaction_id"]
    at = datetime.fromisoformat(at) if isinstance(at, str) else at
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    plain = _plain(text)
    is_empty = not (turn["output"] or "").strip()
    marked = _marked(turn.get("attributes"), interaction_id, at)
    return _Turn(interaction_id, at, text[:HEAD], plain, _trigrams(plain), is_empty, marked)


def _marked(noted: Any, interaction_id: str, at: datetime) -> Signal | None:
    """What the application itself noted about an answer."""
    noted = noted if isinstance(noted, Mapping) else {}
    if noted.get("escalated") is True:
        return Signal(interaction_id, "escalation", at, 1.0)
    if noted.get("copied") is True:
        return Signal(interaction_id, "accept", at, 1.0)
    return None


def _plain(text: str) -> str:
    return " ".join(WORDS.findall(text[:LONGEST].casefold()))


def _trigrams(plain: str) -> frozenset[str]:
    return frozenset([plain[i : i + 3] for i in range(max(1, len(plain) - 2))])


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    shared = len(a & b)
    return shared / max(1, len(a) + len(b) - shared)
