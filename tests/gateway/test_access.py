from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.__main__ import main
from gateway.limits import Limits
from ratchet.keys import Issued, Keys
from ratchet.store import open_store
from tests.gateway.conftest import Gateway, Serving, Shop
from tests.ratchet.spans import chat, evaluation, request, span

NOW = datetime.now(UTC)


@pytest.fixture
def add(shop: Shop) -> Callable[..., Issued]:
    def make(role: str = "app", tenant: str = "acme", **more: Any) -> Issued:
        with open_store(shop.settings.database_url) as store:
            return Keys(store.engine).add("k", role=role, tenant=tenant, at=more.pop("at", NOW), **more)

    return make


@pytest.fixture
def strict(shop: Shop, limits: Limits) -> Iterator[Gateway]:
    shop.settings = dataclasses.replace(shop.settings, keys_are_required=True)
    with Serving(shop, limits) as running:
        yield running


def bearer(issued: Issued) -> dict[str, str]:
    return {"Authorization": f"Bearer {issued.token}"}


def ask(gateway: Gateway, issued: Issued | None, **more: Any) -> Any:
    body = {"model": "routing", "user": "u1", "messages": [{"role": "user", "content": "my card is lost"}]}
    headers = bearer(issued) if issued else {"Authorization": "Bearer none"}
    return gateway.http.post("/v1/chat/completions", json=body | more, headers=headers)


def say(gateway: Gateway, issued: Issued, receipt: str, **more: Any) -> Any:
    body = {"interaction_id": receipt, "kind": "thumb", "value": True}
    return gateway.http.post("/v1/feedback", json=body | more, headers=bearer(issued))


def test_without_a_key_nothing_but_health_is_answered(strict: Gateway) -> None:
    assert ask(strict, None).status_code == 401
    assert {strict.http.get(path).status_code for path in ("/v1/models", "/metrics")} == {401}
    assert strict.http.post("/v1/feedback", json={}).status_code == 401
    assert strict.http.get("/healthz").status_code == 200


def test_a_key_opens_what_its_role_allows(strict: Gateway, add: Callable[..., Issued]) -> None:
    app, operator = add(), add("operator")
    assert ask(strict, app).status_code == 200
    assert ask(strict, operator).json()["error"]["code"] == "role_not_allowed"
    pages = [strict.http.get("/metrics", headers=bearer(key)).status_code for key in (app, operator)]
    assert pages == [403, 200]


@pytest.mark.parametrize(
    "change", [lambda t: t[:-2] + ("AA" if t[-2:] != "AA" else "BB"), lambda t: "rk_0", lambda t: t + "x"]
)
def test_a_forged_key_is_refused_even_where_none_is_required(
    gateway: Gateway, add: Callable[..., Issued], change: Callable[[str], str]
) -> None:
    issued = add()
    assert ask(gateway, issued._replace(token=change(issued.token))).json()["error"]["code"] == "bad_key"


def test_an_expired_key_is_refused(strict: Gateway, add: Callable[..., Issued]) -> None:
    old = add(at=NOW - timedelta(days=2), expires_at=NOW - timedelta(days=1))
    assert ask(strict, old).status_code == 401


def test_a_revoked_key_is_refused_within_a_second(strict: Gateway, add: Callable[..., Issued]) -> None:
    issued = add()
    assert ask(strict, issued).status_code == 200
    with open_store(strict.shop.settings.database_url) as store:
        assert Keys(store.engine).revoke(issued.key.key_id, at=datetime.now(UTC))
    deadline = datetime.now(UTC) + timedelta(seconds=5)
    while ask(strict, issued).status_code == 200:
        assert datetime.now(UTC) < deadline


def test_a_key_for_another_feature_asks_nothing_of_this_one(strict: Gateway, add: Callable[..., Issued]) -> None:
    other = add(features=("billing",))
    assert ask(strict, other).json()["error"]["code"] == "key_not_for_feature"
    assert strict.http.get("/v1/models", headers=bearer(other)).json()["data"] == []


def test_the_tenant_of_the_key_beats_the_tenant_of_the_body(strict: Gateway, add: Callable[..., Issued]) -> None:
    for key in [add(tenant="acme"), add(tenant="*")]:
        ask(strict, key, ratchet={"tenant": "globex"})
    assert [i.tenant for i in strict.shop.interactions()] == ["acme", "globex"]


def test_feedback_of_another_tenants_key_is_refused(strict: Gateway, add: Callable[..., Issued]) -> None:
    ours, stranger = add(tenant="acme"), add(tenant="globex")
    receipt = ask(strict, ours).json()["id"]
    assert say(strict, stranger, receipt).status_code == 403
    assert say(strict, stranger, receipt, tenant="acme").status_code == 403
    assert strict.shop.feedback() == []


@pytest.mark.parametrize(
    "forged",
    [
        {"source": {"type": "agent", "id": "a"}},
        {"source": {"type": "judge", "id": "j"}},
        {"feedback_id": "review_1"},
    ],
)
def test_only_a_reviewers_key_speaks_as_a_reviewer(
    strict: Gateway, add: Callable[..., Issued], forged: dict[str, Any]
) -> None:
    app, reviewer = add(), add("reviewer")
    receipt = ask(strict, app).json()["id"]
    assert say(strict, app, receipt, **forged).json()["error"]["code"] == "not_a_reviewer"
    assert say(strict, reviewer, receipt, **forged).status_code == 200


def test_a_gateway_beyond_loopback_does_not_start_without_a_key(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (shop.environ | {"RATCHET_ALLOW_REMOTE": "1"}).items():
        monkeypatch.setenv(name, value)
    assert main(["--host", "0.0.0.0", "--port", "0"]) == 2
    assert "ratchet key add" in capsys.readouterr().err


def test_spans_are_of_the_keys_tenant_and_judge_only_by_a_reviewer(strict: Gateway, add: Callable[..., Issued]) -> None:
    app, other, reviewer = add(), add(features=("billing",)), add("reviewer")
    payload = request(span(chat(**{"ratchet.tenant": "globex"}), events=[evaluation("helpful", value=0.5)]))

    def export(issued: Issued) -> str:
        headers = bearer(issued) | {"x-ratchet-feature": "routing"}
        return strict.http.post("/v1/traces", json=payload, headers=headers).text

    assert "not for this feature" in export(other)
    assert strict.shop.interactions() == []
    assert "may not say this" in export(app)
    assert [record.tenant for record in strict.shop.interactions()] == ["acme"]
    assert strict.shop.feedback() == []
    export(reviewer)
    assert len(strict.shop.feedback()) == 1
