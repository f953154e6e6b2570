from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ratchet.errors import AddressRefused, SettingsInvalid, SourceUnreachable
from ratchet.features import Feature
from ratchet.settings import Settings
from ratchet.store import Store, open_store
from tasks.pull import PullReport
from tasks.pull_langfuse import pull_langfuse
from tests.conftest import POLICY
from tests.spoil import SECRET, spoiled
from tests.tasks.fake_langfuse import KEYS, FakeLangfuse

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = ROOT.parent / "shared" / "data" / "peer_formats" / "langfuse_traces.jsonl"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def feature(**langfuse: Any) -> Feature:
    return Feature.model_validate(POLICY | {"sources": {"langfuse": langfuse}})


def trace(number: int, at: datetime, **more: Any) -> dict[str, Any]:
    said = {"id": f"t{number}", "timestamp": at.isoformat(), "name": "bot", "userId": f"u{number}"}
    return said | {"input": f"question {number}", "output": f"answer {number}"} | more


def score(number: int, at: datetime, name: str = "user-thumb", value: Any = 1, **more: Any) -> dict[str, Any]:
    said = {"id": f"s{number}", "traceId": f"t{number}", "timestamp": at.isoformat(), "name": name, "value": value}
    return said | {"source": "API", "dataType": "NUMERIC", "stringValue": None} | more


@pytest.fixture
def fake() -> Iterator[FakeLangfuse]:
    with FakeLangfuse() as server:
        yield server


@pytest.fixture
def environ(tmp_path: Path, fake: FakeLangfuse) -> dict[str, str]:
    keys = {"RATCHET_LANGFUSE_PUBLIC_KEY": KEYS[0], "RATCHET_LANGFUSE_SECRET_KEY": KEYS[1]}
    places = {"RATCHET_REPO": str(tmp_path), "RATCHET_HOME": str(tmp_path / "home")}
    return keys | places | {"RATCHET_LANGFUSE_URL": fake.url, "RATCHET_ALLOW_PRIVATE": "1"}


@pytest.fixture
def store(environ: dict[str, str]) -> Iterator[Store]:
    with open_store(Settings.from_env(environ).database_url) as opened:
        yield opened


def pull(environ: dict[str, str], store: Store, now: datetime = NOW, **more: Any) -> PullReport:
    waits: list[float] = more.pop("waits", [])
    known = more.pop("known", None) or feature()
    return pull_langfuse(Settings.from_env(environ), store, known, now=now, sleep=waits.append, **more)


def test_exported_traces_arrive_with_their_scores(fake: FakeLangfuse, environ: Any, store: Store) -> None:
    if not PUBLIC.is_file():
        pytest.skip(f"the public data beside the clone is missing: {PUBLIC.name}")
    for line in PUBLIC.read_text().splitlines():
        fake.add(json.loads(line))
    for row in [*fake.traces, *fake.scores]:  # of seven months, which would be as many windows
        row["timestamp"] = (NOW - timedelta(days=2)).isoformat()
    report = pull(environ, store)
    assert report.read == 8 + len(fake.scores) == report.accepted + sum(report.rejected.values())
    assert store.counts("routing") == {"interactions": report.accepted - len(fake.scores), "feedback": len(fake.scores)}
    again = pull(environ, store, since=NOW - timedelta(days=3))
    assert (again.accepted, again.known) == (0, report.accepted)


def test_the_next_pull_reads_what_is_new(fake: FakeLangfuse, environ: Any, store: Store) -> None:
    fake.traces = [trace(1, NOW - timedelta(days=3)), trace(2, NOW - timedelta(days=40))]
    assert pull(environ, store).accepted == 1  # the first one goes 30 days back
    fake.traces += [trace(3, NOW + timedelta(minutes=5))]
    later = pull(environ, store, NOW + timedelta(hours=1))
    assert (later.read, later.accepted) == (1, 1)


def test_a_trace_that_langfuse_shows_late_is_read_again_in_the_overlap(
    fake: FakeLangfuse, environ: Any, store: Store
) -> None:
    pull(environ, store)
    fake.traces = [trace(1, NOW - timedelta(minutes=20))]
    assert pull(environ, store, NOW + timedelta(hours=1)).accepted == 1


