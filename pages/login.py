"""Who is logged in. A link with a one-time token becomes a session, which a cookie names; all in memory."""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Session:
    """A person in a browser; `csrf` is what every change that the person asks for must carry."""

    person: str
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)


class Logins:
    """Tokens that were given out and sessions that came of them, by their digests. A restart forgets both."""

    def __init__(self) -> None:
        """Start with nobody."""
        self._lock = threading.Lock()
        self._invited: dict[str, str] = {}
        self._sessions: dict[str, Session] = {}

    def invite(self, person: str) -> str:
        """A token of 256 bits that logs this person in once."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._invited[_digest(token)] = person
        return token

    def redeem(self, token: str) -> str | None:
        """The id of a new session, for its cookie; None for a token that is wrong or used."""
        with self._lock:
            person = self._invited.pop(_digest(token), None)
            if person is None:
                return None
            session_id = secrets.token_urlsafe(32)
            self._sessions[_digest(session_id)] = Session(person)
            return session_id

    def session(self, session_id: str) -> Session | None:
        """The session of a cookie; None where there is none."""
        return self._sessions.get(_digest(session_id))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
