"""Keys: 256 random bits, kept as SHA-256; each for one tenant (or all), some features (or all) and one role."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple, get_args

import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from ratchet.errors import BadInput
from ratchet.records import TENANT
from ratchet.store import take_turn

Role = Literal["app", "reviewer", "operator", "approver", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
TOKEN = re.compile(r"rk_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
PREFIX = "rk_"
ANY = "*"

table = sa.Table(
    "keys",
    sa.MetaData(),
    sa.Column("key_id", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("features", sa.String, nullable=False),
    sa.Column("created_at", sa.String, nullable=False),
    sa.Column("expires_at", sa.String),
    sa.Column("revoked_at", sa.String),
)


@dataclass(frozen=True)
class Key:
    """What a key allows; the token itself is kept nowhere. `tenant` `*` and empty `features` mean all of them."""

    key_id: str
    digest: str
    name: str
    role: Role
    tenant: str
    features: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_live(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def allows(self, feature: str) -> bool:
        """Whether it is for this feature."""
        return not self.features or feature in self.features


class Issued(NamedTuple):
    """A new key, and the token that is shown once."""

    key: Key
    token: str


class Keys:
    """The table of keys (give it the engine of a `Store`)."""

    def __init__(self, engine: sa.Engine) -> None:
        """Make the table where it is missing."""
        self._engine = engine
        with engine.begin() as connection:
            take_turn(connection)
            connection.execute(CreateTable(table, if_not_exists=True))

    def add(
        self,
        name: str,
        *,
        role: str,
        tenant: str,
        features: tuple[str, ...] = (),
        at: datetime,
        expires_at: datetime | None = None,
    ) -> Issued:
        """Make a key. The token of the result is the only copy.

        Raises:
            BadInput: an unknown role, a malformed tenant, or an expiry that lies behind.
        """
        if role not in ROLES:
            raise BadInput(f"role {role!r} is not known; allowed: {', '.join(ROLES)}")
        if tenant != ANY and not re.fullmatch(TENANT, tenant):
            raise BadInput(f"tenant {tenant[:60]!r} is malformed; letters, digits, _ . - (or * for every tenant)")
        if expires_at is not None and expires_at <= at:
            raise BadInput(f"the key would have expired at {expires_at:%Y-%m-%d %H:%M}; name a time ahead")
        key_id = secrets.token_hex(6)
        token = f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
        key = Key(key_id, digest_of(token), name, role, tenant, tuple(sorted(features)), at, expires_at)
        with self._engine.begin() as connection:
            connection.execute(sa.insert(table).values(**_row(key)))
        return Issued(key, token)

    def all(self) -> list[Key]:
        """Every key, revoked and expired ones too, oldest first."""
        query = sa.select(table).order_by(table.c.created_at, table.c.key_id)
        with self._engine.connect().execution_options(write=False) as connection:
            return [_key(row) for row in connection.execute(query).mappings()]

    def revoke(self, key_id: str, *, at: datetime) -> bool:
        """End a key; False where it was revoked already.

        Raises:
            BadInput: there is no such key.
        """
        with self._engine.begin() as connection:
            found = connection.execute(sa.select(table.c.revoked_at).where(table.c.key_id == key_id)).first()
            if found is None:
                raise BadInput(f"there is no key {key_id[:60]!r}; `ratchet key list` shows them")
            if found.revoked_at is not None:
                return False
            connection.execute(sa.update(table).where(table.c.key_id == key_id).values(revoked_at=_text(at)))
        return True


def find_key(token: str, keys: Mapping[str, Key], now: datetime) -> Key | None:
    """The live key that a token is, of keys by id; None for a forged, expired or revoked one."""
    match = TOKEN.fullmatch(token)
    key = keys.get(match[1]) if match else None
    # Compared also where there is no such key, so that the time tells nothing of which ids exist.
    is_it = hmac.compare_digest(digest_of(token), key.digest if key else "0" * 64)
    return key if key is not None and is_it and key.is_live(now) else None


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _row(key: Key) -> dict[str, str | None]:
    return {
        "key_id": key.key_id,
        "digest": key.digest,
        "name": key.name,
        "role": key.role,
        "tenant": key.tenant,
        "features": ",".join(key.features),
        "created_at": _text(key.created_at),
        "expires_at": _text(key.expires_at) if key.expires_at else None,
        "revoked_at": None,
    }


def _key(row: sa.RowMapping) -> Key:
    expires, revoked = row["expires_at"], row["revoked_at"]
    return Key(
        **{name: row[name] for name in ("key_id", "digest", "name", "role", "tenant")},
        features=tuple(name for name in row["features"].split(",") if name),
        created_at=datetime.fromisoformat(row["created_at"]),
        expires_at=datetime.fromisoformat(expires) if expires else None,
        revoked_at=datetime.fromisoformat(revoked) if revoked else None,
    )


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
