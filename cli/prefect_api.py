"""Prefect's HTTP API, as far as the command line needs it: start a flow run, see its state, answer its form."""

from __future__ import annotations

import time
from typing import Any

import httpx

from ratchet.errors import RatchetError, ServiceUnreachable
from ratchet.settings import Settings

TRIES = 6


def start_flow_run(settings: Settings, deployment: str, parameters: dict[str, Any]) -> str:
    """Start a served deployment (`flow/deployment`). Returns the flow run's id."""
    found = call(settings, "GET", f"/deployments/name/{deployment}")
    made = call(settings, "POST", f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})
    return str(made["id"])


def flow_run_state(settings: Settings, flow_run_id: str) -> tuple[str, str]:
    """A flow run's state: its type (RUNNING, PAUSED, COMPLETED, ...; MISSING: unknown to Prefect) and its message."""
    state = call(settings, "GET", f"/flow_runs/{flow_run_id}").get("state") or {}
    return str(state.get("type", "PENDING")), str(state.get("message") or "")


def resume_flow_run(settings: Settings, flow_run_id: str, answer: dict[str, Any]) -> None:
    """Answer the form that a suspended flow run waits for.

    Raises:
        RatchetError: the flow run does not wait, or Prefect refused the answer.
    """
    reply = call(settings, "POST", f"/flow_runs/{flow_run_id}/resume", {"run_input": answer})
    if reply.get("status") != "ACCEPT":
        reason = (reply.get("details") or {}).get("reason", "no reason given")
        raise RatchetError(f"Prefect did not take the answer for flow run {flow_run_id}: {reason}")


def call(settings: Settings, method: str, path: str, body: Any = None) -> Any:
    """One request to Prefect's API, repeated while its database is busy (503, as on SQLite under load).

    Raises:
        ServiceUnreachable: the server does not answer, or does not serve the flows.
        RatchetError: it refused the request.
    """
    url = settings.prefect_api_url + path
    for attempt in range(TRIES):
        try:
            reply = httpx.request(method, url, json=body, timeout=30)
        except httpx.HTTPError as error:
            raise ServiceUnreachable(
                f"the Prefect server does not answer at {settings.prefect_api_url}; start it with `make up`"
            ) from error
        if reply.status_code != 503:
            break
        time.sleep(0.5 * 2**attempt)
    if reply.status_code == 404 and path.startswith("/deployments/"):
        raise ServiceUnreachable("the flows are not served by this Prefect server; start them with `make up`")
    if reply.status_code == 404 and path.startswith("/flow_runs/") and method == "GET":
        return {"state": {"type": "MISSING", "message": "the Prefect server does not know this flow run"}}
    if reply.is_error:
        raise RatchetError(f"Prefect answered {reply.status_code} to {method} {path}: {reply.text[:300]}")
    return reply.json() if reply.content else {}
