from __future__ import annotations

import dataclasses
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.limits import Limits
from ratchet.errors import SettingsInvalid
from ratchet.presets import PRESETS, load_backends
from ratchet.release import BaseModelRef
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


def backends(shop: Shop, text: str) -> None:
    path = shop.root / "backends.yaml"
    path.write_text(text)
    shop.settings = dataclasses.replace(shop.settings, backends=path, private_is_allowed=True)


@pytest.fixture
def other() -> Iterator[FakeModelServer]:
    with FakeModelServer(label_of_question) as server:
        yield server


PRESET_FACTS = {
    "openai": ("/v1/chat/completions", "Authorization", "Bearer k1", "max_completion_tokens"),
    "anthropic": ("/v1/chat/completions", "Authorization", "Bearer k1", "max_tokens"),
    "gemini": ("/v1beta/openai/chat/completions", "Authorization", "Bearer k1", "max_tokens"),
    "vllm": ("/v1/chat/completions", "Authorization", "Bearer k1", "max_tokens"),
    "ollama": ("/v1/chat/completions", "Authorization", "Bearer k1", "max_tokens"),
    "llamacpp": ("/v1/chat/completions", "Authorization", "Bearer k1", "max_tokens"),
    "azure": ("/openai/deployments/tiny/chat/completions?api-version=2024-10-21", "api-key", "k1", "max_tokens"),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_speaks_as_its_provider_wants(shop: Shop, fake: FakeModelServer, limits: Limits, preset: str) -> None:
    (shop.root / "key").write_text("k1\n")
    version = "2024-10-21" if preset == "azure" else "null"
    backends(
        shop,
        f"backends: {{it: {{preset: {preset}, url: '{fake.url}/v1', key_file: key, api_version: {version},"
        " models: {tiny: tiny}, prices: {tiny: [1, 2]}}}",
    )
    path, header, value, tokens = PRESET_FACTS[preset]
    with Serving(shop, limits) as gateway:
        answer = gateway.ask()
        assert gateway.ask(stream=True).text.endswith("data: [DONE]\n\n")
    assert "x-ratchet-fallback" not in answer.headers
    assert fake.asked[0][0] == path
    assert fake.asked[0][1][header] == value
    assert fake.bodies[0][tokens] == 64
    record = shop.interactions()[0]
    assert record.cost_usd == (record.usage.input_tokens + 2 * record.usage.output_tokens) / 1e6


def test_replicas_share_the_work_and_cover_for_each_other(
    shop: Shop, fake: FakeModelServer, other: FakeModelServer, limits: Limits
) -> None:
    backends(shop, f"backends: {{it: {{urls: ['{fake.url}', '{other.url}']}}}}")
    fake.delay_s = 0.3
    with Serving(shop, limits) as gateway, ThreadPoolExecutor(8) as pool:
        # While the slow one is busy, the quick one is asked.
        assert {a.status_code for a in pool.map(lambda n: gateway.ask(user=str(n)), range(24))} == {200}
        assert len(other.bodies) > len(fake.bodies) > 0
        fake.delay_s, fake.broken["tiny"] = 0.0, 500
        assert {gateway.ask(user=str(n)).status_code for n in range(12)} == {200}
    assert not any(record.fallback for record in shop.interactions())


def test_a_fallback_answer_is_marked_and_names_its_backend(
    shop: Shop, fake: FakeModelServer, other: FakeModelServer, limits: Limits
) -> None:
    other.base = "big"
    backends(
        shop,
        f"backends: {{one: {{url: '{fake.url}'}}, two: {{preset: openai, url: '{other.url}', "
        "models: {tiny: big}}}\n"
        "chains: {tiny: [one, two]}",
    )
    fake.broken["tiny"] = 500
    with Serving(shop, limits) as gateway:
        answer, streamed = gateway.ask(), gateway.ask(stream=True)
    assert [a.headers["x-ratchet-fallback"] for a in (answer, streamed)] == ["backend_error"] * 2
    assert other.bodies[0]["model"] == "big"
    for record in shop.interactions():
        assert (record.fallback, record.release_id, record.channel) == (True, shop.stable, "stable")
        assert record.attributes["backend"] == "two"


def test_a_slow_backend_is_left_for_the_next_after_its_own_time_limit(
    shop: Shop, fake: FakeModelServer, other: FakeModelServer, limits: Limits
) -> None:
    backends(shop, f"backends: {{one: {{url: '{fake.url}', timeout_s: 0.1}}, two: {{url: '{other.url}'}}}}")
    fake.delay_s = 0.6
    with Serving(shop, limits) as gateway:
        assert gateway.ask().headers["x-ratchet-fallback"] == "backend_timeout"


def test_an_adapters_answer_falls_back_only_to_a_model_that_is_named_for_it(
    shop: Shop, fake: FakeModelServer, other: FakeModelServer, limits: Limits
) -> None:
    tuned = shop.put(text="", weights=b"w1")
    shop.begin("tuned", tuned)
    fake.broken[tuned] = 500
    backends(shop, f"backends: {{one: {{url: '{fake.url}'}}, two: {{preset: openai, url: '{other.url}'}}}}")
    with Serving(shop, limits) as gateway:
        assert gateway.ask(model="tuned").status_code == 502
    assert other.bodies == []


def test_a_canary_is_answered_by_stable_rather_than_by_another_backend(
    shop: Shop, fake: FakeModelServer, other: FakeModelServer, limits: Limits
) -> None:
    canary = shop.put(text="Other prompt.", base_model=BaseModelRef(name="new", digest="d2"))
    shop.try_canary(canary)
    other.base = "new"
    backends(shop, f"backends: {{one: {{url: '{fake.url}'}}, two: {{url: '{other.url}'}}}}")
    with Serving(shop, limits) as gateway:
        assert gateway.ask().headers["x-ratchet-release"] == shop.stable
    assert other.bodies == []


RULES = "acme: {train: false, regions: [eu]}\n"
PLACES = [
    ("region: us, trains: false", 403),
    ("trains: false", 403),
    ("region: eu", 403),
    ("region: eu, trains: true", 403),
    ("region: eu, trains: false", 200),
]


@pytest.mark.parametrize(("facts", "status"), PLACES)
def test_a_tenants_rules_hold_for_every_try(
    shop: Shop, fake: FakeModelServer, other: FakeModelServer, limits: Limits, facts: str, status: int
) -> None:
    rules(shop, RULES)
    # 127.0.0.1 counts as ours, so the outside one is called by another name of this machine.
    outside = other.url.replace("127.0.0.1", socket.gethostname())
    backends(shop, f"backends: {{one: {{url: '{fake.url}'}}, two: {{preset: openai, url: '{outside}', {facts}}}}}")
    fake.broken["tiny"] = 500
    with Serving(shop, limits) as gateway:
        answers = {t: gateway.ask(user=t, ratchet={"tenant": t}).status_code for t in ("acme", "globex")}
    assert answers["acme"] in ((200,) if status == 200 else (403, 502, 503))
    assert all("acme" not in str(body) for body in other.bodies) or status == 200
    assert len(other.bodies) == (2 if status == 200 else 1)
    assert answers["globex"] == 200


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("backends: {it: {preset: azure, url: 'https://x.example'}}", "api_version"),
        ("backends: {it: {preset: azure, api_version: x}}", "needs its url"),
        ("backends: {it: {url: 'ftp://x'}}", "no address"),
        ("backends: {it: {url: 'http://x', key_env: RATCHET_NO_SUCH}}", "RATCHET_NO_SUCH is not set"),
        ("backends: {it: {url: 'http://x', wieght: 1}}", "wieght"),
        ("backends: {it: {url: 'http://x'}}\nchains: {a: [nosuch]}", "names nosuch; there are: it"),
        ("backends: [", "cannot be read"),
    ],
)
def test_a_wrong_backends_file_is_refused_at_the_start(shop: Shop, text: str, word: str) -> None:
    backends(shop, text)
    with pytest.raises(SettingsInvalid, match=re.escape(word)):
        load_backends(shop.settings, {})


def test_a_hosted_backend_in_a_private_network_is_not_called(shop: Shop, fake: FakeModelServer, limits: Limits) -> None:
    named = fake.url.replace("127.0.0.1", "localhost")
    backends(shop, f"backends: {{it: {{preset: openai, url: '{named}'}}}}")
    shop.settings = dataclasses.replace(shop.settings, private_is_allowed=False)
    with Serving(shop, limits) as gateway:
        assert gateway.ask().json()["error"]["code"] == "backend_unreachable"
    assert fake.bodies == []


def rules(shop: Shop, text: str) -> None:
    (shop.root / "features").mkdir(exist_ok=True)
    (shop.root / "features" / "tenants.yaml").write_text(text)
