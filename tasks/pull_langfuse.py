"""Action: interactions and feedback from a Langfuse project, by its public API.

Traces are read by their time and scores by their own, a day at a time; the watermark of each moves when a whole day is
stored, so a pull that was killed reads at most that day again, and ids keep it from adding anything twice. Langfuse
shows what it was sent with minutes of delay, and a score may come days after its trace: each pull reads again the last
hour before its watermark, and a score needs no trace of the same pull.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from ratchet.errors import BadInput, SettingsInvalid, SourceUnreachable
from ratchet.features import Feature, LangfuseSource
from ratchet.jsonl import load_json
from ratchet.outbound import open_pinned
from ratchet.records import Rejected
from ratchet.settings import Settings
from ratchet.store import Document, Store
from tasks.formats.langfuse import read_score_of, records_of_trace
from tasks.formats.rows import text_or_none
from tasks.pull import Intake, OnProgress, PullReport, Record, move_progress, progress_of

PAGE = 50
WINDOW = timedelta(days=1)
OVERLAP = timedelta(hours=1)
FIRST_PULL = timedelta(days=30)
TIMEOUT_S = 30.0
TRIES = 6
RETRIED = (408, 429, 500, 502, 503, 504)
MAX_PAGE_BYTES = 64 << 20
Sleep = Callable[[float], None]


class _Pull(NamedTuple):
    langfuse: _Langfuse
    store: Store
    feature: str
    source: LangfuseSource


def pull_langfuse(
    settings: Settings,
    store: Store,
    feature: Feature,
    *,
    now: datetime,
    since: datetime | None = None,
    on_progress: OnProgress = lambda n: None,
    sleep: Sleep = time.sleep,
) -> PullReport:
    """Read what is new since the last pull, or since `since`; the first one goes 30 days back.

    Raises:
        SettingsInvalid: no address or no keys are set.
        AddressRefused: the address is of a private network and that is not allowed.
        SourceUnreachable: Langfuse does not answer or refuses the keys; what was read before is stored.
    """
    if settings.langfuse_url is None or settings.langfuse_keys is None:
        needed = "RATCHET_LANGFUSE_URL, RATCHET_LANGFUSE_PUBLIC_KEY and RATCHET_LANGFUSE_SECRET_KEY"
        raise SettingsInvalid(f"to pull from Langfuse set {needed}")
    intake = Intake(store, rejects_file(settings, feature), on_progress)
    with open_pinned(
        settings.langfuse_url,
        allow_private=settings.private_is_allowed,
        auth=settings.langfuse_keys,
        timeout_s=TIMEOUT_S,
    ) as client:
        source = feature.sources.langfuse or LangfuseSource()
        pull = _Pull(_Langfuse(client, sleep), store, feature.name, source)
        for name, read in (("langfuse traces", _read_traces), ("langfuse scores", _read_scores)):
            before = progress_of(store, name, feature.name)
            for start, end in _windows(before, since, now):
                intake.add(read(pull, start, end))
                reached = max(_as_text(end), before.body["to"] if before else "")
                before = move_progress(store, name, feature.name, before, {"to": reached})
    return intake.report


def rejects_file(settings: Settings, feature: Feature) -> Path:
    """Where what could not be used is listed."""
    return settings.home / "imports" / f"{feature.name}.langfuse.rejects.jsonl"


def _windows(before: Document | None, since: datetime | None, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The days that are to be read, oldest first."""
    start = since or (datetime.fromisoformat(before.body["to"]) - OVERLAP if before else now - FIRST_PULL)
    while start < now:
        end = min(start + WINDOW, now)
        yield start, end
        start = end


def _read_traces(pull: _Pull, start: datetime, end: datetime) -> Iterator[Record]:
    named = {"name": pull.source.trace_name} if pull.source.trace_name else {}
    query = {"fromTimestamp": start, "toTimestamp": end, "orderBy": "timestamp.asc", **named}
    for trace in pull.langfuse.each("traces", query):
        if isinstance(trace, Rejected):
            yield trace
            continue
        trace_id, where = text_or_none(trace.get("id")), f"trace {trace.get('id')!s:.60}"
        if trace_id is None or len(trace_id) > 200 or not trace_id.isprintable():
            yield Rejected(where, "id: missing, not a text, or too long to be one")
            continue
        found = list(pull.langfuse.each("observations", {"traceId": trace_id}))
        yield from (one for one in found if isinstance(one, Rejected))
        observations = [one for one in found if isinstance(one, dict)]
        try:
            # Scores come by their own time stamps: those that are inside a trace would be the early ones only.
            whole = trace | {"observations": observations, "scores": [], "corrections": []}
            yield from records_of_trace(whole, where, feature=pull.feature)
        except BadInput as error:
            yield Rejected(where, str(error), trace_id)


