"""What arrives at the gateway, bounded and validated before anything looks at it."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request

from gateway.limits import Limits
from gateway.refusals import Refusal, first_problem
from ratchet.records import TENANT, Context, Message, Source

IMAGE = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,[A-Za-z0-9+/=]+\Z")
Shape = TypeVar("Shape", bound=BaseModel)


class RatchetFields(BaseModel):
    """The `ratchet` object of a chat request; a field that is not known here is a mistake, and said to be one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    session: str | None = Field(default=None, min_length=1, max_length=200)
    segment: str | None = Field(default=None, min_length=1, max_length=100)
    tenant: str = Field(default="default", pattern=TENANT)
    variables: dict[str, Any] = Field(default_factory=dict)
    contexts: tuple[Context, ...] = ()
    consent: bool | None = None


class StreamOptions(BaseModel):
    """OpenAI's stream_options."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """A chat request. Other OpenAI parameters may be there: for a managed feature the release decides on them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str = Field(min_length=1, max_length=100)
    messages: list[dict[str, Any]] = Field(min_length=1)
    user: str | None = Field(default=None, min_length=1, max_length=200)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    ratchet: RatchetFields = Field(default_factory=RatchetFields)  # pydantic would copy a default, deeply


class FeedbackRequest(BaseModel):
    """A feedback as applications send it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    interaction_id: str = Field(min_length=1, max_length=200)
    kind: str
    value: Any
    comment: str | None = Field(default=None, max_length=10_000)
    source: Source | None = None
    feedback_id: str | None = Field(default=None, min_length=1, max_length=200)
    user: str | None = Field(default=None, min_length=1, max_length=200)
    tenant: str | None = Field(default=None, pattern=TENANT)


async def read_body(request: Request, limits: Limits) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        Refusal: 413 over the size limit; 400 where it is not JSON, nested too deeply, or not an object.
    """
    return to_object(await read_bytes(request, limits.body_bytes), limits)


async def read_bytes(request: Request, limit: int) -> bytes:
    """The body of a request.

    Raises:
        Refusal: 413 over the limit.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise Refusal(413, "body_too_large", f"the body is over {limit} bytes")
    except ClientDisconnect as error:
        raise Refusal(400, "client_gone", "the client closed the connection before its request was whole") from error
    return bytes(body)


def to_object(body: bytes, limits: Limits) -> dict[str, Any]:
    """The JSON object that a body is, nested no deeper than the limit.

    Raises:
        Refusal: 400 where it is not JSON, nested too deeply, or not an object.
    """
    document = parse_json(body)
    if not _is_within(document, limits.json_depth):
        raise Refusal(400, "nested_too_deeply", f"the body is nested over {limits.json_depth} levels")
    return document


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is; its depth is bounded by the parser only (1,024 levels).

    Raises:
        Refusal: 400 where it is not JSON, or not an object.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "malformed_json", f"the body is not JSON: {error.msg} at byte {error.pos}") from error
    if not isinstance(document, dict):
        raise Refusal(400, "malformed_json", "the body is not a JSON object")
    return document


def check_chat(document: dict[str, Any], limits: Limits) -> ChatRequest:
    """Validate a chat request.

    Raises:
        Refusal: 400, with the field and what is expected there.
    """
    asked = validate(ChatRequest, document, status=400)
    if len(asked.messages) > limits.messages:
        raise Refusal(400, "too_many_messages", f"messages: {len(asked.messages)}; at most {limits.messages}")
    if not 1 <= (asked.n or 1) <= limits.choices:
        raise Refusal(400, "unsupported_value", f"n: must be from 1 to {limits.choices}")
    return asked


def for_tenant(asked: ChatRequest, tenant: str | None) -> ChatRequest:
    """The request as one of this tenant, whatever its body said."""
    if tenant is None or tenant == asked.ratchet.tenant:
        return asked
    return asked.model_copy(update={"ratchet": asked.ratchet.model_copy(update={"tenant": tenant})})


def validate(shape: type[Shape], document: dict[str, Any], *, status: int) -> Shape:
    """A body as its pydantic model, or a Refusal with the first problem."""
    try:
        return shape.model_validate(document)
    except ValidationError as error:
        raise Refusal(status, "invalid_body", first_problem(error)) from error


def to_messages(raw: list[dict[str, Any]]) -> tuple[Message, ...]:
    """The application's messages as records; text parts are joined, an assistant's null content is empty.

    Raises:
        Refusal: 400 for an unknown role, or content that is neither text nor an image as data.
    """
    return tuple(_to_message(message, number) for number, message in enumerate(raw))


def _to_message(raw: dict[str, Any], number: int) -> Message:
    content = raw.get("content")
    if isinstance(content, list):
        content = "".join(
            _text_of_part(part, f"messages.{number}.content.{place}") for place, part in enumerate(content)
        )
    elif content is None and raw.get("role") == "assistant":
        content = ""
    if not isinstance(content, str):
        raise Refusal(400, "invalid_body", f"messages.{number}.content: must be a text or text parts")
    try:
        return Message(role=raw.get("role"), content=content)  # type: ignore[arg-type]  # validated by pydantic
    except ValidationError as error:
        raise Refusal(400, "invalid_body", f"messages.{number}.{first_problem(error)}") from error


def _text_of_part(part: Any, where: str) -> str:
    """The text of a part; an image has none, and must be data: an address would have the model's host call it."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", None) and isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind == "image_url" and isinstance(part.get("image_url"), dict):
        if IMAGE.match(str(part["image_url"].get("url"))):
            return ""
        raise Refusal(400, "invalid_body", f"{where}.image_url.url: only data:image/…;base64,… is passed on")
    raise Refusal(400, "invalid_body", f"{where}: must be a text or an image_url part")


def _is_within(value: Any, depth: int) -> bool:
    """Whether containers are nested at most `depth` deep; without recursion, as the value is a stranger's."""
    level = [value]
    for _ in range(depth + 1):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return True
    return False


def _children(value: Any) -> list[Any]:
    found = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in found if isinstance(child, (dict, list))]
