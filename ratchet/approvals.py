"""Approvals: what the verifier signs, how an approval is checked, and who may approve for a feature."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import httpx
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

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
Identity = Literal["totp", "oidc-proxy", "pull-request"]
Decision = Literal["approve", "reject"]
Shape = TypeVar("Shape")


class Said(BaseModel):
    """A decision on a run's release, by somebody who has yet to prove who they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str = Field(pattern=RUN_ID_PATTERN)
    subject: str = Field(pattern=RELEASE_ID_PATTERN)
    decision: Decision
    reason: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _rejection_has_a_reason(self) -> Self:
        if self.decision == "reject" and not self.reason.strip():
            raise ValueError("a rejection needs a reason: the feature's owner learns from it")
        return self


class ApprovalRequest(Said):
    """What an approver gives; `code` and `digest_prefix` are typed by the approver, never filled in for them."""

    digest_prefix: str = Field(max_length=80)
    approver: str = Field(pattern=NAME_PATTERN)
    code: str = Field(max_length=16, repr=False)


class Approval(BaseModel):
    """A decision whose signature was checked. It may be a rejection: look at `decision`.

    Attributes:
        needed: how many different people must approve, as the verifier read in feature.yaml.
        identity: what proved who the approver is.
        evidence: the digest of what proved it, where that could be sent twice (a webhook's body).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    subject: str
    approver: str
    approver_kind: Kind
    decision: Decision
    reason_digest: str | None = None
    at: AwareDatetime
    needed: int = 1
    identity: Identity = "totp"
    evidence: str | None = None


class Envelope(BaseModel):
    """A signed statement as it travels; nothing in it is to be believed before `verify_approval`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    statement: dict[str, Any]
    signature: str = Field(max_length=200)
    key_id: str = Field(max_length=80)


class SignedDecision(BaseModel):
    """A decision as the verifier keeps it: the signed statement, and the reason whose digest it carries."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    envelope: Envelope
    reason: str = ""


class Enrolment(BaseModel):
    """A new approver's one-time-code secret, shown once; `otpauth_uri` is what authenticator apps scan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    secret: str = Field(repr=False)
    otpauth_uri: str = Field(repr=False)


