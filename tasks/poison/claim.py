"""The unit of trust: who says what is right about which answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Claim:
    """What one source says of one answer."""

    interaction_id: str
    tenant: str
    session_id: str | None
    user_id: str | None
    source_type: str
    source_id: str
    at: datetime
    text: str
    own: str | None
    target: str | None
    is_written: bool
    weight: float
    kind: str
    flaw: str | None = None
