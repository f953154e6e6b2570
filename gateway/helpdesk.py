"""POST /v1/helpdesk: what an agent sent to the customer, as feedback on the reply that was suggested.

A helpdesk calls it when a ticket's reply is sent. The body names the answer by its receipt, or by any text that carries
the receipt (an internal note, a field of the ticket):

    {"receipt": "chatcmpl-int_0f…", "sent": "Dear Ana, …", "agent": "agent-7", "ticket": "4711",
     "suggested": "…", "label": "card_delivery"}

In Zendesk, for example, this is a webhook with a trigger on public replies, whose JSON body is of its placeholders:

    {"receipt": "{{ticket.ticket_field_360001}}", "sent": "{{ticket.latest_public_comment}}",
     "agent": "agent-{{current_user.id}}", "ticket": "{{ticket.id}}"}

It is signed as Zendesk signs: base64 of HMAC-SHA256 over time stamp and body, in the headers x-ratchet-signature and
x-ratchet-timestamp or their Zendesk names. The secret is RATCHET_HOME/secrets/helpdesk: made when the gateway first
starts, or put there from Zendesk's "signing secret". The first reply to a receipt by an agent counts; sending it again
changes nothing.

A reply sent as it was suggested is `accept` true; an edited one is a `correction`; one that has next to nothing in
common with the suggestion is `accept` 0.0 and teaches nothing (ratchet/replies.py has the rules). Of a feature with
labels the `label` is what is compared.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from gateway.feedback import feature_of
from gateway.limits import Limits
from gateway.parts import Parts
from gateway.refusals import Refusal, first_problem, json_response
from gateway.requests import read_bytes, to_object, validate
from ratchet.errors import BadInput
from ratchet.features import Feature
from ratchet.files import canonical_json, sha256_text
from ratchet.records import Feedback, Interaction
from ratchet.replies import UNRELATED, compare_reply, similarity_of, trim_reply
from ratchet.settings import read_secret

logger = structlog.get_logger("gateway")
RECEIPT = re.compile(r"\b(int_[0-9a-f]{32}|otel-[0-9a-f]{32}-[0-9a-f]{16})\b")
HEADERS = ("x-ratchet-{}", "x-zendesk-webhook-{}")
SECRET = "helpdesk"  # noqa: S105 - the name of the file that holds it


class HelpdeskRequest(BaseModel):
    """A reply that was sent."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    receipt: str = Field(min_length=1, max_length=20_000)
    sent: str | None = Field(default=None, max_length=100_000)
    label: str | None = Field(default=None, min_length=1, max_length=200)
    suggested: str | None = Field(default=None, max_length=100_000)
    agent: str = Field(min_length=1, max_length=200)
    ticket: str | int | None = None


async def take_reply(parts: Parts, request: Request) -> Response:
    """Store what an agent did with a suggestion.

    Raises:
        Refusal: 401 for a signature that is wrong or old, 404 for a receipt that is not known, 422 for a body without
            what the feature needs or a suggestion that is another answer's, 503 where the store cannot write.
    """
    body = await read_bytes(request, parts.limits.body_bytes)
    at = await asyncio.to_thread(_check_signature, parts, request, body)
    given = validate(HelpdeskRequest, to_object(body, parts.limits), status=422)
    interaction = await asyncio.to_thread(parts.store.interaction, _receipt_in(given.receipt))
    if interaction is None:
        raise Refusal(404, "unknown_receipt", "no interaction has this receipt; pass on the `id` of the answer")
    kind, value, similarity = _judge(given, interaction, await feature_of(parts, interaction))
    try:
        feedback = _as_feedback(given, interaction.interaction_id, kind, value, similarity, at)
    except ValidationError as error:
        raise Refusal(422, "invalid_body", first_problem(error)) from error
    is_new = await parts.log.append(feedback)
    parts.metrics.observe("helpdesk", {"accepted" if is_new else "known": 1})
    logger.info("helpdesk", feedback_id=feedback.feedback_id, kind=kind, is_new=is_new)
    told = {"feedback_id": feedback.feedback_id, "stored": is_new, "kind": kind, "similarity": similarity}
    return json_response(told)


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The signature of a webhook."""
    digest = hmac.new(secret.encode(), timestamp.encode() + body, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _check_signature(parts: Parts, request: Request, body: bytes) -> datetime:
    """When the webhook was signed."""
    for name in HEADERS:
        signature = request.headers.get(name.format("signature"))
        stamps = [request.headers.get(name.format(last)) for last in ("timestamp", "signature-timestamp")]
        timestamp = next((stamp for stamp in stamps if stamp), None)
        if signature and timestamp:
            wanted = sign(read_secret(parts.settings, SECRET), timestamp, body)
            if hmac.compare_digest(wanted.encode(), signature.encode()):
                return _fresh(timestamp, parts.limits)
    raise Refusal(401, "bad_signature", "the webhook is not signed with the secret of RATCHET_HOME/secrets/helpdesk")


def _fresh(timestamp: str, limits: Limits) -> datetime:
    try:
        at = datetime.fromtimestamp(int(timestamp), UTC) if timestamp.isdigit() else datetime.fromisoformat(timestamp)
        at = at.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Refusal(401, "bad_timestamp", "the time stamp is neither ISO 8601 nor seconds since 1970") from error
    if abs(datetime.now(UTC) - at) > timedelta(seconds=limits.replay_s):
        raise Refusal(401, "too_old", f"the webhook was signed over {limits.replay_s:.0f} s ago; sign it again")
    return at


def _receipt_in(text: str) -> str:
    found = RECEIPT.search(text)
    return found[1] if found else text.strip().removeprefix("chatcmpl-")


def _judge(given: HelpdeskRequest, interaction: Interaction, feature: Feature | None) -> tuple[str, Any, float]:
    """Kind and value of the feedback, and how alike suggestion and reply are."""
    output = interaction.output.content or ""
    if feature is not None and feature.output_schema is not None:
        return _judge_label(given, output, feature)
    if not (given.sent or "").strip():
        raise Refusal(422, "invalid_body", "sent: must be the text of the reply")
    assert given.sent is not None
    shown = given.suggested
    if shown is not None and similarity_of(trim_reply(shown), trim_reply(output)) < UNRELATED:
        raise Refusal(422, "another_answer", "suggested: is not the answer that this receipt was given for")
    outcome, similarity, text = compare_reply(output, given.sent)
    if outcome == "edited":
        return "correction", text, similarity
    return "accept", True if outcome == "accepted" else 0.0, similarity


def _judge_label(given: HelpdeskRequest, output: str, feature: Feature) -> tuple[str, Any, float]:
    if given.label is None:
        raise Refusal(
            422, "invalid_body", "label: is missing; the feature answers with a label, so a reply cannot tell"
        )
    try:
        is_same = feature.label_of(feature.wrap_target(given.label)) == feature.label_of(output)
    except BadInput as error:
        raise Refusal(422, "not_in_schema", "label: is not in the feature's schema") from error
    return ("accept", True, 1.0) if is_same else ("correction", given.label, 0.0)


def _as_feedback(
    given: HelpdeskRequest, interaction_id: str, kind: str, value: Any, similarity: float, at: datetime
) -> Feedback:
    told = {"ticket": given.ticket} if given.ticket is not None else {}
    return Feedback.model_validate(
        {
            "feedback_id": f"hd_{sha256_text(canonical_json([interaction_id, given.agent]))}",
            "interaction_id": interaction_id,
            "at": at,
            "kind": kind,
            "value": value,
            "source": {"type": "agent", "id": given.agent},
            "attributes": {"source": "helpdesk", "similarity": similarity, **told},
        }
    )
