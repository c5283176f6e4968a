"""The REST side: start, show, list and cancel hatches, fetch finished files, and say how the gateway is."""

from collections.abc import Callable
from typing import Final, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from actors.artifacts import ArtifactStore
from gateway.access.auth import COOKIE, Access, user_of
from gateway.access.capability import Signer
from gateway.live.sessions import Beginning, Sessions
from gateway.rest.answers import HatchCancelled, HatchStarted, Health, Link, LoggedIn, Readiness, SessionPage
from gateway.rest.gallery import page_limit
from gateway.rest.uploads import read_body
from protocol.commands import HatchRequest, StateName
from protocol.errors import BadMessage, Invalid

_HATCH: Final = msgspec.json.Decoder(HatchRequest)


class Rest:
    """The endpoints over one gateway's sessions, artifacts, signer and access.

    `healthy` tells whether the store can be written, `obstacle` why no persona can be written now, if so.
    """

    def __init__(
        self,
        sessions: Sessions,
        artifacts: ArtifactStore,
        signer: Signer,
        healthy: Callable[[], bool],
        obstacle: Callable[[], str | None],
        access: Access,
        *,
        body_bytes: int,
    ) -> None:
        self._sessions = sessions
        self._artifacts = artifacts
        self._signer = signer
        self._healthy = healthy
        self._obstacle = obstacle
        self._access = access
        self._body_bytes = body_bytes

    def routes(self) -> list[Route]:
        """All of them, for a Starlette application."""
        return [
            Route("/v1/hatches", self.start, methods=["POST"]),
            Route("/v1/hatches", self.list, methods=["GET"]),
            Route("/v1/hatches/{session}", self.show, methods=["GET"]),
            Route("/v1/hatches/{session}", self.cancel, methods=["DELETE"]),
            Route("/v1/hatches/{session}/links", self.share, methods=["POST"]),
            Route("/v1/login", self.login, methods=["POST"]),
            Route("/v1/login", self.logout, methods=["DELETE"]),
            Route("/v1/artifacts/{sha256}", self.artifact, methods=["GET"]),
            Route("/healthz", self.health, methods=["GET"]),
            Route("/readyz", self.readiness, methods=["GET"]),
        ]

    async def start(self, request: Request) -> Response:
        """202 for a new hatch, 200 for the one that the same Idempotency-Key has started."""
        try:
            hatch = _HATCH.decode(await read_body(request, self._body_bytes))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadMessage(f"the body is no hatch: {error}") from error
        key = request.headers.get("idempotency-key")
        if key is not None and not 1 <= len(key) <= 200:
            raise Invalid("an Idempotency-Key has 1 to 200 characters", field="key")
        started = await self._sessions.start(user_of(request), Beginning(hatch=hatch, key=key))
        view = started.view
        answer = HatchStarted(session=view.session, epoch=view.epoch, existing=started.existing, state=view.state)
        status = 200 if started.existing else 202
        return _json(answer, status, headers={"Location": f"/v1/hatches/{view.session}"})

    async def list(self, request: Request) -> Response:
        """A page of sessions, newest first; `states` is comma-separated."""
        query = request.query_params
        states = query.get("states")
        limit = page_limit(query.get("limit"))
        page = await self._sessions.list(
            user_of(request), states=_states(states) if states else None, limit=limit, before=query.get("before")
        )
        return _json(SessionPage(items=page.items, before=page.before))

    async def show(self, request: Request) -> Response:
        """The session as a snapshot."""
        view = await self._sessions.view(user_of(request), request.path_params["session"])
        return _json(view.snapshot(self._signer.sign))

    async def cancel(self, request: Request) -> Response:
        """Cancel; the answer is the state as it then is."""
        session = request.path_params["session"]
        view = await self._sessions.cancel(user_of(request), session=session, reason="asked over HTTP")
        return _json(HatchCancelled(session=view.session, epoch=view.epoch, seq=view.seq, state=view.state), 202)

    async def share(self, request: Request) -> Response:
        """201 with a token for `hello.watch_token`, which shows this session to whoever has it, until it expires."""
        view = await self._sessions.view(user_of(request), request.path_params["session"])
        shared = self._access.share(view.record.owner, view.session)
        expires_at_ms = shared.expires_s * 1000
        url = f"/#watch={shared.watch_token}"
        return _json(Link(watch_token=shared.watch_token, expires_at_ms=expires_at_ms, url=url), 201)

    async def login(self, request: Request) -> Response:
        """Exchange a bearer token for a cookie, which page and socket then send by themselves."""
        response = _json(LoggedIn(user=user_of(request)))
        if self._access.required:
            response.set_cookie(
                COOKIE,
                self._access.login(request.state.identity),
                max_age=int(self._access.limits.login_s),
                httponly=True,
                samesite="strict",
                secure=request.url.scheme == "https",
            )
        return response

    async def logout(self, request: Request) -> Response:
        """Take the cookie back."""
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    async def artifact(self, request: Request) -> Response:
        """A finished file, for whoever holds its signed URL."""
        sha256, query = request.path_params["sha256"], request.query_params
        self._signer.verify(sha256, query.get("expires", ""), query.get("signature", ""))
        headers = {
            "Cache-Control": "private, max-age=31536000, immutable",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        return FileResponse(self._artifacts.path(sha256), media_type="image/png", headers=headers)

    async def health(self, request: Request) -> Response:
        """Alive."""
        return _json(Health(status="ok"))

    async def readiness(self, request: Request) -> Response:
        """Whether new hatches are taken, and by which engines; if the writer is what is missing, why."""
        obstacle = self._obstacle()
        status: Literal["ok", "draining", "cannot write", "no writer"]
        if self._sessions.draining:
            status = "draining"
        elif not self._healthy():
            status = "cannot write"
        else:
            status = "ok" if obstacle is None else "no writer"
        engines = self._sessions.workshop.engines
        answer = Readiness(status=status, engines=engines, running=self._sessions.running, reason=obstacle)
        return _json(answer, 200 if status == "ok" else 503)


def _states(text: str) -> frozenset[StateName]:
    try:
        return frozenset(msgspec.convert(text.split(","), list[StateName]))
    except msgspec.ValidationError as error:
        raise Invalid(f"states is a comma-separated list of states: {error}", field="states") from error


def _json(body: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers=headers, media_type="application/json")
