"""Trust: the two signatures that a release needs to be served - the pipeline's on its claims, the verifier's on a yes.

A trust file (RATCHET_TRUST) is YAML: `pipeline:` and `approval:`, each a list of Ed25519 public keys in PEM. Several
keys of a kind are for the time while one is exchanged for another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.approvals import APPROVAL_KEY, APPROVAL_TYPE, Approval, Envelope, standing
from ratchet.errors import ReleaseUntrusted, SettingsInvalid
from ratchet.files import write_whole
from ratchet.settings import Settings
from ratchet.signing import is_signed_by, load_public_key, parse_public_key, public_pem, sign, signing_key

PIPELINE_TYPE = "application/vnd.ratchet.attestation+json"
PIPELINE_KEY = "pipeline.pub"
FIRST_RUN = "first-release"  # v1 comes out of no run; its approval names this in the run's place


class TrustFile(BaseModel):
    """The trust file as it is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pipeline: tuple[str, ...] = Field(min_length=1)
    approval: tuple[str, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Trust:
    """The keys whose signatures count."""

    pipeline: tuple[Ed25519PublicKey, ...]
    approval: tuple[Ed25519PublicKey, ...]


@dataclass(frozen=True)
class Signatures:
    """What is wrong with either signature of a release; None where it is right. `approver` names all who approved."""

    pipeline: str | None
    approval: str | None
    approver: str | None = None

    @property
    def faults(self) -> list[str]:
        """All that is wrong, in words."""
        return [fault for fault in (self.pipeline, self.approval) if fault]


def load_trust(path: Path) -> Trust:
    """Read a trust file.

    Raises:
        SettingsInvalid: it is missing, not YAML, or lacks a key of either kind.
    """
    try:
        found = TrustFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"RATCHET_TRUST={path} cannot be read: {type(error).__name__}") from error
    except ValidationError as error:
        message = f"RATCHET_TRUST={path} must hold `pipeline:` and `approval:`, each a list of public keys in PEM"
        raise SettingsInvalid(message) from error
    kinds = [tuple(parse_public_key(pem, str(path)) for pem in pems) for pems in (found.pipeline, found.approval)]
    return Trust(*kinds)


def trust_of(settings: Settings) -> Trust | None:
    """The trust that a server is to keep; None where no trust file is set."""
    return load_trust(settings.trust_file) if settings.trust_file else None


def local_trust(settings: Settings) -> Trust:
    """The trust file where one is set, else the keys of this machine's own pipeline and verifier, as far as made."""
    found = trust_of(settings)
    if found is not None:
        return found
    return Trust(*(((load_public_key(path),) if path.is_file() else ()) for path in _public_keys(settings)))


def trust_document(settings: Settings) -> str:
    """The text of a trust file with the keys of this machine's pipeline and verifier.

    Raises:
        SettingsInvalid: one of the two has not been made yet.
    """
    pipeline_key(settings)
    lines = []
    for kind, path in zip(("pipeline", "approval"), _public_keys(settings), strict=True):
        if not path.is_file():
            raise SettingsInvalid(f"there is no {path} yet; start the verifier once on this home: python -m verifier")
        pem = public_pem(load_public_key(path))
        lines += [f"{kind}:", "  - |", *(f"    {line}" for line in pem.splitlines())]
    return "\n".join(lines) + "\n"


def pipeline_key(settings: Settings) -> Ed25519PrivateKey:
    """The key that signs attestations, made on first use; its public half lies beside it."""
    key = signing_key(settings.secrets_dir / "pipeline.key")
    public = _public_keys(settings)[0]
    if not public.is_file():
        write_whole(public, public_pem(key.public_key()))
    return key


def sign_claims(key: Ed25519PrivateKey, release_id: str, claims: Mapping[str, Any]) -> dict[str, Any]:
    """The claims with the pipeline's signature over them and the release's id, ready for the attestation."""
    signature = sign(key, PIPELINE_TYPE, _statement(release_id, claims, sorted(claims)))
    return {**claims, "pipeline": {"signed": sorted(claims), **signature._asdict()}}


def check_signatures(release_id: str, attestation: Mapping[str, Any], trust: Trust) -> Signatures:
    """Check both signatures of a release against trusted keys."""
    approval = _approval_of(release_id, attestation, trust.approval)
    pipeline = _pipeline_fault(release_id, attestation, trust.pipeline)
    if isinstance(approval, str):
        return Signatures(pipeline, approval)
    return Signatures(pipeline, None, " and ".join(given.approver for given in approval))


def require_trusted(release_id: str, attestation: Mapping[str, Any], trust: Trust) -> None:
    """Refuse a release that lacks either signature.

    Raises:
        ReleaseUntrusted: with what is missing.
    """
    faults = check_signatures(release_id, attestation, trust).faults
    if faults:
        raise ReleaseUntrusted(f"{release_id} is not to be served: {'; '.join(faults)} (`ratchet release verify`)")


def run_of(attestation: Mapping[str, Any]) -> str:
    """The run that a release came out of, as its approval must name it."""
    return str(attestation.get("run") or FIRST_RUN)


def _public_keys(settings: Settings) -> tuple[Path, Path]:
    """Where the public keys of this machine's pipeline and verifier lie."""
    return settings.secrets_dir / PIPELINE_KEY, settings.trust_dir / APPROVAL_KEY


def _pipeline_fault(release_id: str, attestation: Mapping[str, Any], keys: Sequence[Ed25519PublicKey]) -> str | None:
    given = attestation.get("pipeline")
    if not isinstance(given, dict):
        return "no signature of the pipeline"
    names = given.get("signed")
    if not isinstance(names, list) or not {"feature", "commit"} <= {n for n in names if isinstance(n, str)}:
        return "the pipeline's signature covers neither feature nor commit"
    if "run" in attestation and "run" not in names:
        return "the pipeline's signature does not cover the run"
    statement = _statement(release_id, attestation, names)
    if not any(is_signed_by(key, PIPELINE_TYPE, statement, str(given.get("signature"))) for key in keys):
        return "its claims are not signed by a trusted pipeline"
    return None


def _approval_of(
    release_id: str, attestation: Mapping[str, Any], keys: Sequence[Ed25519PublicKey]
) -> list[Approval] | str:
    """The approvals that together let it live, or what is wrong with them."""
    approvals = []
    try:
        given = [Envelope.model_validate(one) for one in attestation.get("approvals") or []]
        for envelope in given:
            approvals.append(Approval.model_validate(envelope.statement))
            if not any(is_signed_by(key, APPROVAL_TYPE, envelope.statement, envelope.signature) for key in keys):
                return "its approval is not signed by a trusted verifier"
    except (ValidationError, TypeError):
        return "its approval is malformed"
    fitting = [a for a in approvals if a.subject == release_id and a.run_id == run_of(attestation)]
    if approvals and not fitting:
        return "its approval is for another release or run"
    return standing(fitting) or fitting


def _statement(release_id: str, claims: Mapping[str, Any], names: Sequence[Any]) -> dict[str, Any]:
    return {"subject": release_id, "claims": {str(name): claims.get(str(name)) for name in names}}