def _read_scores(pull: _Pull, start: datetime, end: datetime) -> Iterator[Record]:
    for score in pull.langfuse.each("scores", {"fromTimestamp": start, "toTimestamp": end}):
        if isinstance(score, Rejected):
            yield score
            continue
        where, trace_id = f"score {score.get('id')!s:.60}", text_or_none(score.get("traceId"))
        try:
            if trace_id is None:
                raise BadInput("a score of no trace")
            asked = pull.store.interaction(trace_id)
            user_id = asked.user_id if asked else None
            yield read_score_of(score, where, trace_id=trace_id, user_id=user_id, kinds=pull.source.scores)
        except BadInput as error:
            yield Rejected(where, str(error), text_or_none(score.get("id")))


class _Langfuse:
    """Pages of Langfuse's public API, asked again where it is busy or out of reach for a moment."""

    def __init__(self, client: httpx.Client, sleep: Sleep) -> None:
        self._client = client
        self._sleep = sleep

    def each(self, what: str, query: dict[str, Any]) -> Iterator[dict[str, Any] | Rejected]:
        """Every item of a list, page by page; an item that cannot be read is Rejected."""
        given = {k: _as_text(v) if isinstance(v, datetime) else v for k, v in query.items()}
        page, pages = 1, 1
        while page <= pages:
            try:
                items, pages = self._page(what, given, page, PAGE)
            except BadInput:
                # One item spoils its page, and would block the pull for ever: they are asked for one by one.
                items = [self._single(what, given, number) for number in range((page - 1) * PAGE + 1, page * PAGE + 1)]
                if all(isinstance(item, Rejected) for item in items):
                    raise SourceUnreachable(f"Langfuse answers {what} with nothing that can be read") from None
                pages = page + 1 if items[-1] is not None else page
            yield from (item for item in items if item is not None)
            page += 1

    def _single(self, what: str, query: dict[str, Any], number: int) -> dict[str, Any] | Rejected | None:
        try:
            items, _ = self._page(what, query, number, 1)
        except BadInput as error:
            return Rejected(f"{what} {number}", str(error))
        return items[0] if items else None

    def _page(
        self, what: str, query: dict[str, Any], page: int, limit: int
    ) -> tuple[list[dict[str, Any] | Rejected | None], int]:
        """The items of a page, and how many pages there are.

        Raises:
            BadInput: it is over 64 MiB, or no JSON that can be read.
        """
        path = f"/api/public/{what}"
        found = load_json(self._get(path, query | {"page": page, "limit": limit}))
        items, meta = (found.get("data"), found.get("meta")) if isinstance(found, dict) else (None, None)
        pages = meta.get("totalPages") if isinstance(meta, dict) else None
        if not isinstance(items, list) or not isinstance(pages, int):
            raise SourceUnreachable(f"Langfuse answered {path} with no page of a list; is the address right?")
        return [i if isinstance(i, dict) else Rejected(what, "not an object") for i in items], pages

    def _get(self, path: str, query: dict[str, Any]) -> bytes:
        problem = ""
        for number in range(TRIES):
            wait_s = 2.0**number * random.uniform(0.5, 1)
            try:
                with self._client.stream("GET", path, params=query) as answer:
                    if answer.status_code == 200:
                        return _read_body(answer)
                    problem = f"HTTP {answer.status_code}"
                    if answer.status_code not in RETRIED:
                        break
                    wait_s = _retry_after(answer) or wait_s
            except httpx.HTTPError as error:
                problem = type(error).__name__
            if number < TRIES - 1:
                self._sleep(min(wait_s, 60))
        raise SourceUnreachable(f"Langfuse does not answer {path}: {problem}; what was read before is stored")


def _as_text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read_body(answer: httpx.Response) -> bytes:
    body = bytearray()
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) > MAX_PAGE_BYTES:
            raise BadInput(f"over {MAX_PAGE_BYTES >> 20} MiB")
    return bytes(body)


def _retry_after(answer: httpx.Response) -> float | None:
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None
