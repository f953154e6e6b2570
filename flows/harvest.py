"""Flow `harvest`: new interactions and feedback of each feature, scrubbed, into DVC history."""

from prefect import flow, get_run_logger

from flows.session import open_session
from ratchet.features import feature_names
from tasks.harvest import harvest_feature


@flow(name="harvest", persist_result=False)
def harvest(feature: str | None = None) -> None:
    """Harvest one feature, or all of them.

    Args:
        feature: the feature's name; the default is every feature of the clone.
    """
    with open_session() as session:
        for name in [feature] if feature else feature_names(session.settings.repo):
            get_run_logger().info("harvested %s: %s", name, harvest_feature(session.settings, session.store, name))
