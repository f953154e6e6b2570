"""Action: a release that is worse on purpose, for the demo and the benchmark; store, attestation and ledger say so."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime

from ratchet import git
from ratchet.errors import BadInput
from ratchet.features import enum_field
from ratchet.ledger import Ledger
from ratchet.release import Release, ReleaseStore
from ratchet.settings import Settings
from ratchet.trust import pipeline_key, sign_claims

EVENT = "sabotage"
KEPT_SHARE = 0.25


def misroute(release: Release, kept_share: float = KEPT_SHARE) -> Release:
    """The release after an edit that lost labels of its schema: every message gets one of the first few.

    Model, adapter, prompt and form of the answers are the same, so that nothing but the answers' sense tells.

    Raises:
        BadInput: its schema has no single enum of two labels or more.
    """
    found = enum_field(release.output_schema)
    if found is None or len(found[1]) < 2:
        raise BadInput(f"{release.feature} chooses from no list of labels, so none can be lost")
    field, labels = found
    schema = deepcopy(release.output_schema)
    assert schema is not None
    schema["properties"][field]["enum"] = labels[: max(1, int(kept_share * len(labels)))]
    return release.model_copy(update={"output_schema": schema})


def store_sabotage(settings: Settings, releases: ReleaseStore, ledger: Ledger, champion_id: str) -> str:
    """Put the misrouting twin of a release in the store, attested and in the ledger as what it is; it is live nowhere.

    Repeatable. Returns its id.

    Raises:
        BadInput: `misroute` cannot spoil it, or the clone has no commit.
    """
    release = misroute(releases.get(champion_id))
    release_id = releases.put_variant(champion_id, release)
    head = git.resolve(settings.repo, "HEAD")
    if head is None:
        raise BadInput(f"{settings.repo} has no commit yet; commit your work first")
    known = releases.attestation(champion_id)
    intent = f"Sabotage for a demonstration: {champion_id} with most of its labels lost."
    claims = {"feature": release.feature, "commit": head, "intent": intent, "owners": known.get("owners", [])}
    claims |= {"sabotage_of": champion_id, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    releases.attest(release_id, sign_claims(pipeline_key(settings), release_id, claims))
    ledger.append_once(EVENT, release_id, feature=release.feature, of=champion_id)
    return release_id


def is_sabotage(ledger: Ledger, release_id: str) -> bool:
    """Whether the ledger knows a release as one that is worse on purpose."""
    return bool(ledger.entries(event=EVENT, subject=release_id))
