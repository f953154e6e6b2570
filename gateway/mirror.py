"""Mirrored requests: once a user has the answer, a share of the requests goes to the release on trial as well.

Nothing of it reaches the user. What waits is bounded, and what finds the queue full is dropped and counted. The answers
are looked at and forgotten: signals of both, tokens and money are kept (`ratchet.mirrored`), apart from all traffic.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from gateway.guarding import guard_answer, guard_input
from gateway.limits import Limits
from gateway.parts import Parts
from gateway.refusals import BackendFailed, Refusal
from gateway.turn import Heard, Turn
from ratchet.channels import Assignment, Shadow
from ratchet.mirrored import Mirrored, Signals
from ratchet.outcomes import answer_signals
from ratchet.records import Interaction, Usage

logger = structlog.get_logger("gateway")
NOT_TRIED = frozenset({"tenant_rules", "backend_busy", "breaker_open", "no_backend"})  # says nothing of the release
BROKEN: Signals = {"error": True}


class _Waiting(NamedTuple):
    turn: Turn
    shadow: Shadow
    answer: Interaction | None


class Mirror:
    """A bounded queue and the few workers that ask the release on trial."""

    def __init__(self, limits: Limits) -> None:
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(limits.mirror_capacity)
        self._n_workers = limits.mirror_workers
        self._workers: list[asyncio.Task[None]] = []

    def start(self, parts: Parts) -> None:
        """Begin asking."""
        self._workers = [asyncio.create_task(self._work(parts)) for _ in range(self._n_workers)]

    async def close(self) -> None:
        """Stop; what waits is given up, as nobody waits for it."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def offer(self, parts: Parts, turn: Turn) -> None:
        """Take a turn whose answer was sent, if the draw says so; never waits.

        An answer that another release or backend gave says nothing of the champion, so it is not mirrored. A request
        that the champion failed on is: else only the candidate could ever be seen to fail.
        """
        shadow, answer = turn.assigned.shadow, turn.stored
        is_aborted = answer is not None and answer.finish_reason == "aborted"
        if shadow is None or turn.is_fallback or is_aborted or random.random() >= shadow.share:
            return
        try:
            self._queue.put_nowait(_Waiting(turn, shadow, answer))
        except asyncio.QueueFull:
            parts.metrics.shadow(turn.feature, "dropped")

    async def _work(self, parts: Parts) -> None:
        while True:
            waiting = await self._queue.get()
            turn = waiting.turn
            try:
                outcome = await _mirror(parts, waiting)
            except Exception as error:  # noqa: BLE001 - a worker's boundary: the next request is mirrored all the same
                logger.error("mirror_broke", interaction_id=turn.interaction_id, error=type(error).__name__)
                outcome = "broke"
            parts.metrics.shadow(turn.feature, outcome)


async def _mirror(parts: Parts, waiting: _Waiting) -> str:
    """Ask the release on trial and keep the pair. Returns what came of it, for the metrics."""
    user, shadow = waiting.turn, waiting.shadow
    fields = user.asked.ratchet
    now = parts.router.channel(user.feature, fields.tenant, fields.segment).shadow
    if now is None or now.rollout_id != shadow.rollout_id:
        return "ended"
    turn = _as_mirrored(user, shadow)
    outcome, heard, signals = await _ask(parts, turn)
    if signals is None:
        return outcome
    assert turn.serving is not None
    champion, said = BROKEN, None
    if waiting.answer is not None:
        served = await parts.router.release(user.assigned.release_id)
        champion, said = answer_signals(waiting.answer, served.release.output_schema), waiting.answer.output.content
    record = Mirrored(
        mirror_id=f"{shadow.rollout_id}/{user.interaction_id}",
        rollout_id=shadow.rollout_id,
        interaction_id=user.interaction_id,
        feature=user.feature,
        tenant=fields.tenant,
        user_id=user.user_id,
        at=datetime.now(UTC),
        champion=champion,
        candidate=signals,
        is_same=None if said is None or heard.content is None else said == heard.content,
        usage=Usage(input_tokens=heard.count("prompt_tokens"), output_tokens=heard.count("completion_tokens")),
        cost_usd=turn.cost_usd(heard),
    )
    parts.metrics.shadow_spent(record)
    await parts.log.append(record)
    return outcome


async def _ask(parts: Parts, turn: Turn) -> tuple[str, Heard, Signals | None]:
    """What the release on trial says, guarded as it would be for a user; no signals where it could not be tried."""
    try:
        turn.serving = await parts.router.release(turn.assigned.release_id)
        await guard_input(parts, turn)
        answered = await parts.backends.complete(turn.call(turn.serving))
        turn.answered_by(answered)
        heard = Heard.of_answer(await guard_answer(parts, turn, answered.value))
    except BackendFailed as failure:
        if has_failed(failure) or failure.status == 400:
            return "error", Heard(), BROKEN
        return "not_tried", Heard(), None
    except Refusal as refusal:  # a guard of the candidate's blocks what the champion's let pass
        if refusal.code != "guard_blocked":
            return "not_tried", Heard(), None
        return "answered", Heard(), {"error": False, "refusal": True}
    return "answered", heard, answer_signals(turn.record(heard), turn.serving.release.output_schema)


def has_failed(refusal: Refusal) -> bool:
    """Whether a release was tried and failed, by no fault of the request or of how busy its server is."""
    return isinstance(refusal, BackendFailed) and refusal.is_its_fault and refusal.code not in NOT_TRIED


def _as_mirrored(user: Turn, shadow: Shadow) -> Turn:
    """The same request as one that nobody waits for: whole instead of streamed, and drawn by nobody."""
    return Turn(
        user.asked.model_copy(update={"stream": False, "stream_options": None}),
        user.raw,
        user.messages,
        user.user_id,
        Assignment("shadow", shadow.release_id, shadow.share),
        tenant=user.tenant,
    )
