"""One HTTP request and its response, as an ASGI 3 application sees them."""

import contextlib
from collections import deque
from urllib.parse import unquote_to_bytes

import h11
import trio
from starlette.types import ASGIApp, Message, Scope

from gateway.net.problem import Problem
from gateway.net.response import HttpLimits, Response
from gateway.net.transport import PeerGone, Transport

LOOK_AHEAD_BYTES = 64 * 1024
"""So much of the next requests is read while an answer is under way and the client is watched for hanging up."""

INTERNAL = Problem(status=500, code="internal", detail="Something broke here; the log has it.")


def http_scope(request: h11.Request, transport: Transport) -> Scope:
    """The connection scope of ASGI's HTTP protocol.

    By version 2.3 of its spec applications watch for the disconnect themselves, which a silent event stream needs.
    """
    raw_path, _, query = request.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.http_version.decode("ascii"),
        "method": request.method.decode("ascii"),
        "scheme": "http",
        "path": unquote_to_bytes(raw_path).decode(errors="replace"),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": list(request.headers),
        "client": transport.peer,
        "server": transport.local,
    }


class _Refused(Exception):
    """The request's body will not be taken."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class Exchange:
    """One request being served; afterwards `response.complete` says whether the connection can serve another one."""

    def __init__(
        self, connection: h11.Connection, transport: Transport, request: h11.Request, limits: HttpLimits
    ) -> None:
        self.response = Response(connection, transport, limits, bodiless=request.method == b"HEAD")
        self._connection = connection
        self._transport = transport
        self._request = request
        self._limits = limits
        self._body: deque[bytes] = deque()  # parsed, not yet handed to the application
        self._body_bytes = 0
        self._body_parsed = False  # to its end
        self._body_delivered = False
        self._patience_s = limits.body_timeout_s
        self._refused = False
        self._gone = False
        self._watch = trio.CancelScope()

    @property
    def has_body(self) -> bool:
        """Whether anything follows the request's head."""
        with contextlib.suppress(_Refused):
            self._pull()
        return bool(self._body) or not self._body_parsed

    async def run(self, app: ASGIApp) -> None:
        """Call `app` and see its response out.

        Raises what `app` raises, after answering 500 if nothing had been sent; PeerGone when the client has left.
        """
        try:
            self._check_length()
            await app(http_scope(self._request, self._transport), self._receive, self._send)
            if not self._over:
                raise RuntimeError("the application ended before its response did")
        except _Refused as refused:
            await self._refuse(refused.problem)
        except PeerGone:
            raise
        except Exception as exc:
            if self._gone:
                raise PeerGone("the client has left") from exc
            if self._refused:
                return
            if not self.response.sent:
                await self.response.answer(INTERNAL)
            raise

    async def _receive(self) -> Message:
        if not (self._body_delivered or self._over):
            try:
                await self._more_body()
            except _Refused as refused:
                await self._refuse(refused.problem)
            except PeerGone:
                self._gone = True
            else:
                body = b"".join(self._body)
                self._body.clear()
                self._body_delivered = self._body_parsed
                return {"type": "http.request", "body": body, "more_body": not self._body_delivered}
        await self._until_over()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._gone:
            raise PeerGone("the client has left")
        if self._refused:
            return
        match message["type"]:
            case "http.response.start":
                await self._start(message["status"], list(message.get("headers", ())))
            case "http.response.body":
                await self._write(message.get("body", b""), more=message.get("more_body", False))
            case other:
                raise RuntimeError(f"a message of type {other!r} makes no sense here")

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        with contextlib.suppress(_Refused):
            self._pull()
        if not self._body_parsed:  # what nobody reads stands between this request and the next
            headers = [*headers, (b"connection", b"close")]
        try:
            await self.response.start(status, headers)
        except PeerGone:
            self._gone = True
            raise

    async def _write(self, data: bytes, *, more: bool) -> None:
        try:
            await self.response.write(data, more=more)
        except PeerGone:
            self._gone = True
            raise
        if self.response.complete:
            self._watch.cancel()

    @property
    def _over(self) -> bool:
        return self._gone or self._refused or self.response.complete

    def _check_length(self) -> None:
        for name, value in self._request.headers:
            if name == b"content-length" and int(value) > self._limits.body_bytes:
                raise self._too_large()

    def _too_large(self) -> _Refused:
        limit = self._limits.body_bytes
        return _Refused(Problem(status=413, code="too_large", detail=f"The body may have {limit} bytes."))

    def _pull(self) -> None:
        """Parse what has arrived of the body."""
        while not self._body_parsed:
            try:
                event = self._connection.next_event()
            except h11.RemoteProtocolError as exc:
                raise _Refused(Problem(status=400, code="bad_message", detail=str(exc))) from exc
            match event:
                case h11.Data():
                    self._body_bytes += len(event.data)
                    if self._body_bytes > self._limits.body_bytes:
                        raise self._too_large()
                    self._body.append(bytes(event.data))
                case h11.EndOfMessage():
                    self._body_parsed = True
                case _:
                    return

    async def _more_body(self) -> None:
        """Wait for some of the body, or for its end; all waits for one body share one allowance of time."""
        self._pull()
        while not (self._body or self._body_parsed):
            if self._connection.they_are_waiting_for_100_continue:
                await self.response.go_on()
            began = trio.current_time()
            data = b""
            with trio.move_on_after(self._patience_s) as patience:
                data = await self._transport.receive()
            if patience.cancelled_caught:
                raise _Refused(Problem(status=408, code="deadline_exceeded", detail="The body came too slowly."))
            if not data:
                raise PeerGone("the client hung up in its own request")
            self._patience_s -= trio.current_time() - began
            self._connection.receive_data(data)
            self._pull()

    async def _refuse(self, problem: Problem) -> None:
        """End the request here and now; the application is told that the client is gone."""
        self._refused = True
        if not self.response.sent:
            await self.response.answer(problem)

    async def _until_over(self) -> None:
        """Wait until the response is complete or the client hangs up; read ahead no more than is bounded."""
        ahead = 0
        with trio.CancelScope() as self._watch:
            while not self._over:
                if ahead >= LOOK_AHEAD_BYTES:
                    await trio.sleep_forever()
                try:
                    data = await self._transport.receive()
                except PeerGone:
                    data = b""
                if not data:
                    self._gone = True
                    return
                ahead += len(data)
                self._connection.receive_data(data)
