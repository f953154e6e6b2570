"""Flow `probe`: each day, whether a hosted model was changed silently."""

import os
from datetime import UTC, datetime

from prefect import flow, get_run_logger

from flows.session import open_session
from tasks.probe import probe_all


@flow(name="probe", persist_result=False)
def probe() -> None:
    """Probe every hosted model once."""
    with open_session() as session:
        now = datetime.now(UTC)
        for found in probe_all(session.settings, session.store, session.ledger, environ=os.environ, now=now):
            for reason in found.reasons:
                get_run_logger().error("%s was changed: %s", found.subject, reason)
            get_run_logger().info("probed %s: %s requests failed", found.subject, found.failed)
