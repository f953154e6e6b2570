"""The release's guards on the way in and on the way out, and the second try for an answer that breaks its schema."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import structlog

from gateway.backends import Call
from gateway.parts import Parts
from gateway.refusals import BackendFailed, Refusal
from gateway.turn import Heard, Turn
from ratchet.guards import Checks, Finding, Guards, check_input, check_output, problem_of, repair_messages

logger = structlog.get_logger("gateway")
MODERATION = "moderation"  # the model's name in the chains of the backends file
CATEGORY = re.compile(r"[a-z][a-z0-9_/ -]{0,40}")


async def guard_input(parts: Parts, turn: Turn) -> None:
    """Look at what was asked.

    Raises:
        Refusal: 400 where a guard blocks it.
    """
    guards = _guards_of(turn)
    if guards is None:
        return
    texts = [message.content for message in turn.messages]
    found = check_input(guards.input, texts, [context.text for context in turn.asked.ratchet.contexts])
    found += await _moderate(parts, turn, guards.input, texts)
    if blocking := _note(parts, turn, "input", found):
        message = f"the request was not sent to a model: {', '.join(f'{f.check} ({f.what})' for f in blocking)}"
        raise Refusal(400, "guard_blocked", message)


async def guard_answer(parts: Parts, turn: Turn, answer: dict[str, Any]) -> dict[str, Any]:
    """A whole answer as it may be sent: put right where it broke its schema, emptied where a guard blocks it."""
    guards = _guards_of(turn)
    if guards is None:
        return answer
    if guards.repair_schema:
        answer = await _repair(parts, turn, answer)
    for choice in answer["choices"]:
        said = choice["message"].get("content") or ""
        if _note(parts, turn, "output", await _look_at(parts, turn, guards.output, said)):
            choice["message"] = {"role": "assistant", "content": ""}
            choice["finish_reason"] = "content_filter"
            choice.pop("logprobs", None)  # they would spell the answer
    return answer


async def guard_streamed(parts: Parts, turn: Turn, said: str) -> None:
    """Look at what was streamed; it cannot be taken back, so it is noted only."""
    guards = _guards_of(turn)
    if guards is not None:
        _note(parts, turn, "output", await _look_at(parts, turn, guards.output, said))


def _guards_of(turn: Turn) -> Guards | None:
    assert turn.serving is not None
    return turn.serving.release.policy.guards


async def _look_at(parts: Parts, turn: Turn, checks: Checks, said: str) -> list[Finding]:
    texts = [message.content for message in turn.messages]
    found = check_output(checks, said, texts, [context.text for context in turn.asked.ratchet.contexts])
    return found + await _moderate(parts, turn, checks, [said])


def _note(parts: Parts, turn: Turn, side: str, found: Sequence[Finding]) -> list[Finding]:
    """Count, log and keep what was found. Returns what blocks."""
    for finding in found:
        counted = f"shadow {side}" if turn.channel == "shadow" else side
        parts.metrics.guards.labels(turn.feature, counted, finding.check, finding.mode).inc()
        logger.info(
            "guard",
            interaction_id=turn.interaction_id,
            feature=turn.feature,
            side=side,
            check=finding.check,
            what=finding.what,
            mode=finding.mode,
        )
        if finding.mode != "log":
            note = f"{side} {finding.check}: {finding.what}"
            turn.notes["guards"] = [*turn.notes.get("guards", []), note]
    return [finding for finding in found if finding.mode == "block"]


async def _moderate(parts: Parts, turn: Turn, checks: Checks, texts: list[str]) -> list[Finding]:
    """What the moderation endpoint flags; where it does not answer, a guard that blocks lets nothing through."""
    if checks.moderation == "off":
        return []
    try:
        if not parts.backends.has_chain(MODERATION):
            raise BackendFailed(503, "no_moderation", "no backend is named for `moderation` in the backends file")
        call = Call(MODERATION, {"input": texts}, tenant=turn.tenant)
        answer = (await parts.backends.pass_on(call, "/moderations")).value
        results = [result for result in answer["results"] if result["flagged"]]
        flagged = sorted({name for result in results for name, is_so in result["categories"].items() if is_so})
    except (BackendFailed, KeyError, TypeError, AttributeError) as error:
        if checks.moderation == "block":
            raise Refusal(
                503, "moderation_failed", "the moderation endpoint did not answer", retry_after_s=1
            ) from error
        return [Finding("moderation", "no answer", checks.moderation)]
    if not results:
        return []
    named = [name for name in flagged if CATEGORY.fullmatch(name)]
    return [Finding("moderation", ", ".join(named) or "flagged", checks.moderation)]


async def _repair(parts: Parts, turn: Turn, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, or a second one where it is not JSON of the schema and the second is; the usage of both together."""
    assert turn.serving is not None
    schema = turn.serving.release.output_schema
    said = answer["choices"][0]["message"].get("content")
    if schema is None or said is None or len(answer["choices"]) > 1:
        return answer
    problem = problem_of(schema, said)
    if problem is None:
        return answer
    call = turn.call(turn.serving)
    call.body["messages"] = repair_messages(call.body["messages"], said, problem)
    try:
        second = (await parts.backends.complete(call)).value
    except BackendFailed as failure:
        turn.notes["schema_repair"] = failure.code
        return answer
    is_right = problem_of(schema, second["choices"][0]["message"].get("content") or "") is None
    turn.notes["schema_repair"] = "repaired" if is_right else "still broken"
    usage = {
        name: Heard.of_answer(answer).count(name) + Heard.of_answer(second).count(name)
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    }
    return {**(second if is_right else answer), "usage": usage}
