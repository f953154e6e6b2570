"""Flow `pull`: what is new in the sources that features declare; one that fails does not hold up the others."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

from prefect import flow, get_run_logger

from flows.session import Session, open_session
from ratchet.errors import RatchetError, SourceUnreachable
from ratchet.features import Feature, feature_names, load_feature
from tasks.pull import PullReport
from tasks.pull_langfuse import pull_langfuse
from tasks.pull_s3 import pull_s3


@flow(name="pull", persist_result=False)
def pull(feature: str | None = None) -> None:
    """Pull for one feature, or for all that declare a source.

    Args:
        feature: the feature's name; the default is every feature of the clone.
    """
    failed = []
    with open_session() as session:
        for name in [feature] if feature else feature_names(session.settings.repo):
            for source, run in _pulls(session, load_feature(session.settings.repo, name)):
                try:
                    get_run_logger().info("pulled %s from %s: %s", name, source, run().facts())
                except RatchetError as error:
                    get_run_logger().error("%s from %s: %s", name, source, error)
                    failed.append(f"{name} from {source}")
    if failed:
        raise SourceUnreachable(f"not pulled: {', '.join(failed)}; the log says why")


def _pulls(session: Session, feature: Feature) -> Iterator[tuple[str, Callable[[], PullReport]]]:
    if feature.sources.langfuse:
        now = datetime.now(UTC)
        yield "langfuse", partial(pull_langfuse, session.settings, session.store, feature, now=now)
    if feature.sources.s3:
        yield "s3", partial(pull_s3, session.settings, session.store, feature)
