"""GET /v1/prompts: the registry of prompts for other services; `?feature=` names one."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from gateway.access import Caller, caller_of
from gateway.parts import Parts
from gateway.refusals import json_response
from ratchet.channels import Channels, tenant_of
from ratchet.keys import ANY
from ratchet.prompt_registry import PromptVersion, prompt_versions
from ratchet.release import ReleaseStore


async def list_prompts(parts: Parts, request: Request) -> Response:
    """Every version of every prompt that the key may see; an unknown feature has none."""
    releases, channels = ReleaseStore.of(parts.settings), Channels.of(parts.settings)
    found = await asyncio.to_thread(prompt_versions, releases, channels, request.query_params.get("feature"))
    seen = [shown for version in found if (shown := _as_seen(version, caller_of(request))) is not None]
    return json_response({"object": "list", "data": [version.model_dump(mode="json") for version in seen]})


def _as_seen(version: PromptVersion, caller: Caller) -> PromptVersion | None:
    """The version without the channels of other tenants; None where nothing of it is the caller's to see."""
    if not caller.allows(version.feature):
        return None
    if caller.key is None or caller.key.tenant == ANY:
        return version
    own = (None, caller.key.tenant)
    was_on = tuple(name for name in version.was_on if tenant_of(name) in own)
    if version.was_on and not was_on:
        return None
    live_on = tuple(name for name in version.live_on if tenant_of(name.partition(" ")[0]) in own)
    return version.model_copy(update={"was_on": was_on, "live_on": live_on})
