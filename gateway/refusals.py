"""Refusals: every answer that is not the asked-for one, in the shape of OpenAI's errors, never with user text."""

from __future__ import annotations

import math

import orjson
from pydantic import ValidationError
from starlette.responses import Response


class Refusal(Exception):
    """Ends a request with a status, a machine-readable code and a message for the application's developer."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s

    def document(self) -> dict[str, dict[str, str | None]]:
        """The error as OpenAI's clients parse it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": None, "code": self.code}}

    def response(self, headers: dict[str, str] | None = None) -> Response:
        """The HTTP answer."""
        sent = dict(headers or {})
        if self.retry_after_s is not None:
            sent["Retry-After"] = str(max(1, math.ceil(self.retry_after_s)))
        return json_response(self.document(), self.status, sent)


class BackendFailed(Refusal):
    """The model server did not answer well; `is_retryable` where a second try at once may help.

    `is_its_fault`: counts towards opening the breaker; a request that the server rightly refuses does not.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        is_retryable: bool = False,
        is_its_fault: bool = True,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(status, code, message, retry_after_s=retry_after_s)
        self.is_retryable = is_retryable
        self.is_its_fault = is_its_fault


def json_response(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON by orjson."""
    return Response(orjson.dumps(document), status, headers, media_type="application/json")


def first_problem(error: ValidationError) -> str:
    """Where a body is wrong and what is expected there, without what was given."""
    problem = error.errors(include_input=False, include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown field"
    return f"{key}: {message}" if key else message
