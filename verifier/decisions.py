"""From a decision and a one-time code to a signed statement, or to a refusal with its reason."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from math import ceil

from ratchet.approvals import APPROVAL_KEY, APPROVAL_TYPE, Approval, ApprovalRequest, Envelope, may_approve
from ratchet.errors import RatchetError, SettingsInvalid
from ratchet.features import load_feature
from ratchet.files import sha256_text, write_whole
from ratchet.release import ReleaseStore
from ratchet.settings import Settings
from ratchet.signing import load_public_key, public_pem, sign, signing_key
from verifier.attempts import Attempts
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
        self._clock = clock
        self._attempts = Attempts(clock)
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
        if not _names_subject(request.digest_prefix, request.subject):  # before the code, which it does not use up
            message = f"type at least the first {SHORTEST_PREFIX} digits of the release shown in the report"
            raise Refusal(403, "wrong_digest_prefix", message)
        check = self.people.use_code(request.approver, request.code)
        if check.kind is None:
            self._attempts.note_failure(request.approver)
            raise Refusal(403, check.verdict, MESSAGES[check.verdict])
        approval = Approval(
            run_id=request.run_id,
            subject=request.subject,
            approver=request.approver,
            approver_kind=check.kind,
            decision=request.decision,
            reason_digest=sha256_text(request.reason) if request.reason else None,
            at=datetime.fromtimestamp(self._clock(), UTC),
        )
        barred = self._barred(approval)
        if barred is not None:
            raise Refusal(403, "may_not_approve", barred)
        statement = approval.model_dump(mode="json")
        return Envelope(statement=statement, **sign(self._key, APPROVAL_TYPE, statement)._asdict())

    def _barred(self, approval: Approval) -> str | None:
        """Why feature.yaml bars this approver; None where it does not, or where no release store is in reach.

        The feature is read from the release itself, so that no caller can name a more lenient one.
        """
        if (
            self._settings.store_uri is None and not self._settings.releases_dir.is_dir()
        ):  # a verifier on a host of its own; tasks/approve.py asks as well
            return None
        try:
            release = ReleaseStore.of(self._settings).get(approval.subject)
            return may_approve(load_feature(self._settings.repo, release.feature), approval)
        except RatchetError as error:
            return f"who may approve it cannot be told: {error}"


def _names_subject(prefix: str, subject: str) -> bool:
    digits = prefix.strip().lower().removeprefix("rel_")
    return len(digits) >= SHORTEST_PREFIX and subject.removeprefix("rel_").startswith(digits)
