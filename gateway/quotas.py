"""How much a tenant may ask: requests a minute, tokens and money a day; by features/tenants.yaml.

Requests are counted by this process. Tokens and money are summed up from the store, so that they hold over restarts and
over several gateways; the sum is read again each half minute and what this process spends meanwhile is added to it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.refusals import Refusal
from ratchet.records import Interaction
from ratchet.store import Store
from ratchet.tenants import Tenant, load_tenants

NO_RULES = Tenant()
LOOK_S = 1.0  # how old the reading of the tenants' file may be
SUM_S = 30.0


@dataclass
class _Account:
    """`tokens` and `usd` of one day; `allowance` fills with requests over time, up to a minute's worth."""

    day: str = ""
    tokens: int = 0
    usd: float = 0.0
    summed_at: float = -math.inf
    allowance: float = math.inf
    filled_at: float = 0.0


class Quotas:
    """The tenants' rules, and what each has used of them."""

    def __init__(self, repo: Path, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        """`repo` holds features/tenants.yaml; an edit is seen within a second."""
        self._repo = repo
        self._store = store
        self._clock = clock
        self._tenants: dict[str, Tenant] = {}
        self._looked_at = -math.inf
        self._accounts: dict[str, _Account] = {}

    async def admit(self, name: str) -> Tenant:
        """The rules of a tenant that asks once more.

        Raises:
            Refusal: 429 where it has asked too often or has used up its tokens or its money of the day.
            SettingsInvalid: the tenants' file is malformed.
        """
        tenant = await self.rules(name)
        if name not in self._tenants:
            return tenant
        now = self._clock()
        account = self._accounts.setdefault(name, _Account())
        if tenant.tokens_per_day or tenant.usd_per_day:
            await self._check_budget(name, tenant, account, now)
        if tenant.requests_per_minute:
            _take_one(tenant.requests_per_minute, account, now)
        return tenant

    async def rules(self, name: str) -> Tenant:
        """The rules of a tenant.

        Raises:
            SettingsInvalid: the tenants' file is malformed.
        """
        now = self._clock()
        if now - self._looked_at >= LOOK_S:
            self._tenants = await asyncio.to_thread(load_tenants, self._repo)
            self._looked_at = now
        return self._tenants.get(name) or NO_RULES

    def spent(self, record: Interaction) -> None:
        """Count what an answer used."""
        account = self._accounts.get(record.tenant)
        if account is not None and account.day == record.at.date().isoformat():
            account.tokens += record.usage.input_tokens + record.usage.output_tokens
            account.usd += record.cost_usd or 0.0

    async def _check_budget(self, name: str, tenant: Tenant, account: _Account, now: float) -> None:
        today = datetime.now(UTC).date().isoformat()
        if account.day != today or now - account.summed_at >= SUM_S:
            account.summed_at = now
            spent = await asyncio.to_thread(self._store.spent, name, today)
            # What was sent but is not yet in the store must not be forgotten, so a sum of the same day never falls.
            is_same_day = account.day == today
            account.tokens = max(spent.tokens, account.tokens if is_same_day else 0)
            account.usd = max(spent.usd, account.usd if is_same_day else 0.0)
            account.day = today
        for limit, used, what in (
            (tenant.tokens_per_day, account.tokens, "tokens_per_day"),
            (tenant.usd_per_day, account.usd, "usd_per_day"),
        ):
            if limit is not None and used >= limit:
                message = f"the tenant has used up its {what} of {limit}; it begins anew at midnight UTC"
                raise Refusal(429, "budget_used_up", message, retry_after_s=_until_midnight())


def _take_one(per_minute: int, account: _Account, now: float) -> None:
    """Take a request out of the allowance (a token bucket)."""
    filled = account.allowance + (now - account.filled_at) * per_minute / 60
    account.allowance, account.filled_at = min(float(per_minute), filled), now
    if account.allowance < 1:
        wait_s = (1 - account.allowance) * 60 / per_minute
        message = f"the tenant may ask {per_minute} times a minute"
        raise Refusal(429, "rate_limited", message, retry_after_s=wait_s)
    account.allowance -= 1


def _until_midnight() -> float:
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - now).total_seconds()
