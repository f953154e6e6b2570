"""Watching a rollout in the demo: replayed traffic goes on while ticks every few seconds read its evidence."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cli.demo_data import DemoData
from cli.session import Session, console
from ratchet.errors import RatchetError
from ratchet.features import load_feature
from ratchet.params import load_params
from ratchet.runs import Run
from tasks.replay import ReplayMessage, load_messages, replay
from tasks.rollout import tick

TICK_EVERY_S = 3.0
LIMIT_S = 900
CONCURRENCY = 4


def watch_rollout(session: Session, data: DemoData, run: Run) -> None:
    """Send traffic and tick until the release is on stable or taken back.

    Raises:
        RatchetError: undecided after a quarter of an hour; another `make demo` goes on.
    """
    assert run.rollout_id is not None
    deadline = time.monotonic() + LIMIT_S
    told = ""
    with traffic(session, data.feature, data.later) as check:
        while time.monotonic() < deadline:
            check()
            report = tick(session.store, session.channels, session.ledger, run.rollout_id, now=datetime.now(UTC))
            line = f"   {report.action}: {' '.join(report.reasons)}"
            if line != told:
                console.print(line, markup=False)
                told = line
            document = session.store.document("rollout", run.rollout_id)
            if document is not None and document.body["state"] in ("promoted", "rolled_back"):
                return
            time.sleep(TICK_EVERY_S)
    raise RatchetError("the rollout is not decided yet (too little evidence); `make demo` again goes on with it")


@contextmanager
def traffic(session: Session, feature: str, messages: Path) -> Iterator[Callable[[], None]]:
    """Customers send the messages of a file over and over during the block; what is yielded raises if they cannot."""
    stop = threading.Event()
    failed: list[BaseException] = []
    sender = threading.Thread(target=_send, args=(session, feature, messages, stop, failed), daemon=True)

    def check() -> None:
        if failed:
            raise RatchetError(f"the replayer stopped: {failed[0]}") from failed[0]

    sender.start()
    try:
        yield check
    finally:
        stop.set()
        sender.join(timeout=30)


def _send(session: Session, name: str, file: Path, stop: threading.Event, failed: list[BaseException]) -> None:
    """The messages, each round asked by new customers, until told to stop."""
    feature = load_feature(session.settings.repo, name)
    rates = load_params(session.settings.repo / "params.yaml").replay.model_copy(update={"concurrency": CONCURRENCY})
    messages = load_messages(file)
    began = int(time.time())
    try:
        for number in range(1000):
            for batch in _batches([_as_new_customer(m, f"{began}-{number}") for m in messages], 2 * CONCURRENCY):
                if stop.is_set():
                    return
                seeded = rates.model_copy(update={"seed": rates.seed + number})
                asyncio.run(
                    replay(
                        batch,
                        feature=feature,
                        gateway_url=session.settings.gateway_url,
                        gateway_key=session.settings.gateway_key,
                        rates=seeded,
                        on_progress=_quiet,
                    )
                )
    except Exception as error:  # noqa: BLE001 - a thread's boundary: handed to the watcher, which raises it
        failed.append(error)


def _as_new_customer(message: ReplayMessage, mark: str) -> ReplayMessage:
    return dataclasses.replace(message, user=f"{message.user}-{mark}", session=f"{message.session}-{mark}")


def _batches(messages: list[ReplayMessage], size: int) -> list[list[ReplayMessage]]:
    return [messages[i : i + size] for i in range(0, len(messages), size)]


def _quiet() -> None:
    pass
