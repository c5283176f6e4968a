"""The server side of HTTP/1.1: one task per connection, requests one after another, until it ends or is upgraded."""

import contextlib

import h11
import structlog
import trio
from starlette.types import ASGIApp

from gateway.net.asgi import INTERNAL, Exchange
from gateway.net.problem import Problem
from gateway.net.response import HttpLimits, Response
from gateway.net.transport import PeerGone, Transport
from gateway.net.upgrade import Admit, negotiate, upgrade_request, wants_websocket
from gateway.net.websocket import WebSocketClosed, WebSocketLimits, open_websocket

log = structlog.get_logger(__name__)


async def serve_http(
    transport: Transport,
    app: ASGIApp,
    admit: Admit,
    limits: HttpLimits | None = None,
    websocket_limits: WebSocketLimits | None = None,
) -> None:
    """Serve one connection to its end: plain requests by `app`, upgrades by whoever `admit` names.

    Raises what a WebSocket's `serve` raises; a failing `app` is logged and costs its client an answer at most.
    """
    connection = _HttpConnection(transport, app, admit, limits or HttpLimits(), websocket_limits or WebSocketLimits())
    try:
        while await connection.serve_next():
            pass
    except PeerGone:
        transport.abort()
    else:
        await transport.close(connection.limits.close_timeout_s)


class _HttpConnection:
    def __init__(
        self,
        transport: Transport,
        app: ASGIApp,
        admit: Admit,
        limits: HttpLimits,
        websocket_limits: WebSocketLimits,
    ) -> None:
        self.limits = limits
        self._websocket_limits = websocket_limits
        self._transport = transport
        self._app = app
        self._admit = admit
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        self._fresh = True

    async def serve_next(self) -> bool:
        """Serve one request; False when it was the last one. Raises PeerGone."""
        try:
            request = await self._next_request()
        except h11.RemoteProtocolError as exc:
            code = "too_large" if exc.error_status_hint == 431 else "bad_message"
            return await self._give_up(Problem(status=exc.error_status_hint, code=code, detail=str(exc)))
        except trio.TooSlowError:
            return await self._give_up(
                Problem(status=408, code="deadline_exceeded", detail="The request came too slowly.")
            )
        if request is None:
            return False
        exchange = Exchange(self._h11, self._transport, request, self.limits)
        if not request.target.startswith(b"/") and request.target != b"*":
            problem = Problem(status=400, code="bad_message", detail="The target must be a path.")
            await exchange.response.answer(problem)
        elif wants_websocket(request):
            await self._upgrade(request, exchange)
        else:
            await self._call_app(request, exchange)
        return exchange.response.complete and self._next_cycle()

    async def _call_app(self, request: h11.Request, exchange: Exchange) -> None:
        try:
            await exchange.run(self._app)
        except PeerGone:
            raise
        except Exception as exc:
            path = request.target.split(b"?")[0].decode("ascii")  # a query may hold what no log should
            log.error("application_failed", method=request.method.decode("ascii"), path=path, exc_info=exc)
            if not exchange.response.complete:  # a clean end would pass half an answer off as a whole one
                self._transport.abort()

    async def _upgrade(self, request: h11.Request, exchange: Exchange) -> None:
        asked = upgrade_request(request, self._transport.peer)
        if exchange.has_body:
            await exchange.response.answer(Problem(status=400, code="bad_message", detail="An upgrade has no body."))
            return
        try:
            handshake = negotiate(asked, self._admit, self._websocket_limits)
        except Exception:
            await exchange.response.answer(INTERNAL)
            raise
        if isinstance(handshake, Problem):
            await exchange.response.answer(handshake)
            return
        trailing, _ = self._h11.trailing_data
        async with open_websocket(
            self._transport,
            asked,
            handshake.protocol,
            response=handshake.response,
            trailing=trailing,
            limits=self._websocket_limits,
        ) as websocket:
            with contextlib.suppress(WebSocketClosed):
                await handshake.serve(websocket)

    async def _next_request(self) -> h11.Request | None:
        """Wait for a request's head; None when the client has nothing more to ask.

        Raises h11.RemoteProtocolError, PeerGone, and trio.TooSlowError for a head that is begun and not finished.
        """
        limits = self.limits
        heard = bool(self._h11.trailing_data[0])
        with trio.move_on_after(limits.header_timeout_s if heard or self._fresh else limits.idle_timeout_s) as patience:
            while (event := self._h11.next_event()) is h11.NEED_DATA:
                data = await self._transport.receive()
                self._h11.receive_data(data)
                if not heard:
                    heard = True
                    patience.deadline = trio.current_time() + limits.header_timeout_s
        if patience.cancelled_caught:
            if heard:
                raise trio.TooSlowError
            return None
        self._fresh = False
        return event if isinstance(event, h11.Request) else None

    async def _give_up(self, problem: Problem) -> bool:
        await Response(self._h11, self._transport, self.limits).answer(problem)
        return False

    def _next_cycle(self) -> bool:
        """Make ready for another request, if both sides want to go on."""
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
            return True
        return False
