"""The Starlette application: routes, the checks that every request must pass, and errors as problem+json."""

from collections.abc import Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.asgi import INTERNAL
from gateway.origin import OriginPolicy
from gateway.problem import Problem
from protocol.errors import BadMessage, HatcheryError

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CODES: Final = {404: "not_found", 405: "bad_message"}
_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}


def create_app(routes: Sequence[Route], policy: OriginPolicy) -> Starlette:
    """The application for plain HTTP."""
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(_Door, policy=policy),
            Middleware(
                CORSMiddleware,
                allow_origins=policy.allowed_origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
                expose_headers=["Location", "Retry-After"],
            ),
            Middleware(_Gate, policy=policy),
        ],
        exception_handlers={HatcheryError: _coded, HTTPException: _plain, Exception: _broken},
    )


class _Door:
    """Refuses foreign hosts, and gives every answer the headers that keep browsers from guessing and framing."""

    def __init__(self, app: ASGIApp, policy: OriginPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        try:
            self._policy.check_host(Request(scope).headers.get("host"))
        except HatcheryError as error:
            await _respond(Problem.of(error))(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


class _Gate:
    """Refuses changes asked for by foreign pages, or by bodies that a form could send."""

    def __init__(self, app: ASGIApp, policy: OriginPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        try:
            self._check(request)
        except HatcheryError as error:
            await _respond(Problem.of(error))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, request: Request) -> None:
        if request.method in _READING:
            return
        self._policy.check_origin(request.headers.get("origin"))
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method != "DELETE" and content_type != "application/json":
            raise BadMessage("the body must be JSON: send Content-Type: application/json")


def _respond(problem: Problem) -> Response:
    body = problem.body()
    headers = {name.decode(): value.decode() for name, value in problem.raw_headers(body)}
    return Response(body, problem.status, headers=headers)


async def _coded(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HatcheryError)
    return _respond(Problem.of(error))


async def _plain(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _respond(
        Problem(
            status=error.status_code,
            code=_CODES.get(error.status_code, "bad_message"),
            detail=error.detail,
            headers=tuple((error.headers or {}).items()),
        )
    )


async def _broken(_request: Request, _error: Exception) -> Response:
    return _respond(INTERNAL)
