from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from gateway.limits import Limits
from tests.gateway.conftest import Gateway, Serving, Shop, label_of_question
from tests.gateway.fake_model_server import FakeModelServer


def test_the_breaker_opens_and_closes_again(gateway: Gateway, fake: FakeModelServer) -> None:
    fake.broken["tiny"] = 500
    assert [gateway.ask().status_code for _ in range(4)] == [502, 502, 502, 503]
    asked = len(fake.bodies)
    refused = gateway.ask()
    assert (refused.headers["Retry-After"], refused.json()["error"]["code"]) == ("1", "breaker_open")
    assert len(fake.bodies) == asked
    fake.broken.clear()
    time.sleep(0.6)
    assert [gateway.ask().status_code for _ in range(2)] == [200, 200]


def test_a_failing_canarys_breaker_leaves_stable_alone(gateway: Gateway, fake: FakeModelServer) -> None:
    tuned = gateway.shop.put(text="", weights=b"w1")
    gateway.shop.try_canary(tuned)
    fake.broken[tuned] = 500
    assert {gateway.ask(user=str(i)).status_code for i in range(8)} == {200}
    assert gateway.shop.interactions()[-1].attributes["fallback_reason"] == "breaker_open"


def test_a_dead_model_server_is_told_of_with_what_to_start(shop: Shop, fake: FakeModelServer, limits: Limits) -> None:
    nobody = dataclasses.replace(shop.settings, modelserver_url="http://127.0.0.1:9")
    shop.settings = nobody
    with Serving(shop, limits) as gateway:
        answer = gateway.ask()
        assert answer.status_code == 502
        assert "python -m modelserver" in answer.json()["error"]["message"]
        assert gateway.http.get("/readyz").json() == {"store": "ok", "model_server": "unreachable"}


def test_answers_come_again_once_the_model_server_is_back(tmp_path: Path, limits: Limits) -> None:
    with FakeModelServer(label_of_question) as fake:
        shop = Shop(tmp_path, fake)
    with Serving(shop, limits) as gateway:
        assert gateway.ask().status_code == 502
        with FakeModelServer(label_of_question, port=fake.port):
            assert gateway.ask().status_code == 200


def test_the_key_goes_to_the_adapter_endpoint(shop: Shop, fake: FakeModelServer, limits: Limits) -> None:
    shop.settings = dataclasses.replace(shop.settings, modelserver_key="k1")
    shop.try_canary(shop.put(text="", weights=b"w1"))
    with Serving(shop, limits) as gateway:
        gateway.ask()
    assert [key for _, key in fake.loads] == ["Bearer k1"]
