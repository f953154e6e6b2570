from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from prefect.testing.utilities import prefect_test_harness

from flows.pull import pull
from ratchet.errors import SourceUnreachable
from ratchet.settings import Settings
from ratchet.store import open_store
from tests.conftest import POLICY
from tests.tasks.fake_langfuse import KEYS, FakeLangfuse
from tests.tasks.test_pull_langfuse import trace

S3_NOWHERE = {"RATCHET_S3_ENDPOINT": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
S3_NOWHERE |= {"AWS_DEFAULT_REGION": "us-east-1"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def prefect() -> Iterator[None]:
    with prefect_test_harness():
        yield


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLangfuse]:
    with FakeLangfuse() as server:
        places = {"RATCHET_REPO": str(tmp_path), "RATCHET_HOME": str(tmp_path / "home"), "RATCHET_ALLOW_PRIVATE": "1"}
        keys = {"RATCHET_LANGFUSE_PUBLIC_KEY": KEYS[0], "RATCHET_LANGFUSE_SECRET_KEY": KEYS[1]}
        for key, value in (places | keys | {"RATCHET_LANGFUSE_URL": server.url} | S3_NOWHERE).items():
            monkeypatch.setenv(key, value)
        yield server


def write_feature(root: Path, name: str, sources: dict[str, object]) -> None:
    folder = root / "features" / name
    folder.mkdir(parents=True)
    (folder / "feature.yaml").write_text(yaml.safe_dump(POLICY | {"name": name, "sources": sources}))


def test_each_feature_with_a_source_is_pulled(fake: FakeLangfuse, tmp_path: Path) -> None:
    write_feature(tmp_path, "quiet", {})
    write_feature(tmp_path, "routing", {"langfuse": {}})
    fake.traces = [trace(1, datetime.now(UTC) - timedelta(days=1))]
    pull()
    with open_store(Settings.from_env().database_url) as store:
        assert (store.counts("routing")["interactions"], store.counts("quiet")["interactions"]) == (1, 0)


def test_a_source_that_fails_does_not_hold_up_the_others(fake: FakeLangfuse, tmp_path: Path) -> None:
    write_feature(tmp_path, "broken", {"s3": {"uri": "s3://nothing-here/x"}})
    write_feature(tmp_path, "routing", {"langfuse": {}})
    fake.traces = [trace(1, datetime.now(UTC) - timedelta(days=1))]
    with pytest.raises(SourceUnreachable, match="not pulled: broken from s3"):
        pull()
    with open_store(Settings.from_env().database_url) as store:
        assert store.counts("routing")["interactions"] == 1
