"""A mirrored request: how the answer that the user got compares with that of a release on trial, in numbers only.

No word of either answer is kept here: the user's is in its interaction, the other one was for nobody.
"""

from __future__ import annotations

from pydantic import AwareDatetime

from ratchet.records import Record, Usage

Signals = dict[str, bool | float]


class Mirrored(Record):
    """The signals of both answers to one request, and what the second one cost.

    `is_same`: whether both said the same to the letter; None where one of them said nothing.
    """

    mirror_id: str
    rollout_id: str
    interaction_id: str
    feature: str
    tenant: str
    user_id: str
    at: AwareDatetime
    champion: Signals
    candidate: Signals
    is_same: bool | None = None
    usage: Usage = Usage()
    cost_usd: float | None = None
