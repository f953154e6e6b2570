"""Who asks: the key of a request, what its role allows, and the tenant and features it is for."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa
import structlog
from starlette.requests import Request

from gateway.refusals import Refusal
from ratchet.keys import ANY, PREFIX, Key, Keys, Role, find_key

logger = structlog.get_logger("gateway")
Action = Literal["open", "ask", "decide", "feedback", "traces", "models", "prompts", "metrics"]
EVERYBODY: frozenset[Role] = frozenset(("app", "reviewer", "operator", "approver", "admin"))
PERMITS: dict[Action, frozenset[Role]] = {
    "ask": frozenset(("app", "admin")),
    "decide": frozenset(("app", "operator", "admin")),
    "feedback": frozenset(("app", "reviewer", "admin")),
    "traces": frozenset(("app", "reviewer", "operator", "admin")),
    "models": EVERYBODY,
    "prompts": frozenset(("reviewer", "operator", "approver", "admin")),
    "metrics": frozenset(("operator", "admin")),
}
REVIEWERS = frozenset(("reviewer", "admin"))
REFRESH_S = 1.0


@dataclass(frozen=True)
class Caller:
    """Who asks; without a key it is a program of this machine, which may do everything."""

    key: Key | None = None

    @property
    def may_review(self) -> bool:
        """Whether it may speak as an agent or a judge."""
        return self.key is None or self.key.role in REVIEWERS

    def tenant(self, claimed: str | None) -> str | None:
        """The tenant of the request: the key's, whatever the body claims; the claimed one without a bound key."""
        return claimed if self.key is None or self.key.tenant == ANY else self.key.tenant

    def allows(self, feature: str) -> bool:
        """Whether it may see a feature."""
        return self.key is None or self.key.allows(feature)

    def check_feature(self, feature: str) -> None:
        """Raise Refusal 403 for a feature that the key is not for."""
        if not self.allows(feature):
            raise Refusal(403, "key_not_for_feature", f"this key is not for the feature {feature[:60]!r}")


class Access:
    """The keys as of at most a second ago; where the store is down for a moment, those that were known count on."""

    def __init__(self, keys: Keys, *, is_required: bool) -> None:
        """`is_required`: whether a request without a key is refused."""
        self._keys = keys
        self.is_required = is_required
        self._known: dict[str, Key] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def admit(self, request: Request, action: Action) -> Caller:
        """Who asks, if it may do this.

        Raises:
            Refusal: 401 without a valid key where one is needed, 403 where its role does not allow the action.
        """
        if action == "open":
            return Caller()
        token = _token(request)
        if token is None or not token.startswith(PREFIX):  # the SDKs insist on some key: on a laptop any will do
            if self.is_required:
                raise Refusal(401, "no_key", "send a key as `Authorization: Bearer rk_…`; `ratchet key add` makes one")
            return Caller()
        key = find_key(token, await self._current(), datetime.now(UTC))
        if key is None:
            raise Refusal(401, "bad_key", "this key is not known, expired or revoked; `ratchet key list` shows them")
        if key.role not in PERMITS[action]:
            allowed = ", ".join(sorted(PERMITS[action]))
            raise Refusal(403, "role_not_allowed", f"a key of role {key.role} may not do this; allowed: {allowed}")
        return Caller(key)

    async def _current(self) -> dict[str, Key]:
        if self._is_fresh():
            return self._known
        async with self._reading:
            if not self._is_fresh():
                began = time.monotonic()
                try:
                    self._known = {key.key_id: key for key in await asyncio.to_thread(self._keys.all)}
                    self._read_at = began
                except sa.exc.SQLAlchemyError as error:
                    logger.error("keys_not_read", error=type(error).__name__)
                    if self._read_at is None:
                        raise Refusal(503, "keys_not_read", "the store does not answer", retry_after_s=1) from error
        return self._known

    def _is_fresh(self) -> bool:
        return self._read_at is not None and time.monotonic() - self._read_at < REFRESH_S


def caller_of(request: Request) -> Caller:
    """Who asks, as it was admitted."""
    caller: Caller = request.state.caller
    return caller


def _token(request: Request) -> str | None:
    header = request.headers.get("authorization", "")
    scheme, _, value = header.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key")
