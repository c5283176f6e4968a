"""The Starlette application: routes, the checks that every request must pass, and errors as problem+json."""

from collections.abc import Sequence
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.entrance import Entrance
from gateway.access.origin import OriginPolicy
from gateway.net.asgi import INTERNAL
from gateway.net.bridle import BRIDLE
from gateway.net.problem import Problem
from gateway.rest.reference import REFERENCE
from gateway.rest.uploads import UPLOADS_PATH
from protocol.errors import BadMessage, HatcheryError, Unauthenticated

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CODES: Final = {404: "not_found", 405: "bad_message"}
_CSP: Final = (  # of every answer that has no stricter one: the page's own files and socket, nothing inline
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self';"
    " manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEALTH: Final = "/healthz"  # whoever asks, and however often: a busy gateway is not a dead one
_OPEN: Final = frozenset({"/", "/client.js"}) | REFERENCE  # the page asks for the token
_OPEN_BELOW: Final = ("/v1/artifacts/", "/assets/")  # signed URLs, and the page's files
_CHALLENGE: Final = ("WWW-Authenticate", 'Bearer realm="hatchery"')


def create_app(routes: Sequence[Route], policy: OriginPolicy, entrance: Entrance) -> Starlette:
    """The application for plain HTTP; handlers learn from `user_of` who asks."""
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(_Door, policy=policy, entrance=entrance),
            Middleware(
                CORSMiddleware,
                allow_origins=policy.allowed_origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
                expose_headers=["Location", "Retry-After"],
            ),
            Middleware(_Gate, policy=policy, entrance=entrance),
        ],
        exception_handlers={HatcheryError: _coded, HTTPException: _plain, Exception: _broken},
    )


class _Door:
    """Refuses foreign hosts, sees through trusted proxies, and gives every answer the headers that bridle browsers."""

    def __init__(self, app: ASGIApp, policy: OriginPolicy, entrance: Entrance) -> None:
        self._app = app
        self._policy = policy
        self._proxies = entrance.proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(BRIDLE)
                headers.setdefault("content-security-policy", _CSP)
            await send(message)

        headers = Headers(scope=scope)
        peer = scope["client"]
        scope["client"] = self._proxies.client(peer, headers)
        secure = self._policy.is_secure(headers.get("host"))
        scope["scheme"] = "https" if secure else self._proxies.scheme(peer, headers)
        try:
            self._policy.check_host(headers.get("host"))
        except HatcheryError as error:
            await _respond(Problem.of(error))(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


class _Gate:
    """Refuses strangers, and changes asked for by foreign pages or by bodies that a form could send."""

    def __init__(self, app: ASGIApp, policy: OriginPolicy, entrance: Entrance) -> None:
        self._app = app
        self._policy = policy
        self._entrance = entrance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        try:
            self._check(request)
            if request.url.path != _HEALTH:
                self._recognise(request)
        except HatcheryError as error:
            await _respond(Problem.of(error))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _recognise(self, request: Request) -> None:
        """Find out who it is, who may be nobody where a door is open. Raises Unauthenticated or RateLimited."""
        address = request.client.host if request.client else None
        entrance = self._entrance
        try:
            if _is_open(request):  # where a guess is not answered, and so not counted
                request.state.identity = entrance.access.recognise(request.headers)
            else:
                request.state.identity = entrance.recognise(request.headers, address)
        except Unauthenticated:
            entrance.pace.stranger(address)
            if not _is_open(request):
                raise
        else:
            entrance.pace.user(request.state.identity.user)

    def _check(self, request: Request) -> None:
        if request.method in _READING:
            return
        self._policy.check_origin(request.headers.get("origin"))
        if request.method == "DELETE" or request.url.path == UPLOADS_PATH:  # which takes no type that a form could send
            return
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise BadMessage("the body must be JSON: send Content-Type: application/json")


def _is_open(request: Request) -> bool:
    """Whether strangers get as far as the handler, which may still ask `user_of` or check a signature."""
    path = request.url.path
    signed = path.startswith("/v1/agents/") and "signature" in request.query_params
    return signed or path in _OPEN or path.startswith(_OPEN_BELOW)


def _respond(problem: Problem) -> Response:
    if problem.code == Unauthenticated.code:
        problem = msgspec.structs.replace(problem, headers=(*problem.headers, _CHALLENGE))
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
