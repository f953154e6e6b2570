"""GET /v1/decide: which release a user is given, for teams that ask models through a gateway of their own.

They call their model as the release says and send their spans to POST /v1/traces with what stands here as attributes:
`ratchet.release_id`, `ratchet.channel` and `ratchet.propensity`.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.access import caller_of
from gateway.parts import Parts
from gateway.refusals import Refusal, json_response
from ratchet.tenants import DEFAULT


async def tell_assignment(parts: Parts, request: Request) -> Response:
    """The assignment of `feature` and `user`, with `tenant` and `segment` if given: the same while the channel stands.

    Raises:
        Refusal: 400 where either is missing, 404 for an unknown feature.
    """
    feature, user = request.query_params.get("feature"), request.query_params.get("user")
    if not feature or not user or len(user) > 200:
        raise Refusal(400, "invalid_query", "name both: /v1/decide?feature=FEATURE&user=USER (at most 200 characters)")
    caller, query = caller_of(request), request.query_params
    caller.check_feature(feature)
    tenant = caller.tenant(query.get("tenant"))
    rules = await parts.quotas.rules(tenant or DEFAULT)
    assigned = parts.router.assign(feature, user, tenant, query.get("segment"), takes_trials=rules.trials)
    release = (await parts.router.release(assigned.release_id)).release
    drawn = {"channel": assigned.channel, "release_id": assigned.release_id, "propensity": assigned.propensity}
    asked = {"feature": feature, "user": user, "model": release.model, "mode": release.policy.mode}
    return json_response(asked | drawn | assigned.facts)
