"""Approvals by whoever an OIDC proxy let through: a page that shows the release, and the token that names the person.

A header proves nothing by itself, as every local program can send one. What counts is the provider's signature.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import parse_qs

import jinja2
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from joserfc import jwt
from joserfc.errors import JoseError
from pydantic import ValidationError

from ratchet.approvals import NAME_PATTERN, RELEASE_ID_PATTERN, RUN_ID_PATTERN, Said
from verifier.decisions import Refusal, Verifier, require_prefix
from verifier.identity import Identities

ALGORITHMS = ("RS256", "PS256", "ES256")
LEEWAY_S = 30
PATH = "/decide"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",  # under no-referrer a browser would send `Origin: null` with the form
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
PAGE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string("""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Approve {{ feature }}</title>
<h1>{{ feature }}: run {{ run_id }}</h1>
{% if done %}<p><strong>{{ done }}</strong></p>{% else %}
<p>You are {{ approver }}. Release <code>{{ digest }}</code></p>
<pre>{{ card }}</pre>
<form method="post">
<input type="hidden" name="run_id" value="{{ run_id }}"><input type="hidden" name="subject" value="rel_{{ digest }}">
<p><label>First 8 or more characters of the digest <input name="digest_prefix" required autocomplete="off"></label></p>
<p><label>Reason (a rejection needs one) <input name="reason" maxlength="2000"></label></p>
<button name="decision" value="approve">Approve</button> <button name="decision" value="reject">Reject</button>
</form>{% endif %}</html>
""")

router = APIRouter()


@router.get(PATH)
def show(
    request: Request,
    run_id: Annotated[str, Query(pattern=RUN_ID_PATTERN)],
    subject: Annotated[str, Query(pattern=RELEASE_ID_PATTERN)],
) -> HTMLResponse:
    """The release that a run proposes, and the form."""
    approver = approver_of(request)
    return _page(request, run_id, subject, approver=approver)


@router.post(PATH)
async def decide(request: Request) -> HTMLResponse:
    """Take the form of the page. The token is checked again: a session may have ended meanwhile."""
    approver = approver_of(request)
    if "origin" not in request.headers:  # app.py lets no other origin than the proxy's come this far
        raise Refusal(403, "browser", "the form is sent by its own page")
    form = {name: values[0] for name, values in parse_qs((await request.body()).decode("utf-8", "replace")).items()}
    prefix = form.pop("digest_prefix", "")
    try:
        said = Said.model_validate(form)
    except ValidationError as error:
        raise Refusal(422, "malformed", "; ".join(sorted({fault["msg"] for fault in error.errors()}))) from error
    require_prefix(prefix, said.subject)
    _verifier(request).decide_as(said, approver, "oidc-proxy", None)
    return _page(request, said.run_id, said.subject, done=f"{said.decision}: signed for {approver}")


def approver_of(request: Request) -> str:
    """Who the identity provider says this is.

    Raises:
        Refusal: no proxy is set up (404); no token, or one that is not the provider's, not for us or not of now (401).
    """
    found: Identities = request.app.state.identities
    if found.proxy is None or found.proxy_keys is None:
        raise Refusal(404, "not_set_up", "no OIDC proxy is set up (RATCHET_IDENTITY)")
    token = request.headers.get(found.proxy.header, "").removeprefix("Bearer ").strip()
    claims = jwt.JWTClaimsRegistry(
        now=lambda: int(_verifier(request).clock()),
        leeway=LEEWAY_S,
        iss={"essential": True, "value": found.proxy.issuer},
        aud={"essential": True, "value": found.proxy.audience},
        exp={"essential": True},
    )
    try:
        told = jwt.decode(token, found.proxy_keys, algorithms=ALGORITHMS).claims
        claims.validate(told)
    except (JoseError, ValueError, TypeError) as error:
        raise Refusal(401, "wrong_token", f"the proxy's token does not count: {type(error).__name__}") from error
    name = told.get(found.proxy.claim)
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        raise Refusal(401, "wrong_token", f"the proxy's token has no fitting claim {found.proxy.claim!r}")
    if found.proxy.claim == "email" and told.get("email_verified", True) is not True:
        raise Refusal(401, "wrong_token", "the identity provider has not verified this address")
    return name


def _page(request: Request, run_id: str, subject: str, *, approver: str = "", done: str = "") -> HTMLResponse:
    feature, attestation = _verifier(request).facts_of(subject)
    facts = {"feature": feature.name, "run_id": run_id, "digest": subject.removeprefix("rel_")}
    card = str(attestation.get("card") or "")
    return HTMLResponse(PAGE.render(facts, card=card, approver=approver, done=done), headers=HEADERS)


def _verifier(request: Request) -> Verifier:
    verifier: Verifier = request.app.state.verifier
    return verifier
