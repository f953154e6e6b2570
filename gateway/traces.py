"""POST /v1/traces: an OpenTelemetry exporter as the way in, for a team that keeps its own gateway (OTLP/HTTP).

Takes OTLP as JSON and as protobuf, plain or gzip. A span of a model call becomes an interaction of the feature that
its attribute `ratchet.feature` names, else of the header `x-ratchet-feature`, else of the feature that has the name of
its agent or service. What is acknowledged is on disk; spans that cannot be used are told back by reason, as OTLP's
partial success; sending a span again changes nothing.
"""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections import Counter
from typing import Any

import structlog
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from starlette.requests import Request
from starlette.responses import Response

from gateway.access import Caller, caller_of
from gateway.limits import Limits
from gateway.parts import Parts
from gateway.refusals import Refusal, json_response
from gateway.requests import parse_json, read_bytes
from ratchet.otel import OF_EVALUATION, records_of
from ratchet.records import Feedback, Interaction, Rejected

logger = structlog.get_logger("gateway")
Record = Interaction | Feedback
PROTOBUF = "application/x-protobuf"
IDS = ("traceId", "spanId", "parentSpanId")
TOLD_REASONS = 10


async def take_traces(parts: Parts, request: Request) -> Response:
    """Store the model calls of an export; an error is answered in the encoding of the request, as OTLP asks.

    Raises:
        Refusal: 415 for another content type; the exporter would not understand our answer in any case.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (PROTOBUF, "application/json"):
        raise Refusal(415, "unsupported_media_type", f"content-type: must be application/json or {PROTOBUF}")
    try:
        return _answer(await _take(parts, request, kind), kind)
    except Refusal as refusal:
        return _refuse(refusal, kind)


async def _take(parts: Parts, request: Request, kind: str) -> list[Rejected]:
    """Store what can be used. Returns what cannot."""
    sent = await read_bytes(request, parts.limits.trace_bytes)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    default = request.headers.get("x-ratchet-feature")
    known = parts.router.features()
    decoded, rejected = await asyncio.to_thread(_decode, sent, encoding, kind, default, known, parts.limits)
    records: list[Record] = []
    for record in decoded:
        allowed = await _as_caller(parts, caller_of(request), record)
        rejected.append(allowed) if isinstance(allowed, Rejected) else records.append(allowed)
    accepted = 0
    for start in range(0, len(records), parts.limits.log_batch):
        batch = records[start : start + parts.limits.log_batch]
        outcomes = await asyncio.gather(*(parts.log.append(record) for record in batch), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome  # whatever of it is on disk will be known when the exporter sends it again
            accepted += outcome
    outcome_counts = {"accepted": accepted, "known": len(records) - accepted, "rejected": len(rejected)}
    parts.metrics.observe("traces", outcome_counts)
    logger.info("traces", **outcome_counts, reasons=_told(rejected))
    return rejected


async def _as_caller(parts: Parts, caller: Caller, record: Record) -> Record | Rejected:
    """The record as the key may send it: of its own tenant and features, an agent's or a judge's word by a reviewer."""
    if caller.key is None:
        return record
    if isinstance(record, Interaction):
        if not caller.allows(record.feature):
            return Rejected("export", "the key is not for this feature", record.interaction_id)
        return record.model_copy(update={"tenant": caller.tenant(record.tenant)})
    about = await asyncio.to_thread(parts.store.interaction, record.interaction_id)
    is_theirs = about is None or (caller.tenant(about.tenant) == about.tenant and caller.allows(about.feature))
    if not is_theirs or (record.source.type != "user" and not caller.may_review):
        return Rejected(f"export{OF_EVALUATION}", "the key may not say this of the answer", record.feedback_id)
    return record


def _decode(
    sent: bytes, encoding: str, kind: str, default: str | None, known: list[str], limits: Limits
) -> tuple[list[Record], list[Rejected]]:
    body = _decompress(sent, encoding, limits.trace_bytes)
    payload = _from_protobuf(body) if kind == PROTOBUF else parse_json(body)
    records: list[Record] = []
    rejected: list[Rejected] = []
    if payload:  # an export of nothing is fine
        for record in records_of(payload, "export", feature=default, known=frozenset(known)):
            rejected.append(record) if isinstance(record, Rejected) else records.append(record)
    return records, rejected


def _decompress(sent: bytes, encoding: str, limit: int) -> bytes:
    if encoding in ("identity", ""):
        return sent
    if encoding != "gzip":
        raise Refusal(415, "unsupported_encoding", "content-encoding: must be gzip or none")
    decoder = zlib.decompressobj(wbits=31)
    try:
        body = decoder.decompress(sent, limit + 1)
    except zlib.error as error:
        raise Refusal(400, "malformed_gzip", "the body is not gzip") from error
    if len(body) > limit:
        raise Refusal(413, "body_too_large", f"the body decompresses to over {limit} bytes")
    if not decoder.eof or decoder.unused_data:
        raise Refusal(400, "malformed_gzip", "the gzip body is truncated, or goes on after its end")
    return body


def _from_protobuf(body: bytes) -> dict[str, Any]:
    """A protobuf request as its JSON would be; there ids are hexadecimal, against protobuf's own rule of base64."""
    try:
        payload: dict[str, Any] = MessageToDict(ExportTraceServiceRequest.FromString(body))
    except (DecodeError, RecursionError) as error:
        raise Refusal(400, "malformed_protobuf", "the body is no ExportTraceServiceRequest") from error
    for group in payload.get("resourceSpans", []):
        for scope in group.get("scopeSpans", []):
            for span in scope.get("spans", []):
                span |= {key: base64.b64decode(span[key]).hex() for key in IDS if key in span}
    return payload


def _answer(rejected: list[Rejected], kind: str) -> Response:
    answer = ExportTraceServiceResponse()
    if rejected:
        answer.partial_success.rejected_spans = sum(OF_EVALUATION not in one.where for one in rejected)
        answer.partial_success.error_message = _told(rejected)
    return _encode(answer, kind, 200)


def _told(rejected: list[Rejected]) -> str:
    counts = Counter(one.reason for one in rejected)
    told = [f"{count} x {reason}" for reason, count in counts.most_common(TOLD_REASONS)]
    return "; ".join(told) + (f"; and {len(counts) - TOLD_REASONS} more reasons" if len(counts) > TOLD_REASONS else "")


def _refuse(refusal: Refusal, kind: str) -> Response:
    """The refusal as google.rpc.Status: OpenTelemetry's own Status has its message under the same number."""
    response = _encode(Status(message=f"{refusal.code}: {refusal.message}"), kind, refusal.status)
    if refusal.retry_after_s is not None:
        response.headers["Retry-After"] = str(int(refusal.retry_after_s))
    return response


def _encode(answer: Message, kind: str, status: int) -> Response:
    if kind == PROTOBUF:
        return Response(answer.SerializeToString(), status, media_type=PROTOBUF)
    return json_response(MessageToDict(answer), status)
