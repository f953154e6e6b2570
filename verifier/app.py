"""The verifier's HTTP interface. It logs ids and reasons, never a code, a secret or a text that somebody typed."""

import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from ratchet.approvals import NAME_PATTERN, ApprovalRequest, Enrolment, Envelope, Kind, PersonName, SignedDecision
from ratchet.errors import BadInput
from ratchet.settings import Settings, read_secret
from verifier import oidc
from verifier.decisions import Refusal, Verifier
from verifier.identity import OidcProxy, load_identities
from verifier.reviews import take_review

ENROL_SECRET = "verifier-enrol"  # noqa: S105 - the name of the file, not what is in it
LONGEST_BODY = 16 * 1024
LONGEST_WEBHOOK = 1024 * 1024

log = logging.getLogger("verifier")
router = APIRouter()


class NewPerson(BaseModel):
    """Who is to be enrolled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME_PATTERN)
    kind: Kind


def create_app(settings: Settings, clock: Callable[[], float] = time.time) -> FastAPI:
    """The verifier on the state of `settings.verifier_dir`; `clock` gives seconds since the epoch."""
    app = FastAPI(title="Ratchet approval verifier", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.verifier = Verifier(settings, clock)
    app.state.enrol_token = read_secret(settings, ENROL_SECRET)
    app.state.identities = load_identities(settings.identity_file)
    app.include_router(router)
    app.include_router(oidc.router)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.middleware("http")(_guard)
    return app


@router.post("/v1/people")
def enrol(request: Request, person: NewPerson, authorization: Annotated[str, Header()] = "") -> Enrolment:
    """Enrol a person or a machine; the secret is in this answer only."""
    _check_token(request, authorization)
    try:
        enrolment = _verifier(request).people.enrol(person.name, person.kind)
    except BadInput as error:
        raise Refusal(409, "name_taken", str(error)) from error
    log.info("approver_enrolled approver=%s kind=%s", person.name, person.kind)
    return enrolment


@router.get("/v1/people")
def people(request: Request, authorization: Annotated[str, Header()] = "") -> list[PersonName]:
    """Names and kinds of the enrolled."""
    _check_token(request, authorization)
    return [PersonName(name=name, kind=kind) for name, kind in _verifier(request).people.kinds().items()]


@router.delete("/v1/people/{name}")
def dismiss(request: Request, name: str, authorization: Annotated[str, Header()] = "") -> PersonName:
    """Take an approver's secret away. What they approved stays approved."""
    _check_token(request, authorization)
    try:
        kind = _verifier(request).people.remove(name)
    except BadInput as error:
        raise Refusal(404, "unknown_name", "nobody of that name is enrolled") from error
    log.info("approver_dismissed approver=%s kind=%s", name, kind)
    return PersonName(name=name, kind=kind)


@router.get("/v1/approvals")
def decisions(request: Request, run_id: str) -> list[SignedDecision]:
    """What was signed on a run, oldest first."""
    return _verifier(request).kept.of(run_id)


@router.post("/v1/approvals")
def approve(request: Request, wanted: ApprovalRequest) -> Envelope:
    """Sign a decision. Not repeatable: a code is used up by the first call, even where its answer is lost."""
    try:
        envelope = _verifier(request).decide(wanted)
    except Refusal as refusal:
        log.warning("approval_refused run_id=%s subject=%s reason=%s", wanted.run_id, wanted.subject, refusal.reason)
        raise
    log.info(
        "approval_signed run_id=%s subject=%s approver=%s decision=%s",
        wanted.run_id,
        wanted.subject,
        wanted.approver,
        wanted.decision,
    )
    return envelope


@router.post("/v1/reviews")
async def review(request: Request) -> dict[str, str | None]:
    """Take a webhook of the git host; an event that decides nothing is answered kindly, as hosts send many."""
    body = await request.body()
    try:
        who = await run_in_threadpool(
            take_review, _verifier(request), request.app.state.identities, request.headers, body
        )
    except Refusal as refusal:
        log.warning("review_refused reason=%s", refusal.reason)
        raise
    log.info("review_taken approver=%s", who)
    return {"approver": who}


@router.get("/v1/key", response_class=PlainTextResponse)
def key(request: Request) -> str:
    """The public key in PEM. Trust it only where the connection is trusted."""
    return _verifier(request).public_pem


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """Says that the process answers."""
    return {"status": "ok"}


async def _guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    proxy: OidcProxy | None = request.app.state.identities.proxy
    ours = proxy.origin if proxy is not None and request.url.path == oidc.PATH else None
    if request.headers.get("origin", ours) != ours:  # a web page that the approver happens to have open
        return _answer(403, "browser", "browsers are not served")
    if request.method == "POST":
        length = request.headers.get("content-length", "")
        if not length.isdigit():
            return _answer(411, "no_length", "send a Content-Length")
        most = LONGEST_WEBHOOK if request.url.path == "/v1/reviews" else LONGEST_BODY
        if int(length) > most:
            return _answer(413, "too_large", f"at most {most} bytes")
    return await call_next(request)


def _verifier(request: Request) -> Verifier:
    verifier: Verifier = request.app.state.verifier
    return verifier


def _check_token(request: Request, authorization: str) -> None:
    wanted = f"Bearer {request.app.state.enrol_token}"
    if not hmac.compare_digest(authorization.encode(), wanted.encode()):
        raise Refusal(403, "wrong_token", "the enrol token is missing or wrong")


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _answer(error.status, error.reason, error.message)


async def _malformed(_request: Request, error: Exception) -> Response:
    # FastAPI's own answer repeats the input, and with it a code
    assert isinstance(error, RequestValidationError)
    faults = ["{}: {}".format(".".join(map(str, fault["loc"][1:])), fault["msg"]) for fault in error.errors()]
    return _answer(422, "malformed", "; ".join(faults))


def _answer(status: int, reason: str, message: str) -> JSONResponse:
    return JSONResponse({"reason": reason, "message": message}, status_code=status)
