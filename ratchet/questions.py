"""What was asked, as a text: how two conversations are compared, and how copies are told from other questions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.files import canonical_json
from ratchet.pii import mask_text


def question_text(messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str:
    """What two conversations are compared by: all turns but the system's, and the variables."""
    turns = [str(message["content"]) for message in messages if message["role"] not in ("system", "developer")]
    return "\n".join([*turns, canonical_json(variables)] if variables else turns)


def normalise(text: str) -> str:
    """A text by which copies are found: one case, one space, no punctuation, personal data as its kind alone."""
    plain = unicodedata.normalize("NFKC", mask_text(text)).casefold()
    return " ".join(re.findall(r"\w+", plain)) or plain.strip()
