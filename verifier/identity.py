"""RATCHET_IDENTITY: which OIDC proxy and which git host may tell the verifier who somebody is.

    oidc_proxy: {jwks: jwks.json, issuer: https://login.example.com, audience: ratchet, origin: https://approve.example.com}
    pull_request: {host: github, repository: acme/support, secret: webhook-secret}

Files are named beside this one. Without it people have one-time codes only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import yaml
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.errors import SettingsInvalid
from ratchet.files import read_json

SHORTEST_SECRET = 16


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OidcProxy(_Part):
    """An authenticating proxy in front of /decide, as oauth2-proxy, which passes on the ID token that it was given.

    Attributes:
        jwks: the file of the identity provider's public keys.
        audience: what the token must be for: the proxy's client id.
        origin: the proxy's address as browsers see it; no other page may send a decision.
        header: where the token stands; after `Bearer `, or alone.
        claim: which of its claims names the approver, as feature.yaml lists them.
    """

    jwks: str
    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    origin: str = Field(pattern=r"^https?://[^/]+$")
    header: str = "Authorization"
    claim: str = "email"


class PullRequests(_Part):
    """The repository whose approving reviews count, and the file that holds its webhook's secret."""

    host: Literal["github", "gitlab"]
    repository: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)+$")
    secret: str


class IdentityFile(_Part):
    """The file as it is written."""

    oidc_proxy: OidcProxy | None = None
    pull_request: PullRequests | None = None


class Identities(NamedTuple):
    """The ways that are set up, with what they are checked against."""

    proxy: OidcProxy | None = None
    proxy_keys: KeySet | None = None
    reviews: PullRequests | None = None
    review_secret: bytes = b""


def load_identities(path: Path | None) -> Identities:
    """Read the file and what it names; nothing is set up where there is none.

    Raises:
        SettingsInvalid: with the file that is missing or malformed, never with what it holds.
    """
    if path is None:
        return Identities()
    try:
        found = IdentityFile.model_validate(yaml.safe_load(path.read_bytes()))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"RATCHET_IDENTITY={path} cannot be read: {type(error).__name__}") from error
    except ValidationError as error:
        faults = sorted({".".join(map(str, fault["loc"])) for fault in error.errors()})
        raise SettingsInvalid(f"RATCHET_IDENTITY={path}: not right: {', '.join(faults)}") from None
    proxy, reviews = found.oidc_proxy, found.pull_request
    return Identities(
        proxy,
        _read_keys(path.parent / proxy.jwks) if proxy else None,
        reviews,
        _read_secret(path.parent / reviews.secret) if reviews else b"",
    )


def _read_keys(path: Path) -> KeySet:
    try:
        keys = KeySet.import_key_set(read_json(path))
    except (OSError, ValueError, KeyError, TypeError, JoseError) as error:
        raise SettingsInvalid(f"{path} is no JSON Web Key Set: {type(error).__name__}") from error
    if any(key.key_type == "oct" for key in keys):
        raise SettingsInvalid(f"{path} must hold public keys (RSA or EC); a shared key would let its reader sign")
    return keys


def _read_secret(path: Path) -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read: {type(error).__name__}") from error
    if len(secret) < SHORTEST_SECRET:
        raise SettingsInvalid(f"{path} must hold a secret of at least {SHORTEST_SECRET} characters")
    return secret
