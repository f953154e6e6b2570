"""The gateway on PostgreSQL, by one setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from gateway.limits import Limits
from ratchet.keys import Keys
from ratchet.ledger import Ledger
from ratchet.store import open_store
from tests.gateway.conftest import Serving, Shop
from tests.gateway.test_backends import rules
from tests.postgres import Postgres, postgres_server


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One of its own, since it is killed."""
    with postgres_server() as running:
        yield running


@pytest.fixture
def database_url(server: Postgres) -> str:
    return server.address.format("postgres")


def test_chat_feedback_keys_budgets_and_ledger_work_on_postgresql(
    shop: Shop, limits: Limits, database_url: str
) -> None:
    shop.settings = dataclasses.replace(shop.settings, database_url=database_url)
    rules(shop, "acme: {tokens_per_day: 100}\n")
    with open_store(database_url) as store:
        issued = Keys(store.engine).add("k", role="app", tenant="acme", at=datetime.now(UTC))
        Ledger(store.engine).append("key_added", issued.key.key_id)
        assert Ledger(store.engine).verify().entries == 1
    with Serving(shop, limits) as gateway, ThreadPoolExecutor(8) as pool:
        gateway.http.headers["Authorization"] = f"Bearer {issued.token}"
        answers = list(pool.map(lambda n: gateway.ask(user=str(n)), range(8)))
        assert {answer.status_code for answer in answers} == {200}
        said = gateway.say(answers[0].json()["id"], "thumb", True, user="0")
        assert said.json()["stored"]
    assert {record.tenant for record in shop.interactions()} == {"acme"}
    assert len(shop.interactions()) == 8
    assert [record.kind for record in shop.feedback()] == ["thumb"]
    with open_store(database_url) as store:
        assert store.spent("acme", datetime.now(UTC).date().isoformat()).tokens == 8 * 9


def test_a_killed_postgresql_loses_nothing_acknowledged_and_is_found_again(
    shop: Shop, limits: Limits, server: Postgres, database_url: str
) -> None:
    shop.settings = dataclasses.replace(shop.settings, database_url=database_url)
    before = len(shop.interactions())
    with Serving(shop, limits) as gateway:
        answers = [gateway.ask() for _ in range(5)]
        server.control("-m", "immediate", "stop")
        ready, refused = gateway.http.get("/readyz"), gateway.ask()
        server.control("start")
        gateway.ask()  # may find out that its connection is gone
        answers.append(gateway.ask())
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_stored")
    assert ready.json()["store"] != "ok"
    assert {answer.status_code for answer in answers} == {200}
    acknowledged = {answer.json()["id"].removeprefix("chatcmpl-") for answer in answers}
    assert acknowledged <= {record.interaction_id for record in shop.interactions()[before:]}
