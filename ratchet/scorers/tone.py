"""Does an answer keep to the house's rules of tone, which feature.yaml gives as options."""

from __future__ import annotations

import re
import unicodedata

from ratchet.scorers.item import Item, Score
from ratchet.scorers.text import sentences

EMOJI = re.compile("[\U0001f300-\U0001faff☀-➿]")
CONTRACTIONS = re.compile(r"\b\w+(?:n't|'(?:re|ve|ll|d|m))\b", re.IGNORECASE)


def tone(
    item: Item,
    *,
    banned: tuple[str, ...] = (),
    required: tuple[str, ...] = (),
    most_exclamations: int | None = None,
    most_capitals_share: float | None = None,
    longest_sentence: int | None = None,
    emoji: bool = True,
    contractions: bool = True,
) -> Score:
    """The share of the given rules that the answer keeps; unscored where none is given.

    Args:
        item: what is scored.
        banned: words or phrases that must not stand in it, whole words, any case.
        required: words or phrases that must.
        most_exclamations: how many exclamation marks it may have.
        most_capitals_share: which share of its letters may be capitals, from 0 to 1.
        longest_sentence: how many words a sentence may have.
        emoji: false forbids them.
        contractions: false forbids "don't" and the like.
    """
    text = unicodedata.normalize("NFKC", item.output).replace("’", "'")
    letters = [c for c in text if c.isalpha()]
    capitals = sum(c.isupper() for c in letters) / len(letters) if letters else 0.0
    longest = max((len(s.split()) for s in sentences(text)), default=0)
    kept = [("banned word", not _holds(text, phrase)) for phrase in banned]
    kept += [("required word missing", _holds(text, phrase)) for phrase in required]
    kept += [("exclamations", text.count("!") <= most_exclamations)] if most_exclamations is not None else []
    kept += [("capitals", capitals <= most_capitals_share)] if most_capitals_share is not None else []
    kept += [("long sentence", longest <= longest_sentence)] if longest_sentence is not None else []
    kept += [("emoji", EMOJI.search(text) is None)] if not emoji else []
    kept += [("contraction", CONTRACTIONS.search(text) is None)] if not contractions else []
    if not kept:
        return Score(None, "no rule is given")
    broken = sorted({rule for rule, is_kept in kept if not is_kept})
    share = sum(is_kept for _, is_kept in kept) / len(kept)
    return Score(share, f"broken: {', '.join(broken)}" if broken else f"keeps {len(kept)} rules")


def _holds(text: str, phrase: str) -> bool:
    words = r"\s+".join(re.escape(word) for word in phrase.split())
    return bool(words) and re.search(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE) is not None
