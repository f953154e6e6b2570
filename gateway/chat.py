"""POST /v1/chat/completions: channel and release, the model server, the canary's way out, the durable log."""

from __future__ import annotations

import uuid
from typing import Any

import structlog
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from gateway.access import caller_of
from gateway.backends import Answered
from gateway.guarding import guard_answer, guard_input
from gateway.mirror import has_failed
from gateway.parts import Parts
from gateway.refusals import BackendFailed, Refusal, json_response
from gateway.replicas import Opened
from gateway.requests import check_chat, for_tenant, read_body, to_messages
from gateway.routing import Served
from gateway.stream import EventStream, relay, whole_as_events
from gateway.turn import NOBODY, Heard, Turn

logger = structlog.get_logger("gateway")
Answer = Opened | dict[str, Any]


async def complete_chat(parts: Parts, request: Request) -> Response:
    """Answer a chat request with the release of the user's channel.

    Raises:
        Refusal: a bad request, an unknown feature, a model server that fails, or a store that cannot write.
    """
    raw = await read_body(request, parts.limits)
    asked = check_chat(raw, parts.limits)
    caller = caller_of(request)
    caller.check_feature(asked.model)
    asked = for_tenant(asked, caller.tenant(asked.ratchet.tenant))
    messages = to_messages(asked.messages)
    user_id = asked.user or NOBODY + uuid.uuid4().hex
    fields = asked.ratchet
    parts.router.channel(asked.model, fields.tenant, fields.segment)  # who asks for what is not there pays nothing
    tenant = await parts.quotas.admit(fields.tenant)
    assigned = parts.router.assign(asked.model, user_id, fields.tenant, fields.segment, takes_trials=tenant.trials)
    turn = Turn(asked, raw, messages, user_id, assigned, tenant=tenant)
    try:
        answer = await _serve(parts, turn)
        response: Response
        if isinstance(answer, Opened):
            response = EventStream(relay(parts, turn, answer), headers=turn.headers(), media_type="text/event-stream")
        else:
            response = await _finish(parts, turn, await guard_answer(parts, turn, answer))
        if assigned.shadow is not None:
            response.background = BackgroundTask(parts.mirror.offer, parts, turn)  # once all of it was sent
        return response
    except Refusal as refusal:
        if has_failed(refusal):
            await parts.mirror.offer(parts, turn)
        parts.metrics.requests.labels(turn.feature, turn.channel, str(refusal.status)).inc()
        if parts.telemetry is not None:
            parts.telemetry.observe(turn, None, refusal.code)
        logger.warning("chat_failed", interaction_id=turn.interaction_id, feature=turn.feature, code=refusal.code)
        raise


async def _serve(parts: Parts, turn: Turn) -> Answer:
    """Ask the assigned release; where a canary or the held back one fails, for any reason, stable answers instead."""
    try:
        turn.serving = await parts.router.release(turn.assigned.release_id)
        return await _ask(parts, turn, turn.serving)
    except BackendFailed as failure:
        if turn.assigned.channel == "stable":
            raise
        logger.warning(
            f"{turn.assigned.channel}_failed",
            interaction_id=turn.interaction_id,
            feature=turn.feature,
            release_id=turn.assigned.release_id,
            code=failure.code,
        )
        turn.fell_back_for = failure.code
    fields = turn.asked.ratchet
    stable = parts.router.channel(turn.feature, fields.tenant, fields.segment).stable
    turn.serving = await parts.router.release(stable)
    answer = await _ask(parts, turn, turn.serving)
    parts.metrics.fallbacks.labels(turn.feature).inc()
    return answer


async def _ask(parts: Parts, turn: Turn, serving: Served) -> Answer:
    await guard_input(parts, turn)
    answered: Answered[Opened] | Answered[dict[str, Any]]
    if turn.is_streamed_through:
        answered = await parts.backends.open_stream(turn.call(serving))
    else:
        answered = await parts.backends.complete(turn.call(serving))
    turn.answered_by(answered)
    return answered.value


async def _finish(parts: Parts, turn: Turn, answer: dict[str, Any]) -> Response:
    heard = Heard.of_answer(answer)
    record = turn.stored = turn.record(heard)
    parts.quotas.spent(record)
    await parts.log.append(record)
    parts.answered(turn, heard, "200")
    if turn.asked.stream:
        return EventStream(whole_as_events(turn, answer), headers=turn.headers(), media_type="text/event-stream")
    return json_response({**answer, "id": turn.receipt, "model": turn.feature}, headers=turn.headers())
