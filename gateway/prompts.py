"""GET /v1/prompts: the registry of prompts for other services; `?feature=` names one."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from gateway.parts import Parts
from gateway.refusals import json_response
from ratchet.channels import Channels
from ratchet.prompt_registry import prompt_versions
from ratchet.release import ReleaseStore


async def list_prompts(parts: Parts, request: Request) -> Response:
    """Every version of every prompt; an unknown feature has none."""
    releases, channels = ReleaseStore.of(parts.settings), Channels.of(parts.settings)
    found = await asyncio.to_thread(prompt_versions, releases, channels, request.query_params.get("feature"))
    return json_response({"object": "list", "data": [version.model_dump(mode="json") for version in found]})
