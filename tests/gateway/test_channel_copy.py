"""A gateway whose channels and releases are on S3: a move is seen within a second, also while S3 comes and goes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from ratchet.buckets import s3_client
from ratchet.channels import Channels
from ratchet.release import ReleaseStore
from tests.gateway.conftest import AT, Gateway, Serving, Shop

TOLD = {"at": AT, "by": "ana", "reason": "why"}


@pytest.fixture
def far(shop: Shop, limits, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Gateway, Channels, ThreadedMotoServer]]:
    """A gateway with an empty home but for what it copies, the channels on S3, and the S3."""
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    places = {"s3_endpoint": endpoint, "private_is_allowed": True, "store_uri": "s3://shop/ratchet"}
    pipeline = dataclasses.replace(shop.settings, home=shop.root / "pipeline", **places)
    s3_client(pipeline).create_bucket(Bucket="shop")
    for release_id in (shop.stable, shop.put(text="Another.")):
        ReleaseStore.of(pipeline).put(shop.settings.releases_dir / release_id)
    shop.settings = dataclasses.replace(shop.settings, home=shop.root / "far", **places)
    channels = Channels.of(pipeline)
    channels.begin("routing", shop.stable, **TOLD)
    with Serving(shop, limits) as gateway:
        yield gateway, channels, server
    server.stop()


def await_release(gateway: Gateway, wanted: str, limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        answer = gateway.ask()
        if answer.status_code == 200 and answer.headers["x-ratchet-release"] == wanted:
            return
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)


def test_a_move_on_s3_is_served_and_outlives_s3(far) -> None:
    gateway, channels, server = far
    await_release(gateway, gateway.shop.stable)
    other = next(i for i in ReleaseStore(gateway.shop.root / "pipeline" / "releases").ids() if i != gateway.shop.stable)
    channels.move("routing", stable=other, canary=None, expected_version=1, **TOLD)
    await_release(gateway, other)
    server.stop()
    time.sleep(1)  # the copy fails meanwhile
    await_release(gateway, other)
