"""The durable log: what a caller is told of is on disk. One writer thread commits whole batches (group commit)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import sqlalchemy as sa
import structlog

from gateway.limits import Limits
from gateway.refusals import Refusal
from ratchet.records import Feedback, Interaction
from ratchet.store import Store

logger = structlog.get_logger("gateway")
Record = Interaction | Feedback


class _Entry(NamedTuple):
    record: Record
    outcome: asyncio.Future[bool]


class DurableLog:
    """A bounded queue in front of the store; a full queue makes its callers wait."""

    def __init__(self, store: Store, limits: Limits, scrub: Callable[[Record], Record] = lambda record: record) -> None:
        """Call `start` inside the event loop before the first record.

        Args:
            store: where records go.
            limits: how many wait, and how long.
            scrub: what is stored of a record; called in the writer's thread, so that no way in can pass it by.
        """
        self._store = store
        self._scrub = scrub
        self._limits = limits
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue(limits.log_capacity)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="durable-log")
        self._pending: set[asyncio.Task[bool]] = set()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin writing."""
        self._loop = asyncio.create_task(self._write_batches())

    async def close(self) -> None:
        """Write what waits, then stop."""
        if self._pending:
            await asyncio.gather(*self._pending, return_exceptions=True)
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        self._writer.shutdown()

    async def append(self, record: Record) -> bool:
        """Store a record; True where its id was new. It is on disk when this returns.

        A caller that is cancelled while it waits leaves the record to be written all the same.

        Raises:
            Refusal: 503 where the store could not write it.
        """
        return await asyncio.shield(self.submit(record))

    def submit(self, record: Record) -> asyncio.Task[bool]:
        """Have a record written without waiting for it; a failure is logged with the record's id."""
        task = asyncio.create_task(self._append(record))
        self._pending.add(task)
        task.add_done_callback(self._settled)
        return task

    async def is_writable(self, timeout_s: float) -> bool:
        """Whether the store lets its writer in within `timeout_s`."""
        running = asyncio.get_running_loop().run_in_executor(self._writer, self._try_write)
        try:
            return await asyncio.wait_for(running, timeout_s)
        except TimeoutError:
            return False

    async def _append(self, record: Record) -> bool:
        entry = _Entry(record, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(self._limits.commit_s):
                await self._queue.put(entry)
                return await entry.outcome
        except TimeoutError as error:
            raise _not_stored() from error

    def _settled(self, task: asyncio.Task[bool]) -> None:
        self._pending.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: whoever waited was told, and the failure was logged where it arose

    async def _write_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self._limits.log_batch and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            records = [entry.record for entry in batch]
            outcomes = await loop.run_in_executor(self._writer, self._write, records)
            for entry, outcome in zip(batch, outcomes, strict=True):
                if entry.outcome.done():  # nobody waits any more
                    continue
                if isinstance(outcome, bool):
                    entry.outcome.set_result(outcome)
                else:
                    entry.outcome.set_exception(outcome)

    def _write(self, records: Sequence[Record]) -> list[bool | Refusal]:
        """Write a batch in the writer thread; an outcome per record, in their order."""
        try:
            return list(self._store.add_records([self._scrub(record) for record in records]))
        except sa.exc.OperationalError as error:  # locked, full, gone: no record of the batch could be written
            return [_failed(record, error) for record in records]
        except Exception:  # noqa: BLE001 - one bad row must not take its neighbours with it: each is tried alone
            return [self._write_one(record) for record in records]

    def _write_one(self, record: Record) -> bool | Refusal:
        try:
            return self._store.add_records([self._scrub(record)])[0]
        except Exception as error:  # noqa: BLE001 - whatever the store raised, the request that waits is told
            return _failed(record, error)

    def _try_write(self) -> bool:
        try:
            with self._store.engine.begin() as connection:  # SQLite: takes the write lock
                connection.execute(sa.select(1))  # PostgreSQL: nothing is sent before
                return True
        except sa.exc.SQLAlchemyError as error:
            logger.error("store_not_writable", error=type(error).__name__)
            return False


def _failed(record: Record, error: Exception) -> Refusal:
    record_id = record.interaction_id if isinstance(record, Interaction) else record.feedback_id
    logger.error("not_stored", id=record_id, error=type(error).__name__)
    return _not_stored()


def _not_stored() -> Refusal:
    return Refusal(
        503,
        "not_stored",
        "the store could not write the record, so it is not acknowledged; see /readyz and the gateway's log",
        retry_after_s=1,
    )
