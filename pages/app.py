"""The application: the login, the files of the pages, and the pages that it is given."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pages.guard import Guard
from pages.login import PEOPLE, Logins, Session
from pages.render import page
from ratchet.errors import RatchetError
from ratchet.keys import Role

LONGEST_BODY = 512 * 1024
CSRF = "x-csrf-token"
OWN_PATH = re.compile(r"/(?:[A-Za-z0-9_.:@-]+/?)*")  # of this server: no // and no \\ that lead to another
HEADINGS = {401: "Who are you?", 404: "Not here"}


class Refusal(Exception):
    """A request that is refused, with what to tell the person."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Visit(NamedTuple):
    """A person's request: who asks, the names in the address and its query, the JSON object that was posted.

    `is_part`: the script of a page asks, which wants the part that changes and not the whole page.
    """

    session: Session
    names: dict[str, str]
    query: dict[str, str]
    body: dict[str, Any]
    is_part: bool


class Page(NamedTuple):
    """An address (`{name}` in it is any one word) and what answers it, in a thread of its own.

    Only a logged-in person of one of the `roles` gets there, or an administrator.
    """

    path: str
    method: Literal["GET", "POST"]
    answer: Callable[[Visit], Response]
    roles: frozenset[Role] = PEOPLE


def create_app(logins: Logins, pages: Sequence[Page], home: str) -> Starlette:
    """The server of these pages; `home` is the address that / leads to."""

    async def start(_request: Request) -> Response:
        return RedirectResponse(home, 303)

    routes = [
        Route("/", start),
        Route("/login", _login_page(logins)),
        Route("/login", _log_in(logins), methods=["POST"]),
        Route("/logout", _log_out(logins), methods=["POST"]),
        Route("/healthz", _healthz),
        Route("/healthz/{challenge}", _prove(logins)),
        Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        *(Route(p.path, _for_people(logins, p), methods=[p.method]) for p in pages),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(Guard)])
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _unknown)
    return app


def _login_page(logins: Logins) -> Callable[[Request], Awaitable[Response]]:
    async def show(request: Request) -> Response:
        wanted = request.query_params.get("to", "/")
        to = wanted if OWN_PATH.fullmatch(wanted) else "/"
        if await run_in_threadpool(_session, request, logins) is not None:
            return RedirectResponse(to, 303)
        return page("login.html.j2", to=to)

    return show


def _log_in(logins: Logins) -> Callable[[Request], Awaitable[Response]]:
    async def log_in(request: Request) -> Response:
        body = await _read_json(request)
        token, key = body.get("token"), body.get("key")
        if isinstance(key, str):
            entry = await run_in_threadpool(logins.enter, key)
        else:
            entry = logins.redeem(token if isinstance(token, str) else "")
        if entry.session_id is None:
            raise Refusal(403, entry.refusal)
        answer = PlainTextResponse("logged in")
        answer.set_cookie(_cookie(request), entry.session_id, httponly=True, samesite="strict", path="/")
        return answer

    return log_in


def _log_out(logins: Logins) -> Callable[[Request], Awaitable[Response]]:
    async def log_out(request: Request) -> Response:
        await run_in_threadpool(_csrf_session, request, logins)
        logins.end(request.cookies.get(_cookie(request), ""))
        answer = PlainTextResponse("logged out")
        answer.delete_cookie(_cookie(request), httponly=True, samesite="strict", path="/")
        return answer

    return log_out


def _prove(logins: Logins) -> Callable[[Request], Awaitable[Response]]:
    async def prove(request: Request) -> Response:
        return PlainTextResponse(logins.prove(request.path_params["challenge"][:200]))

    return prove


async def _healthz(_request: Request) -> Response:
    return PlainTextResponse("ok")


def _for_people(logins: Logins, page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def check_and_answer(request: Request) -> Response:
        is_change = request.method == "POST"
        session = await run_in_threadpool(_csrf_session if is_change else _known_session, request, logins)
        if not session.may(*page.roles):
            raise Refusal(403, f"Your key is for {session.role}s; this is for {' and '.join(sorted(page.roles))}s.")
        body = await _read_json(request) if is_change else {}
        names = {name: str(value) for name, value in request.path_params.items()}
        if not session.sees(names.get("feature", "")) and "feature" in names:
            raise Refusal(403, f"Your key is not for {names['feature']}.")
        visit = Visit(session, names, dict(request.query_params), body, _is_part(request))
        try:
            return await run_in_threadpool(page.answer, visit)
        except RatchetError as error:  # its message is made for people
            raise Refusal(422, str(error)) from error

    return check_and_answer


def _known_session(request: Request, logins: Logins) -> Session:
    session = _session(request, logins)
    if session is None:
        raise Refusal(401, "You are not logged in. Open the link that the terminal shows, or log in with a key.")
    return session


def _csrf_session(request: Request, logins: Logins) -> Session:
    session = _known_session(request, logins)
    if not hmac.compare_digest(request.headers.get(CSRF, "").encode(), session.csrf.encode()):
        raise Refusal(403, "This page is of an earlier login. Load it again.")
    return session


def _is_part(request: Request) -> bool:
    return request.method == "POST" or "x-part" in request.headers


def _session(request: Request, logins: Logins) -> Session | None:
    return logins.session(request.cookies.get(_cookie(request), ""))


def _cookie(request: Request) -> str:
    """The cookie's name holds the port: browsers share cookies between all servers of one machine."""
    return f"ratchet_{(request.scope.get('server') or ('', 0))[1]}"


async def _read_json(request: Request) -> dict[str, Any]:
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > LONGEST_BODY:
            raise Refusal(413, f"Too long: at most {LONGEST_BODY // 1024} KiB.")
    try:
        body = json.loads(received.decode("utf-8"))
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refusal(400, "The page sent something that is no JSON object.")
    return body


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _told(request, error.status, error.message)


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _told(request, error.status_code, "There is no such page.")


def _told(request: Request, status: int, message: str) -> Response:
    """A page for somebody who opened an address, a line for the script of a page."""
    if _is_part(request):
        return PlainTextResponse(message, status)
    return page("told.html.j2", status, heading=HEADINGS.get(status, "That did not work"), message=message)
