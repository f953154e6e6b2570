"""Action: look after runs that wait for an approval - collect what was signed elsewhere, remind, end what is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx

from ratchet.approvals import decisions_on
from ratchet.channels import Channels
from ratchet.errors import AddressRefused, ApprovalRefused, ServiceUnreachable
from ratchet.features import load_feature
from ratchet.ledger import Ledger
from ratchet.outbound import open_pinned
from ratchet.runs import Run, change_run, find_run, runs_of
from ratchet.settings import Settings
from ratchet.store import Store
from tasks.approve import record, still_waits

WEBHOOK_TIMEOUT_S = 10


def waiting(store: Store) -> list[Run]:
    """The runs that wait for a person, or whose decision is yet to be carried out, oldest first."""
    return [run for run in runs_of(store) if run.state == "awaiting"]


def collect(settings: Settings, store: Store, ledger: Ledger, channels: Channels, run_id: str) -> Run:
    """Record what was signed on a run and the run does not know: by a webhook, or in an answer that was lost.

    A verifier that does not answer is asked again the next time.
    """
    run = still_waits(settings, store, ledger, channels, find_run(store, run_id), now=datetime.now(UTC))
    if run.state != "awaiting" or run.decision is not None:
        return run
    try:
        signed = decisions_on(settings.verifier_url, run_id)
    except ServiceUnreachable:
        return run
    known = {(said.approver, datetime.fromisoformat(said.at)) for said in run.answers}
    for one in signed:
        statement = one.envelope.statement
        if (statement.get("approver"), datetime.fromisoformat(str(statement.get("at")))) in known:
            continue
        try:
            run = record(settings, store, ledger, run, one)
        except ApprovalRefused:  # on another release under this run's name, or by somebody who may not any more
            continue
        if run.decision is not None:
            break
    return run


def remind(settings: Settings, store: Store, run: Run, *, now: datetime) -> dict[str, Any] | None:
    """Say that a run waits, if that is due; a reminder that could not be delivered goes out again the next time.

    Returns:
        What was said, ids and numbers only; None where nothing is due.

    Raises:
        ServiceUnreachable: the webhook does not take it.
    """
    policy = load_feature(settings.repo, run.feature).approval
    if run.decision is not None or run.waits_since is None:
        return None
    waited = now - datetime.fromisoformat(run.waits_since)
    due = int(waited / timedelta(hours=policy.remind_after_h))
    if due <= run.reminded:
        return None
    hours = round(waited / timedelta(hours=1), 1)
    fact = {
        "event": "ratchet.approval.waits",
        "feature": run.feature,
        "run_id": run.run_id,
        "release_id": run.release_id,
        "approvals": len(run.answers),
        "needed": policy.needed,
        "waited_h": hours,
        "expires_in_h": round(policy.expire_after_h - hours, 1),
    }
    fact["text"] = (  # what chats show
        f"{run.feature}: run {run.run_id} has waited {hours:g} h for an approval ({len(run.answers)} of "
        f"{policy.needed} so far); it expires in {fact['expires_in_h']:g} h. `ratchet approve {run.run_id}`"
    )
    if settings.webhook_url is not None:
        _post(settings, settings.webhook_url, fact)
    change_run(store, run.run_id, reminded=due)
    return fact


def _post(settings: Settings, url: str, fact: dict[str, Any]) -> None:
    host, _, path = url.partition("://")[2].partition("/")
    where = f"{urlsplit(url).scheme}://{host}"
    allow = settings.private_is_allowed
    try:
        with open_pinned(where, allow_private=allow, auth=None, timeout_s=WEBHOOK_TIMEOUT_S) as client:
            client.post(f"/{path}", json=fact).raise_for_status()
    except (httpx.HTTPError, AddressRefused) as error:
        raise ServiceUnreachable(f"RATCHET_WEBHOOK_URL did not take a reminder: {type(error).__name__}") from error
