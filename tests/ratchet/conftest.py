"""S3 as moto plays it on loopback: it honours If-Match and If-None-Match (5.2.5)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.buckets import s3_client
from ratchet.settings import Settings
from tests.released import Machine


@pytest.fixture
def s3(s3_environ: dict[str, str]) -> Settings:
    """Settings whose releases and channels are on S3, in a bucket of their own."""
    bucket = f"b{uuid.uuid4().hex}"
    settings = Settings.from_env(s3_environ | {"RATCHET_STORE": f"s3://{bucket}/ratchet"})
    s3_client(settings).create_bucket(Bucket=bucket)
    return settings


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(Settings.from_env({"RATCHET_REPO": str(tmp_path), "RATCHET_HOME": str(tmp_path / "home")}))
    yield made
    made.store.close()
