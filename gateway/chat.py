"""POST /v1/chat/completions: channel and release, the model server, the canary's way out, the durable log."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
from starlette.requests import Request
from starlette.responses import Response

from gateway.access import caller_of
from gateway.backends import Answered, Call
from gateway.parts import Parts
from gateway.refusals import BackendFailed, Refusal, json_response
from gateway.requests import check_chat, for_tenant, read_body, to_messages
from gateway.stream import EventStream, relay
from gateway.turn import NOBODY, Heard, Turn

logger = structlog.get_logger("gateway")
T = TypeVar("T")


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
    assigned = parts.router.assign(asked.model, user_id)
    tenant = await parts.quotas.admit(asked.ratchet.tenant)
    turn = Turn(asked, raw, messages, user_id, assigned, tenant=tenant)
    try:
        if asked.stream:
            backend = await _serve(parts, turn, parts.backends.open_stream)
            return EventStream(relay(parts, turn, backend), headers=turn.headers(), media_type="text/event-stream")
        answer = await _serve(parts, turn, parts.backends.complete)
        return await _finish(parts, turn, answer)
    except Refusal as refusal:
        parts.metrics.requests.labels(turn.feature, turn.channel, str(refusal.status)).inc()
        logger.warning("chat_failed", interaction_id=turn.interaction_id, feature=turn.feature, code=refusal.code)
        raise


async def _serve(parts: Parts, turn: Turn, ask: Callable[[Call], Awaitable[Answered[T]]]) -> T:
    """Ask the assigned release; where a canary fails, whatever the reason, stable answers instead."""
    try:
        turn.serving = await parts.router.release(turn.assigned.release_id)
        answered = await ask(turn.call(turn.serving))
        turn.answered_by(answered)
        return answered.value
    except BackendFailed as failure:
        if turn.assigned.channel != "canary":
            raise
        logger.warning(
            "canary_failed",
            interaction_id=turn.interaction_id,
            feature=turn.feature,
            release_id=turn.assigned.release_id,
            code=failure.code,
        )
        turn.fell_back_for = failure.code
    turn.serving = await parts.router.release(parts.router.channel(turn.feature).stable)
    answered = await ask(turn.call(turn.serving))
    turn.answered_by(answered)
    parts.metrics.fallbacks.labels(turn.feature).inc()
    return answered.value


async def _finish(parts: Parts, turn: Turn, answer: dict[str, Any]) -> Response:
    heard = Heard.of_answer(answer)
    record = turn.record(heard)
    parts.quotas.spent(record)
    await parts.log.append(record)
    parts.metrics.answered(turn, heard, "200")
    return json_response({**answer, "id": turn.receipt, "model": turn.feature}, headers=turn.headers())