class PersonName(BaseModel):
    """What may be known of an enrolled approver."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Kind


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


def may_approve(feature: Feature, approval: Approval, authors: Collection[str] = ()) -> str | None:
    """Why this approver may not decide for the feature; None where they may.

    A person must be listed unless the list is empty; a machine must always be listed. Under four eyes no machine may,
    and nobody approves what they wrote.

    Args:
        authors: who wrote the change, by any of their names in lower case (the release's attestation has them).
    """
    policy, who, name = feature.approval, approval.approver, feature.name
    if approval.approver_kind == "machine":
        rules = {
            f"{name} needs two people (approval.four_eyes), and {who} is a machine": policy.four_eyes,
            f"machine {who} is not among approval.machine_approvers of {name}": who not in policy.machine_approvers,
        }
    else:
        wrote_it = policy.four_eyes and approval.decision == "approve" and who.lower() in authors
        rules = {
            f"{name} takes approvals by {policy.identity} (approval.identity), not by {approval.identity}": (
                approval.identity != policy.identity
            ),
            f"{who} is not among approval.approvers of {name}": bool(policy.approvers) and who not in policy.approvers,
            f"{who} wrote the change, and {name} needs two other people (approval.four_eyes)": wrote_it,
        }
    return next((why for why, is_broken in rules.items() if is_broken), None)


def statements_of(attestation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the approvals of a release say, unchecked, in the order in which they were given."""
    given = attestation.get("approvals")
    found = [one.get("statement") for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    return [statement for statement in found if isinstance(statement, dict)]


def approved_by(attestation: Mapping[str, Any]) -> str | None:
    """Who approved a release as its attestation says, unchecked; None where nobody did."""
    names = [str(said.get("approver")) for said in statements_of(attestation) if said.get("decision") == "approve"]
    return " and ".join(dict.fromkeys(names)) or None


def with_approval(attestation: Mapping[str, Any], envelope: Envelope) -> dict[str, Any]:
    """The attestation's approvals and this one; one that is there already stays once."""
    given, one = list(attestation.get("approvals") or []), envelope.model_dump(mode="json")
    return {"approvals": given if one in given else [*given, one]}


def standing(approvals: Sequence[Approval], *, at_least: int = 1) -> str | None:
    """What is missing until these approvals, whose signatures were checked, let a release live; None: nothing is.

    As many different people are needed as the verifier signed that there are, and no fewer than `at_least`.
    """
    if rejected := [a.approver for a in approvals if a.decision == "reject"]:
        return f"{rejected[0]} rejected it"
    needed, people = max([at_least, *(a.needed for a in approvals)]), {a.approver for a in approvals}
    if len(people) < needed:
        return f"approved by {len(people)} of {needed} people" if people else "no approval"
    return None


def request_approval(verifier_url: str, request: ApprovalRequest) -> Envelope:
    """Have the verifier check the code and sign the decision. Each code works once, so a call is not repeatable.

    Raises:
        ServiceUnreachable: the verifier does not answer.
        VerifierRefusal: it refused; `reason` says why.
    """
    body = request.model_dump(mode="json")
    return _call("POST", f"{verifier_url}/v1/approvals", body, {}, TypeAdapter(Envelope))


def decisions_on(verifier_url: str, run_id: str) -> list[SignedDecision]:
    """What the verifier has signed on a run, oldest first: also by a webhook, or in an answer that was lost.

    Raises:
        ServiceUnreachable: the verifier does not answer.
    """
    return _call("GET", f"{verifier_url}/v1/approvals", {"run_id": run_id}, {}, TypeAdapter(list[SignedDecision]))


def enrol(verifier_url: str, token: str, name: str, kind: Kind) -> Enrolment:
    """Enrol a person or a machine; the secret in the answer is shown once and kept by the verifier only.

    Raises:
        ServiceUnreachable: the verifier does not answer.
        VerifierRefusal: a wrong token, a bad name, or a name that is taken.
    """
    headers, person = {"Authorization": f"Bearer {token}"}, {"name": name, "kind": kind}
    return _call("POST", f"{verifier_url}/v1/people", person, headers, TypeAdapter(Enrolment))


def people(verifier_url: str, token: str) -> dict[str, Kind]:
    """The enrolled, each with its kind.

    Raises:
        ServiceUnreachable, VerifierRefusal: as `enrol`.
    """
    headers = {"Authorization": f"Bearer {token}"}
    found = _call("GET", f"{verifier_url}/v1/people", {}, headers, TypeAdapter(list[PersonName]))
    return {person.name: person.kind for person in found}


def dismiss(verifier_url: str, token: str, name: str) -> PersonName:
    """Take an approver's secret away: left, or lost the phone. What they approved stays approved.

    Raises:
        ServiceUnreachable, VerifierRefusal: as `enrol`, and where nobody has that name.
    """
    headers = {"Authorization": f"Bearer {token}"}
    return _call("DELETE", f"{verifier_url}/v1/people/{name}", {}, headers, TypeAdapter(PersonName))


def _call(method: str, url: str, given: dict[str, Any], headers: dict[str, str], shape: TypeAdapter[Shape]) -> Shape:
    sent: dict[str, Any] = {"json": given} if method == "POST" else {"params": given}
    try:
        # trust_env=False: a proxy of the environment must not see codes and secrets
        with httpx.Client(timeout=10, trust_env=False) as client:
            answer = client.request(method, url, headers=headers, **sent)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = type(error).__name__
        raise ServiceUnreachable(f"no verifier answers at {url} ({why}); start it: python -m verifier") from error
    try:
        if answer.status_code == 200:
            return shape.validate_python(answer.json())
        refusal = answer.json()
        raise VerifierRefusal(str(refusal["reason"]), str(refusal["message"]))
    except (ValueError, KeyError, TypeError) as error:  # pydantic's ValidationError is a ValueError
        raise BadInput(f"{url} is not a verifier: its answer {answer.status_code} has another shape") from error
