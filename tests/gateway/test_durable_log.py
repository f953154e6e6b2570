from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator

import pytest
import sqlalchemy as sa

from gateway.durable_log import DurableLog
from gateway.limits import Limits
from gateway.refusals import Refusal
from ratchet.records import Input, Interaction, Message, Output
from ratchet.store import Store, open_store
from tests.gateway.conftest import AT, Gateway


def record(number: int, text: str = "hello") -> Interaction:
    asked = Input(messages=(Message(role="user", content=text),))
    return Interaction(
        interaction_id=f"int_{number}", feature="routing", at=AT, input=asked, output=Output(content="hi")
    )


def with_log(store: Store, act: Callable[[DurableLog], Awaitable[None]], limits: Limits = Limits()) -> None:  # noqa: B008
    async def run() -> None:
        log = DurableLog(store, limits)
        try:
            await act(log)
        finally:
            await log.close()

    asyncio.run(run())


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with open_store(database_url) as opened:
        yield opened


def test_many_at_once_share_commits(store: Store) -> None:
    commits: list[object] = []
    sa.event.listen(store.engine, "commit", commits.append)

    async def act(log: DurableLog) -> None:
        assert all(await asyncio.gather(*(log.append(record(i)) for i in range(200))))

    with_log(store, act, Limits(log_capacity=64))
    assert store.counts("routing")["interactions"] == 200
    assert len(commits) < 50


def test_one_row_that_cannot_be_written_leaves_its_neighbours(store: Store) -> None:
    async def act(log: DurableLog) -> None:
        bad = record(2).model_copy(update={"feature": None})
        outcomes = await asyncio.gather(*(log.append(r) for r in (record(1), bad, record(3))), return_exceptions=True)
        assert [type(o) for o in outcomes] == [bool, Refusal, bool]

    with_log(store, act)
    assert [i.interaction_id for _, i in store.interactions("routing")] == ["int_1", "int_3"]


def test_a_caller_that_leaves_does_not_take_the_record_along(store: Store) -> None:
    async def act(log: DurableLog) -> None:
        waiting = asyncio.create_task(log.append(record(1)))
        await asyncio.sleep(0)
        waiting.cancel()

    with_log(store, act)
    assert store.interaction("int_1") is not None


def test_a_caller_that_leaves_a_full_queue_does_not_take_the_record_along(store: Store) -> None:
    async def act(log: DurableLog) -> None:
        waiting = [asyncio.create_task(log.append(record(number))) for number in range(5)]
        await asyncio.sleep(0)
        for one in waiting:
            one.cancel()

    with_log(store, act, Limits(log_capacity=1))
    assert store.counts("routing")["interactions"] == 5


def test_close_writes_what_waits(store: Store) -> None:
    async def act(log: DurableLog) -> None:
        for number in range(50):
            log.submit(record(number))

    with_log(store, act)
    assert store.counts("routing")["interactions"] == 50


def test_a_store_that_cannot_write_is_503_and_never_a_silent_loss(gateway: Gateway) -> None:
    path = gateway.shop.settings.database_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE interactions")
    answer = gateway.ask("my card SECRET")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_stored")
    assert answer.headers["Retry-After"] == "1"
    assert "SECRET" not in answer.text
    streamed = gateway.ask(stream=True).text
    assert "not_stored" in streamed
    assert "[DONE]" not in streamed
