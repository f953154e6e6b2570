"""POST /v1/feedback: a signal about an answer, checked against its receipt and its release, stored once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import get_args

import structlog
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from gateway.parts import Parts
from gateway.refusals import Refusal, first_problem, json_response
from gateway.requests import FeedbackRequest, read_body, validate
from gateway.turn import RECEIPT
from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.files import canonical_json, sha256_text
from ratchet.records import Feedback, Interaction, Source

logger = structlog.get_logger("gateway")
FEEDBACK_KINDS: tuple[str, ...] = get_args(Feedback.model_fields["kind"].annotation)


async def take_feedback(parts: Parts, request: Request) -> Response:
    """Store a feedback; sending it again changes nothing and answers `stored: false`.

    Raises:
        Refusal: 404 for a receipt that is not known, 403 for another user's or tenant's, 422 for a value that does not
            fit its kind or its release, 503 where the store cannot write.
    """
    given = validate(FeedbackRequest, await read_body(request, parts.limits), status=422)
    interaction_id = given.interaction_id.removeprefix(RECEIPT)
    interaction = await asyncio.to_thread(parts.store.interaction, interaction_id)
    if interaction is None:
        raise Refusal(404, "unknown_receipt", "no interaction has this receipt; cite the `id` of the answer")
    source = given.source or Source(type="user", id=given.user or interaction.user_id or "unknown")
    _check_binding(given, source, interaction)
    feedback = _as_feedback(given, source, interaction_id)
    if feedback.kind == "correction":
        await _check_correction(parts, feedback, interaction)
    is_new = await parts.log.append(feedback)
    if is_new:
        parts.metrics.feedback.labels(interaction.feature, feedback.kind).inc()
    logger.info("feedback", feedback_id=feedback.feedback_id, interaction_id=interaction_id, is_new=is_new)
    return json_response({"feedback_id": feedback.feedback_id, "stored": is_new})


def _check_binding(given: FeedbackRequest, source: Source, interaction: Interaction) -> None:
    """A user speaks of their own answers only, and nobody of another tenant's."""
    if given.tenant is not None and given.tenant != interaction.tenant:
        raise Refusal(403, "not_your_interaction", "the interaction belongs to another tenant")
    if source.type == "user" and given.user is not None and given.user != interaction.user_id:
        raise Refusal(403, "not_your_interaction", "the interaction belongs to another user")


def _as_feedback(given: FeedbackRequest, source: Source, interaction_id: str) -> Feedback:
    identity = [interaction_id, given.kind, source.model_dump(), given.value]
    if given.kind not in FEEDBACK_KINDS:
        raise Refusal(422, "invalid_body", f"kind: must be one of {', '.join(FEEDBACK_KINDS)}")
    try:
        return Feedback(
            feedback_id=given.feedback_id or f"fb_{sha256_text(canonical_json(identity))}",
            interaction_id=interaction_id,
            at=datetime.now(UTC),
            kind=given.kind,  # type: ignore[arg-type]  # one of FEEDBACK_KINDS
            value=given.value,
            source=source,
            comment=given.comment,
        )
    except ValidationError as error:
        raise Refusal(422, "invalid_body", first_problem(error)) from error


async def _check_correction(parts: Parts, feedback: Feedback, interaction: Interaction) -> None:
    """A correction must be an output that the release could have served; a bare label counts as its JSON."""
    if interaction.release_id is None:  # imported history
        return
    feature = await feature_of(parts, interaction)
    if feature is None:
        return
    try:
        feature.wrap_target(feedback.value)
    except BadInput as error:
        enum = feature.enum_field()
        expected = f"allowed labels: {', '.join(enum[1])}" if enum else "expected: what the release could have answered"
        raise Refusal(422, "not_in_schema", f"the correction does not fit the schema; {expected}") from error


async def feature_of(parts: Parts, interaction: Interaction) -> Feature | None:
    """What the release that answered says of its feature: name and schema; for history from elsewhere, the live one.

    None where there is none to be read: curate checks each value again.
    """
    try:
        release_id = interaction.release_id or parts.router.channel(interaction.feature).stable
        release = (await parts.router.release(release_id)).release
    except Refusal:  # the feature has no channel (yet), or the release was cleared away
        return None
    return Feature.model_construct(name=release.feature, output_schema=release.output_schema)
