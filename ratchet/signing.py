"""Signing: keys on disk, signatures over JSON documents, and how they are checked.

Signatures are Ed25519 over the pre-authentication encoding of DSSE (`pae`), so that a signature given for one kind of
document never fits another. A signed document here is always the canonical JSON of its fields.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from ratchet.errors import SettingsInvalid
from ratchet.files import canonical_json, sync_folder


class Signature(NamedTuple):
    """A signature in base64, and the id of the key that made it (a hint, never a proof)."""

    signature: str
    key_id: str


def pae(payload_type: str, body: bytes) -> bytes:
    """DSSE's pre-authentication encoding (secure-systems-lab/dsse, protocol.md, "Signature Definition")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def sign(key: Ed25519PrivateKey, payload_type: str, statement: dict[str, Any]) -> Signature:
    """Sign the canonical JSON of a statement."""
    signature = key.sign(pae(payload_type, canonical_json(statement).encode()))
    return Signature(base64.b64encode(signature).decode(), key_id(key.public_key()))


def is_signed_by(key: Ed25519PublicKey, payload_type: str, statement: dict[str, Any], signature: str) -> bool:
    """Whether the key signed exactly this statement as this type."""
    try:
        body = canonical_json(statement).encode()
        key.verify(base64.b64decode(signature, validate=True), pae(payload_type, body))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def key_id(key: Ed25519PublicKey) -> str:
    """The SHA-256 of the raw public key, shortened to 16 hex digits."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def public_pem(key: Ed25519PublicKey) -> str:
    """The public key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key in PEM.

    Raises:
        SettingsInvalid: the file is not an Ed25519 public key.
    """
    return parse_public_key(path.read_bytes(), str(path))


def parse_public_key(pem: bytes | str, where: str) -> Ed25519PublicKey:
    """A public key from its PEM; `where` is named where it is none (SettingsInvalid)."""
    try:
        key = load_pem_public_key(pem.encode() if isinstance(pem, str) else pem)
    except ValueError as error:
        raise SettingsInvalid(f"{where} is not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsInvalid(f"{where} is not an Ed25519 key")
    return key


def signing_key(path: Path) -> Ed25519PrivateKey:
    """The private key at this path, made on first use (0600); two processes that make it at once get the same one.

    Raises:
        SettingsInvalid: the file is not an Ed25519 private key.
    """
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        _create_private(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise SettingsInvalid(f"{path} is not a private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsInvalid(f"{path} is not an Ed25519 key")
    return key


def write_private(path: Path, content: bytes) -> None:
    """Write a file whole, readable by its owner only (0600), and on disk when the call returns."""
    temporary = _private_draft(path, content)
    os.replace(temporary, path)
    sync_folder(path.parent)


def _create_private(path: Path, content: bytes) -> None:
    temporary = _private_draft(path, content)
    with contextlib.suppress(FileExistsError):  # link, unlike replace, leaves a file that came first as it is
        os.link(temporary, path)
    temporary.unlink()
    sync_folder(path.parent)


def _private_draft(path: Path, content: bytes) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp gives 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(name).unlink()
        raise
    return Path(name)
