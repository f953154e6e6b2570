"""POST /v1/embeddings: passed on to the backend of its model; nothing of it is stored."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from gateway.access import caller_of
from gateway.backends import Call
from gateway.parts import Parts
from gateway.refusals import json_response
from gateway.requests import read_body, validate
from ratchet.records import TENANT
from ratchet.tenants import DEFAULT

PASSED_ON = ("input", "dimensions", "encoding_format", "user")


class TenantField(BaseModel):
    """The `ratchet` object of a request that is only passed on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str = Field(default=DEFAULT, pattern=TENANT)


class EmbeddingsRequest(BaseModel):
    """What OpenAI's embeddings take."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str = Field(min_length=1, max_length=200)
    input: str | list[Any]
    ratchet: TenantField = TenantField()


async def pass_embeddings(parts: Parts, request: Request) -> Response:
    """The backend's answer, under the tenant's rules and rate.

    Raises:
        Refusal: a bad request, a tenant over its limits, or a backend that fails.
    """
    raw = await read_body(request, parts.limits)
    asked = validate(EmbeddingsRequest, raw, status=400)
    tenant = await parts.quotas.admit(caller_of(request).tenant(asked.ratchet.tenant) or DEFAULT)
    body = {key: raw[key] for key in PASSED_ON if key in raw}
    answered = await parts.backends.pass_on(Call(asked.model, body, tenant=tenant), "/embeddings")
    return json_response(answered.value)
