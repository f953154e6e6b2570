"""Who is logged in: a link that works once, or a key of the gateway, becomes a session, which a cookie names.

Sessions are in memory: a restart ends all of them. docs/decisions/0011-one-login.md has the reasons.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ratchet.keys import ANY, Key, Keys, Role, find_key

INVITED_FOR = timedelta(minutes=10)
LOGGED_IN_FOR = timedelta(hours=12)
FOR_EVER = datetime.max.replace(tzinfo=UTC)
ASK_AGAIN = "Start the command again for a new one."
PEOPLE: frozenset[Role] = frozenset(("reviewer", "operator", "approver", "admin"))

Now = Callable[[], datetime]


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Session:
    """A person in a browser; `csrf` is what every change that the person asks for must carry.

    `features` are those that the person's key is for; empty means all. Without a `key_id` the person followed a link.
    """

    person: str
    role: Role = "admin"
    features: tuple[str, ...] = ()
    key_id: str | None = None
    until: datetime = FOR_EVER
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def may(self, *roles: Role) -> bool:
        """Whether one of these roles is the person's; an administrator has all of them."""
        return self.role == "admin" or self.role in roles

    def sees(self, feature: str) -> bool:
        """Whether the person's key is for this feature."""
        return not self.features or feature in self.features


class Entry(NamedTuple):
    """What came of a try to log in: the id of a session for its cookie, or why there is none."""

    session_id: str | None
    refusal: str = ""


class Logins:
    """Gives out links, takes links and keys, knows the sessions that came of them by their digests."""

    def __init__(self, secret: str | None = None, keys: Keys | None = None, now: Now = _utc_now) -> None:
        """Start with nobody.

        Args:
            secret: what links are signed with: whoever knows it may give out links. The default is known to nobody.
            keys: the table of keys that log in; the default is none.
            now: the clock.
        """
        self._secret = (secret or secrets.token_hex(32)).encode()
        self._keys, self._now = keys, now
        self._began = now()
        self._lock = threading.Lock()
        self._used: dict[str, datetime] = {}
        self._sessions: dict[str, Session] = {}

    def invite(self, person: str) -> str:
        """A token that logs this person in once, within ten minutes."""
        return invitation(self._secret.decode(), person, self._now())

    def prove(self, challenge: str) -> str:
        """An answer to a challenge that only a server with this secret gives."""
        return _mac(self._secret, f"proof {challenge}")

    def redeem(self, token: str) -> Entry:
        """A session for a link's token."""
        invited, now = _read(self._secret, token), self._now()
        if invited is None or invited.at < self._began:
            return Entry(None, f"This link is of an earlier server, or is not whole. {ASK_AGAIN}")
        with self._lock:
            self._used = {used: at for used, at in self._used.items() if at + INVITED_FOR > now}
            if token in self._used or invited.at + INVITED_FOR < now:
                return Entry(None, f"This link was used before, or is too old. {ASK_AGAIN}")
            self._used[token] = now
        return Entry(self._begin(Session(invited.person, until=now + LOGGED_IN_FOR)))

    def enter(self, token: str) -> Entry:
        """A session for a key of the gateway."""
        now = self._now()
        key = find_key(token, self._known(), now)
        if key is None:
            return Entry(None, "This is no key, or one that is revoked or expired.")
        if key.role not in PEOPLE:
            return Entry(None, "This key is for an application. People's keys: `ratchet key add NAME --role reviewer`.")
        if key.tenant != ANY:
            return Entry(None, "This key is for one tenant, and these pages show all. Make one with `--tenant '*'`.")
        return Entry(self._begin(Session(key.name, key.role, key.features, key.key_id, now + LOGGED_IN_FOR)))

    def session(self, session_id: str) -> Session | None:
        """The session of a cookie; None where there is none (any more)."""
        found = self._sessions.get(_digest(session_id))
        if found is None:
            return None
        key = self._known().get(found.key_id) if found.key_id else None
        if found.until <= self._now() or (found.key_id and (key is None or not key.is_live(self._now()))):
            self.end(session_id)
            return None
        return found

    def end(self, session_id: str) -> None:
        """Log somebody out."""
        with self._lock:
            self._sessions.pop(_digest(session_id), None)

    def _begin(self, session: Session) -> str:
        session_id = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[_digest(session_id)] = session
        return session_id

    def _known(self) -> dict[str, Key]:
        return {key.key_id: key for key in self._keys.all()} if self._keys is not None else {}


class _Invited(NamedTuple):
    person: str
    at: datetime


def invitation(secret: str, person: str, now: datetime) -> str:
    """A token that logs this person in once at the server that knows this secret."""
    told = json.dumps([person, now.isoformat(), secrets.token_urlsafe(16)])
    body = base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")
    return f"{body}.{_mac(secret.encode(), f'invite {body}')}"


def is_proof(secret: str, challenge: str, answer: str) -> bool:
    """Whether a server that was challenged knows this secret."""
    return hmac.compare_digest(_mac(secret.encode(), f"proof {challenge}").encode(), answer.encode(errors="replace"))


def _read(secret: bytes, token: str) -> _Invited | None:
    body, _, mac = token.partition(".")
    if not hmac.compare_digest(_mac(secret, f"invite {body}").encode(), mac.encode(errors="replace")):
        return None
    person, at, _ = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return _Invited(person, datetime.fromisoformat(at))


def _mac(secret: bytes, text: str) -> str:
    return hmac.new(secret, text.encode(errors="replace"), hashlib.sha256).hexdigest()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
