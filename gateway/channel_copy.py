"""Channels on S3, copied to the folder that requests are routed by: S3 may be slow or gone, the gateway serves on."""

from __future__ import annotations

import asyncio

import structlog

from ratchet.buckets import open_bucket
from ratchet.errors import RatchetError
from ratchet.pointers import BucketPointers, mirror
from ratchet.settings import Settings

logger = structlog.get_logger("gateway")
EVERY_S = 0.4  # a move is seen within a second


async def copy_channels(settings: Settings) -> None:
    """Copy pointers that moved, until cancelled; while S3 fails, what was known last goes on serving."""
    assert settings.store_uri is not None
    source = BucketPointers(open_bucket(settings.store_uri, settings).below("channels"))
    seen: dict[str, str] = {}
    was_well = True
    while True:
        try:
            await asyncio.to_thread(mirror, source, settings.channels_dir, seen)
            was_well = True
        except RatchetError as error:
            if was_well:
                logger.error("channels_not_copied", error=type(error).__name__, why=str(error))
            was_well = False
        await asyncio.sleep(EVERY_S)
