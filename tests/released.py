"""A machine with signed releases in a temporary folder: what pipeline and verifier leave behind."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ratchet.approvals import APPROVAL_KEY, APPROVAL_TYPE, Approval, Envelope, with_approval
from ratchet.channels import Channels
from ratchet.features import Decoding
from ratchet.files import write_whole
from ratchet.ledger import Ledger
from ratchet.prompts import Prompt
from ratchet.release import BaseModelRef, Release, ReleasePolicy, ReleaseStore, adapter_ref, write_candidate
from ratchet.settings import Settings
from ratchet.signing import public_pem, sign, signing_key
from ratchet.store import Store
from ratchet.trust import FIRST_RUN, Trust, local_trust, pipeline_key, sign_claims

AT = datetime(2026, 1, 2, tzinfo=UTC)
WEIGHTS = (2).to_bytes(8, "little") + b"{}"


def made_candidate(root: Path, text: str, *, weights: bytes | None = None, **changes: Any) -> Path:
    """A folder as an arm writes it, under candidates/ of `root`; with `weights` the release has an adapter."""
    folder = root / "candidates" / str(len(list(root.glob("candidates/*"))))
    folder.mkdir(parents=True)
    if weights is not None:
        (folder / "adapter").mkdir()
        (folder / "adapter" / "adapter_config.json").write_text("{}")
        (folder / "adapter" / "adapter_model.safetensors").write_bytes(weights)
    fields: dict[str, Any] = {
        "feature": "routing",
        "base_model": BaseModelRef(name="tiny", digest="d1"),
        "adapter": adapter_ref(folder / "adapter") if weights is not None else None,
        "prompt": Prompt(text=text),
        "decoding": Decoding(),
        "policy": ReleasePolicy(mode="managed", scorer="label_accuracy"),
    }
    write_candidate(folder, Release(**(fields | changes)))
    return folder


class Machine:
    """Releases, channels and ledger of one home."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.database_url)
        self.ledger = Ledger(self.store.engine)
        self.channels, self.releases = Channels.of(settings), ReleaseStore.of(settings)
        self.verifier = signing_key(settings.verifier_dir / "approval.key")
        write_whole(settings.trust_dir / APPROVAL_KEY, public_pem(self.verifier.public_key()))

    @property
    def trust(self) -> Trust:
        return local_trust(self.settings)

    def candidate(self, text: str, *, weights: bytes | None = None, **changes: Any) -> Path:
        """A candidate folder."""
        return made_candidate(self.settings.home, text, weights=weights, **changes)

    def release(
        self,
        text: str = "Name the team.",
        *,
        version: str | None = "v1.0.0",
        run: str | None = None,
        approve: bool = True,
        claims: dict[str, Any] | None = None,
        **more: Any,
    ) -> str:
        """Put, attest and (unless told otherwise) approve a release."""
        release_id = self.releases.put(self.candidate(text, **more))
        told: dict[str, Any] = {"feature": "routing", "commit": "c" * 40, "intent": "route", "owners": ["ana"]}
        told |= ({"run": run} if run else {}) | (claims or {})
        self.releases.attest(release_id, sign_claims(pipeline_key(self.settings), release_id, told))
        if version:
            self.releases.attest(release_id, {"version": version})
        if approve:
            self.approve(release_id, run or FIRST_RUN)
        return release_id

    def approve(self, release_id: str, run: str, decision: str = "approve", **more: Any) -> None:
        """What the verifier would sign."""
        fields = {"run_id": run, "subject": release_id, "approver": "ana", "approver_kind": "person"}
        statement = Approval.model_validate(fields | {"decision": decision, "at": AT} | more).model_dump(mode="json")
        envelope = Envelope(statement=statement, **sign(self.verifier, APPROVAL_TYPE, statement)._asdict())
        self.releases.attest(release_id, lambda known: with_approval(known, envelope))

    def change_attestation(self, release_id: str, **changes: Any) -> None:
        """What somebody with an editor does."""
        path = self.settings.releases_dir / "attestations" / f"{release_id}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
