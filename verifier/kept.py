"""What the verifier has signed: one file per decision, so that an answer that got lost is asked for again."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from ratchet.approvals import Envelope, SignedDecision
from ratchet.errors import SettingsInvalid
from ratchet.files import canonical_json, sha256_text
from ratchet.signing import write_private


class Kept:
    """The signed decisions of one verifier, oldest first."""

    def __init__(self, folder: Path) -> None:
        """Read the folder.

        Raises:
            SettingsInvalid: a file that is no signed decision.
        """
        self._folder = folder
        self._decisions = sorted(map(_read, folder.glob("*.json")), key=lambda kept: str(kept.envelope.statement["at"]))
        self._seen = {kept.envelope.statement.get("evidence") for kept in self._decisions}

    def add(self, envelope: Envelope, reason: str) -> None:
        """Keep a decision; it is on disk when the call returns."""
        kept = SignedDecision(envelope=envelope, reason=reason)
        name = sha256_text(canonical_json(envelope.statement))
        write_private(self._folder / f"{name}.json", kept.model_dump_json().encode())
        self._decisions.append(kept)
        self._seen.add(envelope.statement.get("evidence"))

    def of(self, run_id: str) -> list[SignedDecision]:
        """The decisions on a run."""
        return [kept for kept in self._decisions if kept.envelope.statement["run_id"] == run_id]

    def has(self, evidence: str) -> bool:
        """Whether this proof of who somebody is has led to a decision before."""
        return evidence in self._seen


def _read(path: Path) -> SignedDecision:
    try:
        return SignedDecision.model_validate_json(path.read_bytes())
    except ValidationError:
        raise SettingsInvalid(f"{path} is damaged; restore it from a copy, or move it away") from None
