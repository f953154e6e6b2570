"""Every schedule: serves the flows as deployments of the Prefect server. `python -m flows.deployments`."""

import argparse

from prefect import serve
from prefect.schedules import Cron, Interval, Schedule

from flows.approvals import approvals
from flows.harvest import harvest
from flows.improve import improve
from flows.probe import probe
from flows.pull import pull
from flows.rollout import rollout
from ratchet.features import feature_names
from ratchet.settings import Settings


def main() -> None:
    """Serve improve (nightly), harvest and pull (hourly), probe (daily), approvals and rollout (each minute)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-schedules", action="store_true", help="serve the flows, start none by the clock")
    arguments = parser.parse_args()
    active = not arguments.no_schedules
    names = feature_names(Settings.from_env().repo)
    serve(
        improve.to_deployment(
            name="improve",
            description="One improvement cycle of a feature, from its feedback to a rollout.",
            schedules=[nightly(name, minute, active) for minute, name in enumerate(names)],
        ),
        harvest.to_deployment(
            name="harvest",
            description="New interactions and feedback, scrubbed, into DVC history.",
            schedules=[Schedule(cron="0 * * * *", timezone="UTC", active=active)],
        ),
        pull.to_deployment(
            name="pull",
            description="What is new in the Langfuse projects and S3 prefixes that features declare.",
            schedules=[Schedule(cron="30 * * * *", timezone="UTC", active=active)],
        ),
        approvals.to_deployment(
            name="approvals",
            description="Decisions made elsewhere, reminders, and the end of what waited too long.",
            schedules=[Interval(60, active=active)],
        ),
        probe.to_deployment(
            name="probe",
            description="Whether a hosted model was changed silently.",
            schedules=[Schedule(cron="15 5 * * *", timezone="UTC", active=active)],
        ),
        rollout.to_deployment(
            name="rollout",
            description="One tick of every running rollout.",
            schedules=[Interval(60, active=active)],
        ),
        limit=4,
        pause_on_shutdown=False,
    )


def nightly(feature: str, minute: int, active: bool) -> Schedule:
    """The nightly cycle of a feature; features start a minute apart."""
    return Cron(f"{minute % 60} 2 * * *", timezone="UTC", parameters={"feature": feature}, slug=feature, active=active)


if __name__ == "__main__":
    main()