def test_a_late_score_finds_its_old_trace(fake: FakeLangfuse, environ: Any, store: Store) -> None:
    fake.traces = [trace(1, NOW - timedelta(days=20))]
    pull(environ, store)
    fake.scores = [score(1, NOW + timedelta(days=2), value=0)]
    assert pull(environ, store, NOW + timedelta(days=3)).accepted == 1
    ((_, _, found),) = store.feedback("routing")
    assert (found.interaction_id, found.kind, found.value) == ("t1", "rating", 0)
    assert (found.source.type, found.source.id, found.at) == ("user", "u1", NOW + timedelta(days=2))


def test_a_scores_name_stands_for_a_kind(fake: FakeLangfuse, environ: Any, store: Store) -> None:
    known = feature(scores={"user-thumb": "thumb", "fix": "correction"})
    fake.traces = [trace(1, NOW - timedelta(days=1))]
    text = {"dataType": "CATEGORICAL", "stringValue": "loans", "value": None, "id": "s9", "source": "ANNOTATION"}
    fake.scores = [score(1, NOW - timedelta(hours=2), value=0), score(1, NOW - timedelta(hours=1), "fix") | text]
    pull(environ, store, known=known)
    assert sorted((f.kind, f.value) for _, _, f in store.feedback("routing")) == [
        ("correction", "loans"),
        ("thumb", False),
    ]


def test_only_traces_of_the_features_name_are_read(fake: FakeLangfuse, environ: Any, store: Store) -> None:
    fake.traces = [trace(1, NOW - timedelta(days=1)), trace(2, NOW - timedelta(days=1), name="other")]
    assert pull(environ, store, known=feature(trace_name="bot")).read == 1


def test_many_pages_and_days_are_read_whole(fake: FakeLangfuse, environ: Any, store: Store) -> None:
    fake.traces = [trace(n, NOW - timedelta(minutes=20 * n)) for n in range(1, 131)]
    fake.scores = [score(n, NOW - timedelta(minutes=n)) for n in range(1, 131)]
    assert pull(environ, store).accepted == 260
    assert store.counts("routing") == {"interactions": 130, "feedback": 130}


def test_a_busy_langfuse_is_asked_again_when_it_says(fake: FakeLangfuse, environ: Any, store: Store) -> None:
    fake.traces = [trace(1, NOW - timedelta(days=1))]
    fake.failures = [(429, {"Retry-After": "7"}, b"{}"), (503, {}, b""), (500, {}, b"oops")]
    waits: list[float] = []
    assert pull(environ, store, waits=waits).accepted == 1
    assert waits[0] == 7 and 1 <= waits[1] <= 2 <= waits[2] <= 4


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_ends_the_pull_at_once_and_tells_no_key(
    fake: FakeLangfuse, environ: Any, store: Store, status: int
) -> None:
    fake.failures = [(status, {}, b"{}")] * 9
    with pytest.raises(SourceUnreachable, match=f"HTTP {status}") as raised:
        pull(environ, store)
    assert len(fake.asked) == 1 and KEYS[1] not in str(raised.value)
    assert KEYS[1] not in repr(Settings.from_env(environ))


def test_what_was_read_before_langfuse_went_away_is_stored(fake: FakeLangfuse, environ: Any, store: Store) -> None:
    fake.traces = [trace(1, NOW - timedelta(days=20)), trace(2, NOW - timedelta(days=1))]

    def go_away(path: str, query: dict[str, str]) -> None:
        if query.get("traceId") == "t2":
            fake.failures = [(503, {}, b"")] * 6

    fake.on_request = go_away
    with pytest.raises(SourceUnreachable):
        pull(environ, store)
    assert store.counts("routing")["interactions"] == 1
    fake.on_request = lambda path, query: None
    report = pull(environ, store)
    assert (report.accepted, report.known) == (1, 0)  # it went on with the day in which it stopped


