"""Stops: a gateway's own word that it took a canary's traffic back, kept in the store until a tick has acted on it.

Only a tick or a rollback moves pointers; a gateway may stop a canary at once, with everything else down, and says so
here. A stop is written once for each rollout, whichever gateway comes first, and never changes.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from ratchet.ledger import Ledger
from ratchet.store import Store

KIND = "stop"
EVENT = "canary_stopped"


class Stop(BaseModel):
    """That `failed` of the last `seen` requests of a rollout's canary failed where stable answered."""

    model_config = ConfigDict(frozen=True)

    rollout_id: str
    feature: str
    release_id: str
    at: datetime
    failed: int
    seen: int

    @property
    def why(self) -> str:
        """The reason as the channel's history keeps it."""
        return f"The gateway stopped the canary: {self.failed} of its last {self.seen} requests failed."


def keep_stop(store: Store, stop: Stop) -> None:
    """Write a stop; one of the same rollout that is there already is left as it is."""
    store.create_document(KIND, stop.rollout_id, stop.feature, stop.model_dump(mode="json"))


def stops(store: Store, feature: str | None = None) -> list[Stop]:
    """Every stop there ever was, of one feature where it is named."""
    return [Stop.model_validate(document.body) for document in store.documents(KIND, feature)]


def stop_of(store: Store, rollout_id: str) -> Stop | None:
    """The stop of a rollout; None where its canary was never stopped."""
    document = store.document(KIND, rollout_id)
    return Stop.model_validate(document.body) if document else None


def note_stops(store: Store, ledger: Ledger, feature: str) -> None:
    """Append the stops of a feature that the ledger lacks, each once."""
    for stop in stops(store, feature):
        facts = stop.model_dump(mode="json", exclude={"release_id"})
        ledger.append_once(EVENT, stop.release_id, **facts, by="gateway")
