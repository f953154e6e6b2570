from __future__ import annotations

import pytest

from tests.gateway.conftest import Gateway


def test_models_are_the_features_with_a_release(standing: Gateway) -> None:
    assert [model.id for model in standing.openai.models.list()] == ["routing"]


def test_healthz_and_readyz_are_well(standing: Gateway) -> None:
    assert standing.http.get("/healthz").json() == {"status": "ok"}
    ready = standing.http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"store": "ok", "model_server": "ok"})


def test_metrics_count_requests_tokens_and_feedback(gateway: Gateway) -> None:
    receipt = gateway.ask().json()["id"]
    gateway.ask(model="nosuch")
    gateway.say(receipt, "thumb", True)
    page = gateway.http.get("/metrics").text
    assert 'ratchet_requests_total{channel="stable",feature="routing",status="200"} 1.0' in page
    assert 'ratchet_tokens_total{direction="output",feature="routing"} 2.0' in page
    assert 'ratchet_feedback_total{feature="routing",kind="thumb"} 1.0' in page
    assert 'ratchet_latency_seconds_count{channel="stable",feature="routing"} 1.0' in page
    assert "nosuch" not in page


def test_an_unknown_path_is_404_in_openais_shape(standing: Gateway) -> None:
    answer = standing.http.get("/v1/nothing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_path")
    assert standing.http.get("/v1/feedback").status_code == 405


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_a_web_page_of_a_browser_is_refused(standing: Gateway, headers: dict[str, str]) -> None:
    answer = standing.http.post("/v1/feedback", json={}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_origin")


def test_a_damaged_channel_is_503_and_says_which_file(gateway: Gateway) -> None:
    gateway.shop.channels.path("routing").write_text("{}")
    answer = gateway.ask()
    assert answer.status_code == 503
    assert "routing.json is damaged" in answer.json()["error"]["message"]


def test_an_error_of_our_own_tells_neither_traceback_nor_text(gateway: Gateway) -> None:
    gateway.shop.channels.path("routing").unlink()
    gateway.shop.channels.path("routing").mkdir()
    answer = gateway.ask("SECRET")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "SECRET" not in answer.text
    assert "Traceback" not in answer.text