POISON = [b"[" * 5000 + b"]" * 5000, b'{"id": tru', b"\xff\xfe", b'{"id":"t2"}', b'"x"', b"null"]
POISON += [b'{"id":"t2","timestamp":"2026-02-28T12:00:00Z","input":"\\ud800","output":"b"}']
POISON += [b'{"id":"t2\\u0000","timestamp":{},"input":7,"output":[]}', b'{"id":["t2"],"timestamp":NaN}']


@pytest.mark.parametrize("poison", POISON)
def test_one_poisoned_trace_neither_blocks_nor_vanishes(
    fake: FakeLangfuse, environ: Any, store: Store, poison: bytes
) -> None:
    fake.traces = [trace(n, NOW - timedelta(hours=n)) for n in (1, 2, 3)]
    fake.raw = {"t2": poison}
    report = pull(environ, store)
    assert (report.accepted, sum(report.rejected.values())) == (2, 1)
    assert report.rejects is not None and len(report.rejects.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b'{"data":[],"meta":7}', b"[]", b'{"data":{},"meta":{"totalPages":1}}']
)
def test_an_address_that_is_no_langfuse_is_told(fake: FakeLangfuse, environ: Any, store: Store, body: bytes) -> None:
    fake.failures = [(200, {}, body)] * 60
    with pytest.raises(SourceUnreachable, match="Langfuse answer"):
        pull(environ, store)


def test_a_private_address_is_refused_unless_allowed(fake: FakeLangfuse, environ: Any, store: Store) -> None:
    with pytest.raises(AddressRefused, match="RATCHET_ALLOW_PRIVATE"):
        pull({k: v for k, v in environ.items() if k != "RATCHET_ALLOW_PRIVATE"}, store)
    assert fake.asked == []


def test_missing_keys_are_named(environ: Any, store: Store) -> None:
    with pytest.raises(SettingsInvalid, match="RATCHET_LANGFUSE_SECRET_KEY"):
        pull({k: v for k, v in environ.items() if k != "RATCHET_LANGFUSE_SECRET_KEY"}, store)


@pytest.mark.parametrize("n", [150, pytest.param(2500, marks=pytest.mark.slow)])
def test_fuzz_of_what_langfuse_says_gives_each_item_its_outcome(
    fake: FakeLangfuse, environ: Any, store: Store, n: int
) -> None:
    draw = random.Random(n)
    for number in range(n):
        fake.traces.append(trace(number, NOW - timedelta(minutes=1 + number % 1000)))
        fake.scores.append(score(number, NOW - timedelta(minutes=1 + number % 1000)))
    rows = [row for row in [*fake.traces, *fake.scores] if draw.random() < 0.9]
    fake.raw = {row["id"]: spoiled(row, draw, damage=0.02) for row in rows}
    report = pull(environ, store)
    assert report.read == 2 * n
    assert report.accepted and report.rejected and SECRET not in str(report)


def test_kill_9_in_the_middle_loses_nothing_and_adds_nothing_twice(
    fake: FakeLangfuse, environ: dict[str, str], store: Store
) -> None:
    fake.traces = [trace(n, NOW - timedelta(hours=n)) for n in range(1, 73)]
    fake.scores = [score(n, NOW - timedelta(hours=n)) for n in range(1, 73)]
    reached, go_on = threading.Event(), threading.Event()

    def stall(path: str, query: dict[str, str]) -> None:
        if query.get("traceId") == "t20":  # of the last day: two are stored and noted
            reached.set()
            go_on.wait(20)

    fake.on_request = stall
    program = (
        "import datetime; from ratchet.features import Feature; from ratchet.settings import Settings;"
        "from ratchet.store import Store; from tasks.pull_langfuse import pull_langfuse; s = Settings.from_env();"
        f"pull_langfuse(s, Store(s.database_url), Feature.model_validate({POLICY!r}),"
        f" now=datetime.datetime.fromisoformat({NOW.isoformat()!r}))"
    )
    pulling = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=dict(os.environ) | environ)
    assert reached.wait(20)
    pulling.send_signal(signal.SIGKILL)
    pulling.wait()
    go_on.set()
    stored = store.counts("routing")["interactions"]
    assert 0 < stored < 72
    report = pull(environ, store)
    assert store.counts("routing") == {"interactions": 72, "feedback": 72}
    assert report.accepted == 144 - stored
