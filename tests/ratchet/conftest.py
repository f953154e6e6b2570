"""S3 as moto plays it on loopback: it honours If-Match and If-None-Match (5.2.5)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from ratchet.buckets import s3_client
from ratchet.settings import Settings
from tests.released import Machine


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose releases and channels are on S3, in a bucket of their own."""
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"b{uuid.uuid4().hex}"
    places = {"RATCHET_REPO": str(tmp_path), "RATCHET_HOME": str(tmp_path / "home")}
    places |= {"RATCHET_S3_ENDPOINT": s3_endpoint, "RATCHET_ALLOW_PRIVATE": "1"}
    settings = Settings.from_env(places | {"RATCHET_STORE": f"s3://{bucket}/ratchet"})
    s3_client(settings).create_bucket(Bucket=bucket)
    return settings


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(Settings.from_env({"RATCHET_REPO": str(tmp_path), "RATCHET_HOME": str(tmp_path / "home")}))
    yield made
    made.store.close()
