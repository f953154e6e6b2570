"""Action: a feature's v1 - its prompt on the base model - stored, tagged and put on channel stable."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ratchet import git
from ratchet.base_models import resolve_base_model
from ratchet.channels import Channels
from ratchet.errors import BadInput
from ratchet.features import Feature, load_feature
from ratchet.ledger import Ledger
from ratchet.params import load_params
from ratchet.prompts import load_prompt
from ratchet.release import BaseModelRef, Release, ReleaseStore, policy_of, write_candidate
from ratchet.settings import Settings
from ratchet.store import Store
from ratchet.trust import pipeline_key, sign_claims
from tasks import version


def build_first(settings: Settings, feature: Feature) -> Release:
    """The content of v1: the feature's prompt, schema and decoding on the base model of params.yaml."""
    model = resolve_base_model(load_params(settings.repo / "params.yaml").base_model, settings)
    return Release(
        feature=feature.name,
        base_model=BaseModelRef(name=model.name, digest=model.digest),
        prompt=load_prompt(settings.repo / "features" / feature.name / "prompts" / "default.md"),
        decoding=feature.decoding,
        output_schema=feature.output_schema,
        policy=policy_of(feature),
    )


def ensure_first_release(settings: Settings, store: Store, ledger: Ledger, channels: Channels, name: str) -> str:
    """Make v1 unless the feature has one. Returns the anchor's release id. Repeatable after a crash at any line.

    Raises:
        BadInput: the clone has no commit to tag.
    """
    found = store.document("anchor", name)
    if found is not None:
        return str(found.body["release_id"])
    feature = load_feature(settings.repo, name)
    head = git.resolve(settings.repo, "HEAD")
    if head is None:
        raise BadInput(f"{settings.repo} has no commit yet; commit your work first")
    release = build_first(settings, feature)
    releases = ReleaseStore.of(settings)
    candidate = Path(settings.home) / "first" / name
    write_candidate(candidate, release)
    release_id = releases.put(candidate)
    if not git.tags(settings.repo, f"{name}@v*"):
        version.tag_release(settings.repo, name, head)
    claims: dict[str, Any] = {"version": "v1.0.0", "feature": name, "commit": head, "intent": feature.intent}
    claims |= {"owners": list(feature.owners), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    releases.attest(release_id, sign_claims(pipeline_key(settings), release_id, claims))
    ledger.append_once("first release", release_id, feature=name)
    channels.begin(name, release_id, at=datetime.now(UTC), by="ratchet", reason="first release")
    store.create_document("anchor", name, name, {"release_id": release_id})
    return release_id
