from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.features import Feature, load_feature
from ratchet.store import Store, open_store
from tests.review_queue import CLONE, Served, blind_rows, demo_records, open_desk, queue_rows, serving, write_rows


@pytest.fixture
def routing_feature() -> Feature:
    return load_feature(CLONE, "support_routing")


@pytest.fixture
def demo_store(tmp_path: Path) -> Iterator[Store]:
    """A store with what the demonstration's feedback leaves open in both features, and that feedback."""
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        for name in ("support_routing", "help_answers"):
            ids = {row["interaction_id"] for row in queue_rows(load_feature(CLONE, name))}
            asked, said = demo_records(name)
            store.add_interactions([a for a in asked if a.interaction_id in ids])
            store.add_feedback([s for s in said if s.interaction_id in ids])
        yield store


@pytest.fixture
def served(demo_store: Store, routing_feature: Feature, tmp_path: Path) -> Iterator[Served]:
    """The review page on what the demonstration's routing leaves open."""
    path = write_rows(tmp_path / "review.jsonl", queue_rows(routing_feature))
    with serving(open_desk(demo_store, routing_feature, path)) as running:
        yield running


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same once for all tests of a module that decide nothing; nothing can be decided there."""
    folder, feature = tmp_path_factory.mktemp("shown"), load_feature(CLONE, "support_routing")
    path = write_rows(folder / "review.jsonl", queue_rows(feature))
    with open_store(f"sqlite:///{folder / 'store.db'}") as store, serving(open_desk(store, feature, path)) as running:
        yield running


@pytest.fixture
def written(demo_store: Store, tmp_path: Path) -> Iterator[Served]:
    """The same for the free text of help_answers."""
    feature = load_feature(CLONE, "help_answers")
    path = write_rows(tmp_path / "review.jsonl", queue_rows(feature))
    with serving(open_desk(demo_store, feature, path)) as running:
        yield running


@pytest.fixture
def blind(demo_store: Store, routing_feature: Feature, tmp_path: Path) -> Iterator[Served]:
    """A blind sample of the demonstration's routing."""
    path = write_rows(tmp_path / "blind.jsonl", blind_rows("support_routing", 4))
    with serving(open_desk(demo_store, routing_feature, path, is_blind=True)) as running:
        yield running
