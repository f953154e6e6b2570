"""Flow `rollout`: one tick of every rollout that runs. A tick reads the evidence and makes at most one step."""

from datetime import UTC, datetime

from prefect import flow, get_run_logger

from flows.session import open_session
from ratchet.release import ReleaseStore
from tasks.confront import keep
from tasks.rollout import tick_all


@flow(name="rollout", persist_result=False)
def rollout() -> None:
    """Tick every running rollout once."""
    with open_session() as session:
        for report in tick_all(session.store, session.channels, session.ledger, now=datetime.now(UTC)):
            get_run_logger().info("%s", report)
            if report.action in ("promote", "rollback"):
                keep(session.store, session.ledger, ReleaseStore.of(session.settings), report.feature)
        if session.ledger.entries():
            session.seal(get_run_logger())
