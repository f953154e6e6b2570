"""POST /v1/feedback: a signal about an answer, checked against its receipt and its release, stored once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import get_args

import structlog
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from gateway.access import Caller, caller_of
from gateway.parts import Parts
from gateway.refusals import Refusal, first_problem, json_response
from gateway.requests import FeedbackRequest, read_body, validate
from gateway.turn import NOBODY, OURS, RECEIPT
from ratchet import verdicts
from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.files import canonical_json, sha256_text
from ratchet.records import Feedback, Interaction, Source

logger = structlog.get_logger("gateway")
FEEDBACK_KINDS: tuple[str, ...] = get_args(Feedback.model_fields["kind"].annotation)


async def take_feedback(parts: Parts, request: Request) -> Response:
    """Store a feedback; sending it again changes nothing and answers `stored: false`.

    Raises:
        Refusal: 404 for a receipt that is not known, 410 for an old one, 403 for another user's, tenant's or feature's
            and for who may not speak as a reviewer, 422 for a value that does not fit its kind or its release, 409 for
            an id that another feedback has, 503 where the store cannot write.
    """
    given = validate(FeedbackRequest, await read_body(request, parts.limits), status=422)
    interaction_id = given.interaction_id.removeprefix(RECEIPT)
    interaction = await asyncio.to_thread(parts.store.interaction, interaction_id)
    if interaction is None:
        raise Refusal(404, "unknown_receipt", "no interaction has this receipt; cite the `id` of the answer")
    source = given.source or Source(type="user", id=given.user or interaction.user_id or "unknown")
    _check_binding(given, source, interaction, caller_of(request))
    is_ours = interaction_id.startswith(OURS)  # a span or a log of elsewhere is as old as its owner says
    if is_ours and datetime.now(UTC) - interaction.at > timedelta(days=parts.limits.receipt_days):
        raise Refusal(410, "receipt_expired", f"the answer is over {parts.limits.receipt_days} days old")
    feedback = _as_feedback(given, source, interaction_id)
    if feedback.kind == "correction":
        await _check_correction(parts, feedback, interaction)
    is_new = await parts.log.append(feedback)
    if not is_new:
        await _check_same(parts, feedback)
    else:
        parts.metrics.feedback.labels(interaction.feature, feedback.kind).inc()
    logger.info("feedback", feedback_id=feedback.feedback_id, interaction_id=interaction_id, is_new=is_new)
    return json_response({"feedback_id": feedback.feedback_id, "stored": is_new})


def _check_binding(given: FeedbackRequest, source: Source, interaction: Interaction, caller: Caller) -> None:
    """A user speaks of their own answers only, nobody of another tenant's, and as a reviewer only who is one."""
    tenant = caller.tenant(given.tenant)
    if tenant is not None and tenant != interaction.tenant:
        raise Refusal(403, "not_your_interaction", "the interaction belongs to another tenant")
    caller.check_feature(interaction.feature)
    is_as_reviewer = source.type != "user" or (given.feedback_id or "").startswith(verdicts.PREFIX)
    if is_as_reviewer and not caller.may_review:
        message = f"feedback of an agent, a judge or a system, and ids with {verdicts.PREFIX}, take a reviewer's key"
        raise Refusal(403, "not_a_reviewer", message)
    owner = interaction.user_id
    if source.type == "user" and owner is not None and not owner.startswith(NOBODY):
        speakers = {given.user or owner, source.id}
        if speakers != {owner}:
            raise Refusal(403, "not_your_interaction", "the interaction belongs to another user")


async def _check_same(parts: Parts, feedback: Feedback) -> None:
    """An id that was there already must be that of this feedback: of the same answer, kind and source."""
    stored = await asyncio.to_thread(parts.store.feedback_of, feedback.feedback_id)
    if stored is None:  # erased meanwhile
        return
    if (stored.interaction_id, stored.kind, stored.source) != (
        feedback.interaction_id,
        feedback.kind,
        feedback.source,
    ):
        raise Refusal(409, "id_taken", "feedback_id: is that of another feedback; leave it out, or name a new one")


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
    """A correction must be what the release could have served, or the stable one; a bare label counts as its JSON.

    The stable one too: a canary whose schema lost a label would silence just those who miss it.
    """
    if interaction.release_id is None:  # imported history
        return
    feature = await feature_of(parts, interaction)
    if feature is None or _fits(feature, feedback):
        return
    stable = await feature_of(parts, interaction.model_copy(update={"release_id": None}))
    if stable is not None and _fits(stable, feedback):
        return
    enum = feature.enum_field()
    expected = f"allowed labels: {', '.join(enum[1])}" if enum else "expected: what the release could have answered"
    raise Refusal(422, "not_in_schema", f"the correction does not fit the schema; {expected}")


def _fits(feature: Feature, feedback: Feedback) -> bool:
    try:
        feature.wrap_target(feedback.value)
    except BadInput:
        return False
    return True


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
