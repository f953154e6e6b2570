"""What every flow opens first: settings, store, ledger and channels of this machine."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from ratchet.anchors import checkpoint_and_anchor
from ratchet.channels import Channels
from ratchet.ledger import Ledger
from ratchet.settings import Settings
from ratchet.store import Store, open_store

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


class Session:
    """The open parts that actions are given. Not a dataclass: Prefect would walk into one to look for futures."""

    def __init__(self, settings: Settings, store: Store) -> None:
        """Open ledger and channels beside the store."""
        self.settings = settings
        self.store = store
        self.ledger = Ledger(store.engine)
        self.channels = Channels.of(settings)

    def seal(self, logger: Log) -> None:
        """Sign the ledger's newest entry and anchor it; an anchor that fails is loud, and stops nothing."""
        for anchor, why in checkpoint_and_anchor(self.ledger, self.settings, now=datetime.now(UTC)).items():
            logger.error("the ledger is not anchored at %s: %s", anchor, why)

    def stage_environment(self) -> dict[str, str]:
        """The environment of a stage: this one, with the clone's state named, since its worktree lies elsewhere."""
        settings = self.settings
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "RATCHET_REPO"))}
        return {
            **kept,
            "RATCHET_HOME": str(settings.home),
            "RATCHET_CACHE": str(settings.cache),
            "PYTHONUNBUFFERED": "1",
            "GX_ANALYTICS_ENABLED": "false",
            "HF_HUB_OFFLINE": "1",
        }


@contextmanager
def open_session() -> Iterator[Session]:
    """Open the parts, close the store at the end of the block."""
    settings = Settings.from_env()
    with open_store(settings.database_url) as store:
        yield Session(settings, store)
