"""What a moved channel costs whoever asks meanwhile: how soon the gateway sees it, and what it does to requests."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np

from benchmarks.load import load
from ratchet.channels import Channels

IN_FLIGHT = 500
SLOW_S = 0.5  # how long the slow upstream takes, so that all of them are in flight at the same time


def time_moves(channels: Channels, feature: str, releases: tuple[str, str], url: str, *, moves: int) -> dict[str, Any]:
    """Move a channel to and fro; milliseconds from the call of the move to the first answer of the other release."""
    seconds = []
    asked = {"model": feature, "user": "u1", "messages": [{"role": "user", "content": "hello"}]}
    with httpx.Client(trust_env=False) as client:
        for number in range(moves):
            release_id = releases[(number + 1) % 2]
            began = time.perf_counter()
            _move(channels, feature, release_id)
            while client.post(url, json=asked).headers["x-ratchet-release"] != release_id:
                pass
            seconds.append(time.perf_counter() - began)
        if moves % 2:
            _move(channels, feature, releases[0])
    p50, p99 = (round(float(ms), 3) for ms in np.percentile(np.array(seconds) * 1000, (50, 99)))
    return {"moves": moves, "ms_p50": p50, "ms_p99": p99}


def roll_back_under_load(
    channels: Channels, feature: str, releases: tuple[str, str], url: str, body: bytes
) -> dict[str, Any]:
    """Roll a channel back while 500 requests wait for a slow upstream; how many requests failed."""
    _move(channels, feature, releases[1])

    async def run() -> int:
        asking = asyncio.create_task(load(url, body, concurrency=IN_FLIGHT, requests=4 * IN_FLIGHT))
        await asyncio.sleep(SLOW_S)
        await asyncio.to_thread(_move, channels, feature, releases[0])
        return (await asking).failed

    return {"in_flight": IN_FLIGHT, "requests": 4 * IN_FLIGHT, "errors": asyncio.run(run())}


def _move(channels: Channels, feature: str, release_id: str) -> None:
    channels.move(
        feature,
        stable=release_id,
        canary=None,
        expected_version=channels.read(feature).version,
        at=datetime.now(UTC),
        by="bench",
        reason="to and fro",
    )
