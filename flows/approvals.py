"""Flow `approvals`: looks after the runs that wait for a person, each minute."""

from datetime import UTC, datetime
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import resume_flow_run

from flows.improve import close
from flows.session import Session, open_session
from ratchet.errors import ServiceUnreachable
from ratchet.runs import Run
from tasks.await_approvals import collect, remind, waiting


@flow(name="approvals", persist_result=False)
def approvals() -> None:
    """Collect decisions made elsewhere, remind of those that are missing, end what waited too long or went stale."""
    with open_session() as session:
        for run in waiting(session.store):
            now = collect(session.settings, session.store, session.ledger, session.channels, run.run_id)
            if now.decision is not None:
                get_run_logger().info("run %s: %s", now.run_id, now.decision)
                wake(session, now)
            else:
                remind_of(session, now)


def remind_of(session: Session, run: Run) -> None:
    """Remind, if it is due: by the webhook, and by an event that automations of Prefect can act on."""
    try:
        fact = remind(session.settings, session.store, run, now=datetime.now(UTC))
    except ServiceUnreachable as error:
        get_run_logger().warning("%s", error)
        return
    if fact is not None:
        get_run_logger().warning("%s", fact["text"])
        resource = {"prefect.resource.id": f"ratchet.run.{run.run_id}"}
        emit_event(event=fact["event"], resource=resource, payload=fact)


def wake(session: Session, run: Run) -> None:
    """Resume the flow run, which finds in the record what was decided; where Prefect let go of it, do what it would."""
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(run.flow_run_id)).state
    except ObjectNotFound:
        state = None
    if state is None or state.is_final():
        close(session, run)
    elif state.is_paused():
        form = {"decision": "approve", "approver": "", "digest_prefix": "", "code": "", "reason": ""}
        resume_flow_run(UUID(run.flow_run_id), run_input=form)
