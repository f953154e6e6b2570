"""How long the gateway waits and how much it takes; one frozen value, so that a test can name other ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Times in seconds, sizes in bytes or counts."""

    connections: int = 1024  # to all backends together
    connect_s: float = 3.0
    try_s: float = 120.0  # one try for a whole answer; of a stream, the longest silence
    load_s: float = 120.0  # loading an adapter
    breaker_failures: int = 5
    breaker_open_s: float = 5.0
    canary_window: int = 40  # of a canary's last requests, so many
    canary_failures: int = 10  # failures stop it
    commit_s: float = 35.0  # more than the database's own busy timeout (30 s), so that its error is the one told
    log_capacity: int = 1024
    log_batch: int = 256
    mirror_capacity: int = 64  # mirrored requests that wait; what comes on top is dropped
    mirror_workers: int = 4  # mirrored requests at the same time
    body_bytes: int = 1 << 20
    trace_bytes: int = 8 << 20  # of POST /v1/traces, as sent and decompressed
    replay_s: float = 300.0  # how old a signed webhook may be
    receipt_days: int = 90  # how long after an answer feedback on it is taken
    json_depth: int = 64
    messages: int = 256
    choices: int = 8  # the greatest `n` of a chat request
    line_bytes: int = 1 << 20  # of a backend's stream
