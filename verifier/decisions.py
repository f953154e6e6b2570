"""From a decision and a one-time code to a signed statement, or to a refusal with its reason."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from math import ceil
from typing import Any, NamedTuple

from ratchet.approvals import (
    APPROVAL_KEY,
    APPROVAL_TYPE,
    Approval,
    ApprovalRequest,
    Envelope,
    Identity,
    Kind,
    Said,
    may_approve,
)
from ratchet.errors import RatchetError, SettingsInvalid
from ratchet.features import Feature, load_feature
from ratchet.files import sha256_text, write_whole
from ratchet.release import ReleaseStore
from ratchet.settings import Settings
from ratchet.signing import load_public_key, public_pem, sign, signing_key
from ratchet.trust import run_of
from verifier.attempts import Attempts
from verifier.kept import Kept
from verifier.people import People

SHORTEST_PREFIX = 8
MESSAGES = {
    "unknown_approver_or_wrong_code": "no such approver, or the code is wrong or older than five minutes",
    "used_code": "this code, or a later one, was used already; wait for the next",
}


class Refusal(Exception):
    """A decision that is not signed: HTTP status, machine-readable reason, and a sentence for the approver."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


class Facts(NamedTuple):
    """A release's feature, and what the pipeline attested of it."""

    feature: Feature
    attestation: dict[str, Any]


class Verifier:
    """Holds the people and the signing key; signs a decision only for a code that was never used.

    What a signature proves: the owner of the code took part within the last five minutes. A one-time code is not bound
    to a release; the typed digest prefix guards against mistakes, not against an orchestrator that alters the form.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        """Open the state (0700), make the key on first use, and publish its public half to the trust folder.

        Raises:
            SettingsInvalid: another public key is trusted there already, or a file of the state is damaged.
        """
        settings.verifier_dir.mkdir(parents=True, exist_ok=True)
        settings.verifier_dir.chmod(0o700)
        self.people = People(settings.verifier_dir / "people.json", clock)
        self.clock = clock
        self._attempts = Attempts(settings.verifier_dir / "attempts.json", clock)
        self.kept = Kept(settings.verifier_dir / "decisions")
        self._settings = settings
        self._key = signing_key(settings.verifier_dir / "approval.key")
        self._one_at_a_time = threading.Lock()
        self.public_pem = public_pem(self._key.public_key())
        trusted = settings.trust_dir / APPROVAL_KEY
        if trusted.exists() and public_pem(load_public_key(trusted)) != self.public_pem:
            raise SettingsInvalid(f"{trusted} holds another key than {settings.verifier_dir}; remove one on purpose")
        write_whole(trusted, self.public_pem)

    def decide(self, request: ApprovalRequest) -> Envelope:
        """Use the code up, then sign the decision.

        Raises:
            Refusal: too many failures (429); a digest prefix, a name or a code that does not fit (403).
        """
        with self._one_at_a_time:  # or many tries at once would all be counted too late
            return self._decide(request)

    def _decide(self, request: ApprovalRequest) -> Envelope:
        wait_s = self._attempts.wait_s(request.approver)
        if wait_s > 0:
            raise Refusal(429, "too_many_attempts", f"too many failures; try again in {ceil(wait_s)} s")
        require_prefix(request.digest_prefix, request.subject)  # before the code, which it does not use up
        check = self.people.use_code(request.approver, request.code)
        if check.kind is None:
            self._attempts.note_failure(request.approver, is_known=request.approver in self.people.kinds())
            raise Refusal(403, check.verdict, MESSAGES[check.verdict])
        return self._sign(request, request.approver, check.kind, "totp", None)

    def decide_as(self, said: Said, approver: str, identity: Identity, evidence: str | None) -> Envelope:
        """Sign the decision of a person whose identity was proven elsewhere.

        Args:
            evidence: the digest of the proof where it may be sent twice: it counts once.

        Raises:
            Refusal: the proof was used before (409), or feature.yaml does not let them decide in this way (403).
        """
        with self._one_at_a_time:
            if evidence is not None and self.kept.has(evidence):
                raise Refusal(409, "replayed", "this was sent before, and what it said is recorded")
            return self._sign(said, approver, "person", identity, evidence)

    def facts_of(self, release_id: str) -> Facts:
        """What is known of a release here.

        The feature is read from the release itself, so that no caller can name a more lenient one.

        Raises:
            Refusal: it is not in the store, or its feature is not in the clone.
        """
        try:
            releases = ReleaseStore.of(self._settings)
            feature = load_feature(self._settings.repo, releases.get(release_id).feature)
            return Facts(feature, releases.attestation(release_id))
        except RatchetError as error:
            raise Refusal(403, "may_not_approve", f"who may approve it cannot be told: {error}") from error

    def _sign(self, said: Said, approver: str, kind: Kind, identity: Identity, evidence: str | None) -> Envelope:
        approval = Approval(
            run_id=said.run_id,
            subject=said.subject,
            approver=approver,
            approver_kind=kind,
            decision=said.decision,
            reason_digest=sha256_text(said.reason) if said.reason else None,
            at=datetime.fromtimestamp(self.clock(), UTC),
            identity=identity,
            evidence=evidence,
        )
        # a verifier on a host of its own has no store to look into: tasks/approve.py asks as well
        if identity != "totp" or self._settings.store_uri is not None or self._settings.releases_dir.is_dir():
            feature, attestation = self.facts_of(said.subject)
            if (fault := _not_up_for_approval(said, attestation)) is not None:
                raise Refusal(403, "may_not_approve", fault)
            approval = approval.model_copy(update={"needed": feature.approval.needed})
            barred = may_approve(feature, approval, attestation.get("authors") or ())
            if barred is not None:
                raise Refusal(403, "may_not_approve", barred)
        statement = approval.model_dump(mode="json")
        envelope = Envelope(statement=statement, **sign(self._key, APPROVAL_TYPE, statement)._asdict())
        self.kept.add(envelope, said.reason)  # before the answer, which may get lost
        return envelope


def _not_up_for_approval(said: Said, attestation: dict[str, Any]) -> str | None:
    """Why nobody is asked about this release under this run, by what the pipeline attested; None where they are."""
    if run_of(attestation) != said.run_id:
        return f"{said.subject[:16]} is not the release of run {said.run_id}"
    verdict = (attestation.get("gate") or {}).get("verdict", "accept")  # v1 met no gate
    return None if verdict == "accept" else f"the gate's verdict on {said.subject[:16]} is {verdict}"


def require_prefix(prefix: str, subject: str) -> None:
    """Refuse who did not type the beginning of the release's digest: nobody approves what they did not see."""
    digits = prefix.strip().lower().removeprefix("rel_")
    if len(digits) < SHORTEST_PREFIX or not subject.removeprefix("rel_").startswith(digits):
        message = f"type at least the first {SHORTEST_PREFIX} digits of the release shown in the report"
        raise Refusal(403, "wrong_digest_prefix", message)
