"""Decisions on a review queue, kept as feedback of an agent: curate uses them as it uses any other."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.files import canonical_json, sha256_text
from ratchet.records import Feedback, Source
from ratchet.review import Decision, Item
from ratchet.store import Store, interactions
from ratchet.store import feedback as feedbacks

PREFIX = "review_"
TICK = timedelta(microseconds=1)
CHUNK = 500  # ids in one query


class FeedbackBook:
    """The decisions of all reviewers of a feature, read from the store's feedback."""

    is_blind = False

    def __init__(self, store: Store, feature: Feature) -> None:
        """Start with nothing read; `refresh` reads what is there."""
        self._store, self._feature = store, feature
        self._last_seq = 0
        self._decisions: dict[str, dict[str, Decision]] = defaultdict(dict)

    def refresh(self) -> None:
        """Read the decisions that were stored since the last time."""
        query = (
            sa.select(feedbacks.c.seq, feedbacks.c.body)
            .where(feedbacks.c.seq > self._last_seq, feedbacks.c.feedback_id.startswith(PREFIX, autoescape=True))
            .order_by(feedbacks.c.seq)
        )
        with self._store.reader.connect() as connection:
            rows = connection.execute(query).fetchall()
        for seq, body in rows:
            self._last_seq = seq
            said = Feedback.model_validate_json(body)
            if said.kind == "correction" and said.source.type == "agent":
                self._take(said)

    def closed(self, items: Sequence[Item]) -> frozenset[str]:
        """The items whose interaction the store does not know: where its id was personal data, a queue has another."""
        return frozenset(self.unknown([item.interaction_id for item in items]))

    def unknown(self, interaction_ids: Sequence[str]) -> set[str]:
        """Those of the ids under which the feature has no interaction in the store."""
        found: set[str] = set()
        with self._store.reader.connect() as connection:
            for start in range(0, len(interaction_ids), CHUNK):
                query = sa.select(interactions.c.interaction_id).where(
                    interactions.c.feature == self._feature.name,
                    interactions.c.interaction_id.in_(interaction_ids[start : start + CHUNK]),
                )
                found.update(connection.execute(query).scalars())
        return set(interaction_ids) - found

    def decisions(self, key: str) -> list[Decision]:
        """The last decision of each reviewer on an interaction, oldest first."""
        return sorted(list(self._decisions.get(key, {}).values()), key=lambda d: d.at)

    def of(self, reviewer: str) -> list[Decision]:
        """A reviewer's last decision on each interaction, oldest first."""
        found = (said[reviewer] for said in list(self._decisions.values()) if reviewer in said)
        return sorted(found, key=lambda d: d.at)

    def decide(self, item: Item, reviewer: str, target: str, now: datetime) -> bool:
        """Store a decision; the reviewer's last word said again changes nothing."""
        return self.decide_on(item.interaction_id, reviewer, target, now)

    def decide_on(self, interaction_id: str, reviewer: str, target: str, now: datetime) -> bool:
        """The same for an interaction that stands in no queue any more.

        The id of a decision is the digest of what it says and of the reviewer's word before it. So a change of mind and
        back again is three decisions, of which the last counts, and a second press of a key is none.
        """
        before = self._decisions.get(interaction_id, {}).get(reviewer)
        if before is not None and before.target == target:
            return False
        identity = canonical_json([interaction_id, reviewer, target, before.decision_id if before else None])
        said = Feedback(
            feedback_id=PREFIX + sha256_text(identity)[:32],
            interaction_id=interaction_id,
            at=now if before is None else max(now, before.at + TICK),  # the later word counts, also when clocks jump
            kind="correction",
            value=to_value(self._feature, target),
            source=Source(type="agent", id=reviewer),
        )
        is_new = self._store.add_feedback([said]) == 1
        self._take(said)
        return is_new

    def _take(self, said: Feedback) -> None:
        try:
            target = self._feature.wrap_target(said.value)
        except (BadInput, TypeError):  # a label that left the schema since: it is to be decided anew
            return
        decision = Decision(said.interaction_id, said.source.id, target, said.at, said.feedback_id)
        before = self._decisions[said.interaction_id].get(said.source.id)
        if before is None or before.at <= decision.at:
            self._decisions[said.interaction_id][said.source.id] = decision


def to_value(feature: Feature, target: str) -> Any:
    """A target as the value of a correction: the bare label where it says no more than that, else JSON or the text."""
    if feature.output_schema is None:
        return target
    label = feature.label_of(target)
    return label if label is not None and feature.wrap_target(label) == target else json.loads(target)
