"""Approvals: what the verifier signs, how an approval is checked, and who may approve for a feature."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ratchet.errors import ApprovalRefused, BadInput, ServiceUnreachable
from ratchet.features import Feature
from ratchet.signing import is_signed_by, load_public_key

APPROVAL_TYPE = "application/vnd.ratchet.approval+json"
APPROVAL_KEY = "approval.pub"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$"
RUN_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$"
RELEASE_ID_PATTERN = r"^rel_[0-9a-f]{64}$"
CODE_LIFE_S = 300  # the approval form is read when the orchestrator polls, so a code arrives minutes after it was typed

Kind = Literal["person", "machine"]
Decision = Literal["approve", "reject"]
Shape = TypeVar("Shape", bound=BaseModel)


class ApprovalRequest(BaseModel):
    """What an approver gives; `code` and `digest_prefix` are typed by the approver, never filled in for them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str = Field(pattern=RUN_ID_PATTERN)
    subject: str = Field(pattern=RELEASE_ID_PATTERN)
    digest_prefix: str = Field(max_length=80)
    approver: str = Field(pattern=NAME_PATTERN)
    code: str = Field(max_length=16, repr=False)
    decision: Decision
    reason: str = Field(default="", max_length=2000)


class Approval(BaseModel):
    """A decision whose signature was checked. It may be a rejection: look at `decision`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    subject: str
    approver: str
    approver_kind: Kind
    decision: Decision
    reason_digest: str | None = None
    at: AwareDatetime


class Envelope(BaseModel):
    """A signed statement as it travels; nothing in it is to be believed before `verify_approval`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    statement: dict[str, Any]
    signature: str = Field(max_length=200)
    key_id: str = Field(max_length=80)


class Enrolment(BaseModel):
    """A new approver's one-time-code secret, shown once; `otpauth_uri` is what authenticator apps scan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    secret: str = Field(repr=False)
    otpauth_uri: str = Field(repr=False)


class VerifierRefusal(ApprovalRefused):
    """The verifier said no; `reason` is its machine-readable word, such as `used_code`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"the verifier refused: {message} ({reason})")
        self.reason = reason


def verify_approval(envelope: Envelope, *, trust_dir: Path, subject: str, run_id: str) -> Approval:
    """Check the signature against the trusted key, and that the statement speaks of this release and this run.

    Raises:
        ApprovalRefused: the signature, the subject or the run does not fit, or no key is trusted.
    """
    key_path = trust_dir / APPROVAL_KEY
    if not key_path.is_file():
        raise ApprovalRefused(f"no trusted approval key at {key_path}; start the verifier once on this home")
    if not is_signed_by(load_public_key(key_path), APPROVAL_TYPE, envelope.statement, envelope.signature):
        raise ApprovalRefused(f"the approval of {subject} is not signed by {key_path}")
    try:
        approval = Approval.model_validate(envelope.statement)
    except ValidationError as error:
        bad = error.error_count()
        raise ApprovalRefused(f"the approval of {subject} is signed but malformed: {bad} bad fields") from error
    if approval.subject != subject:
        raise ApprovalRefused(f"the approval is for {approval.subject}, not for {subject}")
    if approval.run_id != run_id:
        raise ApprovalRefused(f"the approval is for run {approval.run_id}, not for run {run_id}")
    return approval


def may_approve(feature: Feature, approval: Approval) -> str | None:
    """Why this approver may not decide for the feature; None where they may.

    A person must be listed unless the list is empty; a machine must always be listed.
    """
    policy = feature.approval
    if approval.approver_kind == "machine":
        if approval.approver in policy.machine_approvers:
            return None
        return f"machine {approval.approver} is not among approval.machine_approvers of {feature.name}"
    if not policy.approvers or approval.approver in policy.approvers:
        return None
    return f"{approval.approver} is not among approval.approvers of {feature.name}"


def request_approval(verifier_url: str, request: ApprovalRequest) -> Envelope:
    """Have the verifier check the code and sign the decision. Each code works once, so a call is not repeatable.

    Raises:
        ServiceUnreachable: the verifier does not answer.
        VerifierRefusal: it refused; `reason` says why.
    """
    return _post(f"{verifier_url}/v1/approvals", request.model_dump(mode="json"), {}, Envelope)


def enrol(verifier_url: str, token: str, name: str, kind: Kind) -> Enrolment:
    """Enrol a person or a machine; the secret in the answer is shown once and kept by the verifier only.

    Raises:
        ServiceUnreachable: the verifier does not answer.
        VerifierRefusal: a wrong token, a bad name, or a name that is taken.
    """
    headers = {"Authorization": f"Bearer {token}"}
    return _post(f"{verifier_url}/v1/people", {"name": name, "kind": kind}, headers, Enrolment)


def _post(url: str, body: dict[str, Any], headers: dict[str, str], shape: type[Shape]) -> Shape:
    try:
        # trust_env=False: a proxy of the environment must not see codes and secrets
        with httpx.Client(timeout=10, trust_env=False) as client:
            answer = client.post(url, json=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = type(error).__name__
        raise ServiceUnreachable(f"no verifier answers at {url} ({why}); start it: python -m verifier") from error
    try:
        if answer.status_code == 200:
            return shape.model_validate(answer.json())
        refusal = answer.json()
        raise VerifierRefusal(str(refusal["reason"]), str(refusal["message"]))
    except (ValueError, KeyError, TypeError) as error:  # pydantic's ValidationError is a ValueError
        raise BadInput(f"{url} is not a verifier: its answer {answer.status_code} has another shape") from error
