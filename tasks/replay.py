"""The replayer: acts as customers and support agents from labelled messages, through the gateway, as an OpenAI client.

For demonstrations, benchmarks and tests. Its noise never touches the holdout, which is labelled apart.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from ratchet.errors import BadInput, BadRecord, ServiceUnreachable
from ratchet.features import Feature
from ratchet.params import ReplayParams
from ratchet.records import Rejected, read_jsonl
from ratchet.scorers import Item, score_item

if TYPE_CHECKING:
    import openai

AGENTS = ("ana", "ben", "chi")


@dataclass(frozen=True)
class ReplayMessage:
    """What a customer writes, and what the right answer is: a label, or an ideal text."""

    text: str
    expected: str
    session: str
    user: str
    contexts: tuple[dict[str, str], ...] = ()
    variables: dict[str, Any] = field(default_factory=dict)

    def answered(self, text: str) -> Item:
        """The message with an answer, as scorers take it."""
        asked = [{"role": "user", "content": self.text}]
        known = {"contexts": list(self.contexts), "expected": self.expected, "variables": self.variables}
        return Item.model_validate({"messages": asked, "output": text, **known})


@dataclass
class ReplayReport:
    """What was sent and said."""

    sent: int = 0
    failed: int = 0
    thumbs: int = 0
    corrections: int = 0
    rephrases: int = 0


def load_messages(path: Path) -> list[ReplayMessage]:
    """Read JSONL of {"text", "label" or "expected", "session"?, "user"?, "contexts"?, "variables"?}.

    Raises:
        BadInput: no such file, or nothing in it.
        BadRecord: a malformed line.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    found = []
    for number, (where, row) in enumerate(read_jsonl(path)):
        if isinstance(row, Rejected):
            raise BadRecord(f"{where}: {row.reason}")
        expected = row.get("label", row.get("expected"))
        if not isinstance(row.get("text"), str) or not row["text"].strip() or not isinstance(expected, str):
            raise BadRecord(f'{where}: needs "text", and "label" or "expected"')
        found.append(
            ReplayMessage(
                text=row["text"],
                expected=expected,
                session=str(row.get("session") or f"session-{number}"),
                user=str(row.get("user") or f"user-{number}"),
                contexts=tuple(row.get("contexts") or ()),
                variables=row.get("variables") or {},
            )
        )
    if not found:
        raise BadInput(f"{path} holds no messages")
    return found


async def replay(
    messages: Sequence[ReplayMessage],
    *,
    feature: Feature,
    gateway_url: str,
    gateway_key: str | None = None,
    rates: ReplayParams,
    on_progress: Callable[[], None],
) -> ReplayReport:
    """Send the messages, turns of a session in order and sessions side by side; give feedback by the rates.

    Every draw comes from a generator seeded by the session, so a replay says the same each time.

    Args:
        gateway_key: of role admin, where the gateway asks for keys: agents speak here, and users.

    Raises:
        ServiceUnreachable: the gateway does not answer.
    """
    import openai  # half a second that no other command should pay

    sessions: dict[str, list[ReplayMessage]] = {}
    for message in messages:
        sessions.setdefault(message.session, []).append(message)
    report = ReplayReport()
    free = asyncio.Semaphore(rates.concurrency)
    key = gateway_key or "none"  # the SDK insists on one
    client = openai.AsyncOpenAI(base_url=f"{gateway_url}/v1", api_key=key, max_retries=1, timeout=180)
    said_by = {"Authorization": f"Bearer {key}"}
    async with client, httpx.AsyncClient(base_url=gateway_url, headers=said_by, timeout=60, trust_env=False) as plain:
        actor = _Actor(client, plain, feature, rates, report, on_progress)

        async def act(turns: list[ReplayMessage]) -> None:
            async with free:
                await actor.act(turns)

        try:
            await asyncio.gather(*(act(turns) for turns in sessions.values()))
        except (openai.APIConnectionError, httpx.TransportError) as error:
            raise ServiceUnreachable(
                f"the gateway does not answer at {gateway_url}; start it with `make up`"
            ) from error
    return report


class _Actor:
    """Plays one session after another: the customer's side and the agents'."""

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        plain: httpx.AsyncClient,
        feature: Feature,
        rates: ReplayParams,
        report: ReplayReport,
        on_progress: Callable[[], None],
    ) -> None:
        self.client = client
        self.plain = plain
        self.feature = feature
        self.rates = rates
        self.report = report
        self.on_progress = on_progress

    async def act(self, turns: Sequence[ReplayMessage]) -> None:
        """Play one session."""
        draw = random.Random(f"{self.rates.seed}:{turns[0].session}")
        for turn in turns:
            answered = await self._ask(turn, turn.text)
            self.on_progress()
            if answered is None:
                continue
            receipt, text = answered
            is_right = self._is_right(text, turn)
            await self._respond(receipt, turn, is_right=is_right, draw=draw)
            if not is_right and draw.random() < self.rates.rephrase_rate:
                self.report.rephrases += 1
                await self._ask(turn, f"{turn.text} (asked again)")

    async def _ask(self, turn: ReplayMessage, text: str) -> tuple[str, str] | None:
        from openai import APIStatusError

        extra = {"session": turn.session, "contexts": list(turn.contexts), "variables": turn.variables}
        try:
            reply = await self.client.chat.completions.create(
                model=self.feature.name,
                messages=[{"role": "user", "content": text}],
                user=turn.user,
                extra_body={"ratchet": extra},
            )
        except APIStatusError:
            self.report.failed += 1
            return None
        self.report.sent += 1
        return reply.id, reply.choices[0].message.content or ""

    async def _respond(self, receipt: str, turn: ReplayMessage, *, is_right: bool, draw: random.Random) -> None:
        rates = self.rates
        if draw.random() < rates.thumb_rate:
            thumb = is_right if draw.random() >= rates.noise else not is_right
            await self._say(receipt, "thumb", thumb, {"type": "user", "id": turn.user})
            self.report.thumbs += 1
        labels = (self.feature.enum_field() or ("", []))[1]
        agent = {"type": "agent", "id": draw.choice(AGENTS)}
        if not labels or draw.random() >= rates.correction_rate:
            return
        if is_right:
            if draw.random() < 0.5:  # agents look at every second right answer
                await self._say(receipt, "thumb", True, agent)
                self.report.thumbs += 1
            return
        label = turn.expected if draw.random() >= rates.noise else draw.choice(labels)
        await self._say(receipt, "correction", label, agent)
        self.report.corrections += 1

    async def _say(self, receipt: str, kind: str, value: Any, source: dict[str, str]) -> None:
        body = {"interaction_id": receipt, "kind": kind, "value": value, "source": source}
        reply = await self.plain.post("/v1/feedback", json=body)
        if reply.is_error:
            self.report.failed += 1

    def _is_right(self, text: str, turn: ReplayMessage) -> bool:
        if self.feature.enum_field() is not None:
            return self.feature.label_of(text) == turn.expected
        score = score_item(self.feature.scorer, turn.answered(text), self.feature).score
        return score is not None and score >= self.rates.thumb_threshold
