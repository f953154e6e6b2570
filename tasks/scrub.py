"""Cleaning step scrub: interactions and feedback without personal data (record -> record), many at a time.

Names that a conversation's metadata give, and full names found earlier in a record, are looked for in all that follows:
"Anna" after "Anna Kowalska" gets the same pseudonym. Linking stops at the record (which carries its conversation's
earlier messages), so a record comes out the same whatever else is scrubbed with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import ValidationError

from ratchet.features import Privacy
from ratchet.pii import Span, find_pii, pseudonym, replace_spans
from ratchet.pii_records import conversation_of, rewrite_texts
from ratchet.records import Feedback, Interaction
from tasks.ner import Detector, find_all, may_hold_names, merge_spans
from tasks.ner_cues import is_ordinary

PEOPLE = ("user", "agent")
SHORTEST_PART = 3  # of a name that is looked for by itself


class Item(NamedTuple):
    """A record to scrub: an interaction, or a feedback with the interaction that it speaks of."""

    interaction: Interaction
    feedback: Feedback | None = None


@dataclass
class Names:
    """The names known so far in a record, in lower case: each part of a full name leads to the whole."""

    wholes: list[str] = field(default_factory=list)
    whole_of: dict[str, str] = field(default_factory=dict)

    def learn(self, name: str) -> None:
        """Remember a name; of two that share a part the earlier one keeps it."""
        words = name.casefold().split()
        whole = " ".join(words)
        if whole and whole not in self.wholes:
            self.wholes.append(whole)
            for word in words:
                self.whole_of.setdefault(word.strip(".,"), whole)

    def find(self, text: str) -> Iterator[Span]:
        """Where known names stand: whole ones in any case, everyday words and parts with their capital only."""
        if self.wholes:
            for match in _pattern_of(tuple(self.wholes)).finditer(text):
                if match["whole"] or match.group()[0].isupper():
                    yield Span("PERSON", *match.span())

    def same_as(self, datum: str) -> str:
        """The name whose pseudonym a name gets: of one word the whole it is part of, of more words itself."""
        return datum if " " in datum else self.whole_of.get(datum, datum)


def scrub_records(
    items: Sequence[Item], detector: Detector, privacy: Privacy, *, key: bytes
) -> list[Interaction | Feedback | None]:
    """Each record without personal data, in their order; users, agents and sessions as pseudonyms.

    None stands for a record that would no longer be valid (a comment that grew beyond its limit).

    A feedback shares the pseudonyms of its interaction.
    """
    rows = [(item.feedback or item.interaction).model_dump(mode="json") for item in items]
    own = [_texts_of(row) for row in rows]
    before = [_texts_before(item, texts) for item, texts in zip(items, own, strict=True)]
    texts = list(dict.fromkeys(text for found in (*own, *before) for text in found))
    found = dict(zip(texts, find_all(detector, texts), strict=True))
    records: list[Interaction | Feedback | None] = []
    for item, row, earlier in zip(items, rows, before, strict=True):
        scrub = _Scrubbing(found, key, conversation_of(item.interaction), _names_given(item.interaction, privacy))
        for text in earlier:
            scrub(text)
        scrubbed = rewrite_texts(row, scrub)
        try:
            records.append(_with_ids(item, scrubbed, key))
        except ValidationError:
            records.append(None)
    return records


def scrub_id(value: str, *, key: bytes) -> str:
    """The id itself; one that holds personal data (an address used as an id) becomes a pseudonym as a whole."""
    return pseudonym(value, key=key, kind="id") if find_pii(value) else value


@dataclass
class _Scrubbing:
    """Scrubs the texts of one record in their order, and learns names on the way."""

    found: Mapping[str, list[Span]]
    key: bytes
    scope: str
    names: Names

    def __call__(self, text: str) -> str:
        spans = self.found[text]
        for name in (text[span.start : span.end] for span in spans if span.type == "PERSON"):
            if " " in name:
                self.names.learn(name)
        if self.names.wholes:
            spans = merge_spans(text, spans, self.names.find(text))
        return replace_spans(text, spans, key=self.key, scope=self.scope, same_as=self.names.same_as)


def _texts_of(row: dict[str, Any]) -> list[str]:
    texts: list[str] = []

    def note(text: str) -> str:
        texts.append(text)
        return text

    rewrite_texts(row, note)
    return texts


def _texts_before(item: Item, own: Sequence[str]) -> list[str]:
    """What the names in a feedback may refer to: its interaction's texts, where the feedback may hold a name."""
    if item.feedback is None or not any(may_hold_names(text) for text in own):
        return []
    return _texts_of(item.interaction.model_dump(mode="json"))


def _names_given(interaction: Interaction, privacy: Privacy) -> Names:
    """The names that variables and attributes give under the keys of privacy.names."""
    names = Names()
    if "PERSON" in privacy.entities:
        for path in privacy.names:
            for source in (interaction.input.variables, interaction.attributes):
                value: Any = source
                for step in path.split("."):
                    value = value.get(step) if isinstance(value, dict) else None
                if isinstance(value, str) and 1 < len(value.strip()) <= 100:
                    names.learn(value.strip())
    return names


@lru_cache(maxsize=4096)
def _pattern_of(wholes: tuple[str, ...]) -> re.Pattern[str]:
    everyday = [w for w in wholes if " " not in w and is_ordinary(w)]
    whole = [w for w in wholes if w not in everyday]
    parts = [p for w in wholes for p in w.split() if " " in w and len(p) >= SHORTEST_PART and not is_ordinary(p)]
    either = [
        rf"(?P<whole>{_any_of(whole)})" if whole else r"(?P<whole>(?!))",
        *([_any_of(parts + everyday)] if parts or everyday else []),
    ]
    return re.compile(rf"(?<!\w)(?:{'|'.join(either)})(?!\w)", re.IGNORECASE)


def _any_of(literals: Sequence[str]) -> str:
    longest_first = sorted(set(literals), key=lambda literal: (-len(literal), literal))
    return "|".join(re.escape(literal).replace(r"\ ", r"\s{1,3}") for literal in longest_first)


def _with_ids(item: Item, row: dict[str, Any], key: bytes) -> Interaction | Feedback:
    row["interaction_id"] = scrub_id(row["interaction_id"], key=key)
    if item.feedback is None:
        row["user_id"] = _pseudonym(row["user_id"], key=key, kind="user")
        row["session_id"] = _pseudonym(row["session_id"], key=key, kind="session")
        return Interaction.model_validate(row)
    row["feedback_id"] = scrub_id(row["feedback_id"], key=key)
    source = item.feedback.source
    is_person = source.type in PEOPLE
    source_id = pseudonym(source.id, key=key, kind=source.type) if is_person else scrub_id(source.id, key=key)
    row["source"] = {"type": source.type, "id": source_id}
    return Feedback.model_validate(row)


def _pseudonym(value: str | None, *, key: bytes, kind: str) -> str | None:
    return pseudonym(value, key=key, kind=kind) if value else None
