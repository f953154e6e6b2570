"""What every flow opens first: settings, store, ledger and channels of this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ratchet.channels import Channels
from ratchet.ledger import Ledger
from ratchet.settings import Settings
from ratchet.store import Store, open_store


class Session:
    """The open parts that actions are given. Not a dataclass: Prefect would walk into one to look for futures."""

    def __init__(self, settings: Settings, store: Store) -> None:
        """Open ledger and channels beside the store."""
        self.settings = settings
        self.store = store
        self.ledger = Ledger(store.engine)
        self.channels = Channels.of(settings)

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
