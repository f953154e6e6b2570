"""The durable log: what a caller is told of is on disk. One writer thread commits whole batches (group commit)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import sqlalchemy as sa
import structlog

from gateway.limits import Limits
from gateway.refusals import Refusal
from ratchet.mirrored import Mirrored
from ratchet.records import Feedback, Interaction
from ratchet.store import Store

logger = structlog.get_logger("gateway")
Record = Interaction | Feedback | Mirrored


class _Entry(NamedTuple):
    record: Record
    outcome: asyncio.Future[bool]


class DurableLog:
    """A bounded queue in front of the store; a full queue makes its callers wait.

    While the writer's thread commits one batch the next one gathers; the queue itself belongs to the event loop.
    """

    def __init__(self, store: Store, limits: Limits, scrub: Callable[[Record], Record] = lambda record: record) -> None:
        """`scrub` gives what is stored of a record; called in the writer's thread, so that no way in can pass it by."""
        self._store = store
        self._scrub = scrub
        self._limits = limits
        self._queue: deque[_Entry] = deque()
        self._room = asyncio.Semaphore(limits.log_capacity)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="durable-log")
        self._pending: set[asyncio.Task[bool]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def close(self) -> None:
        """Write what waits, then stop."""
        if self._pending:
            await asyncio.gather(*self._pending, return_exceptions=True)
        await self._idle.wait()
        self._writer.shutdown()

    async def append(self, record: Record) -> bool:
        """Store a record; True where its id was new. It is on disk when this returns.

        A caller that is cancelled while it waits leaves the record to be written all the same.

        Raises:
            Refusal: 503 where the store could not write it.
        """
        if self._room.locked():  # it is not yet in the queue while it waits for room: a task of its own brings it there
            return await asyncio.shield(self.submit(record))
        return await self._append(record)

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
        try:
            async with asyncio.timeout(self._limits.commit_s):
                await self._room.acquire()
                entry = _Entry(record, asyncio.get_running_loop().create_future())
                self._queue.append(entry)
                if self._idle.is_set():
                    self._idle.clear()
                    asyncio.get_running_loop().call_soon(self._write_next)  # what is ready beside it goes along
                return await entry.outcome
        except TimeoutError as error:
            raise _not_stored() from error

    def _settled(self, task: asyncio.Task[bool]) -> None:
        self._pending.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: whoever waited was told, and the failure was logged where it arose

    def _write_next(self) -> None:
        """Give the writer what has gathered."""
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._limits.log_batch))]
        if not batch:
            self._idle.set()
            return
        self._writer.submit(self._write_batch, batch, asyncio.get_running_loop())

    def _write_batch(self, batch: Sequence[_Entry], loop: asyncio.AbstractEventLoop) -> None:
        """In the writer's thread."""
        outcomes = self._write([entry.record for entry in batch])
        loop.call_soon_threadsafe(self._tell, batch, outcomes)

    def _tell(self, batch: Sequence[_Entry], outcomes: Sequence[bool | Refusal]) -> None:
        """Tell everybody who waits for a batch, back in the event loop."""
        for entry, outcome in zip(batch, outcomes, strict=True):
            self._room.release()
            if entry.outcome.done():  # nobody waits any more
                continue
            if isinstance(outcome, bool):
                entry.outcome.set_result(outcome)
            else:
                entry.outcome.set_exception(outcome)
        asyncio.get_running_loop().call_soon(self._write_next)

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
    record_id = record.feedback_id if isinstance(record, Feedback) else record.interaction_id
    logger.error("not_stored", id=record_id, error=type(error).__name__)
    return _not_stored()


def _not_stored() -> Refusal:
    return Refusal(
        503,
        "not_stored",
        "the store could not write the record, so it is not acknowledged; see /readyz and the gateway's log",
        retry_after_s=1,
    )
