"""Plain HTTP served to a raw client, in memory or over TCP, and small applications to be served."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import h11
import trio
import trio.testing
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.net.http import serve_http
from gateway.net.memory import MemoryTransport, memory_pair
from gateway.net.problem import Problem
from gateway.net.response import HttpLimits
from gateway.net.transport import PeerGone, Transport
from gateway.net.upgrade import Admission
from gateway.net.websocket import UpgradeRequest
from tests.helpers.listening import listen

LIMITS = HttpLimits(
    header_bytes=1000,
    header_timeout_s=10,
    idle_timeout_s=60,
    body_bytes=100_000,
    body_timeout_s=30,
    write_timeout_s=20,
    close_timeout_s=2,
)
CLIENT, SERVER = ("192.0.2.1", 50000), ("192.0.2.2", 80)


def refuse(request: UpgradeRequest) -> Admission | Problem:
    return Problem(status=404, code="not_found", detail="No socket here.")


@asynccontextmanager
async def connected(app: ASGIApp, limits: HttpLimits = LIMITS) -> AsyncIterator[MemoryTransport]:
    """A client's end of a connection in memory that `app` serves."""
    client, server = memory_pair(client=CLIENT, server=SERVER)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, server, app, refuse, limits)
        yield client
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def over_tcp(app: ASGIApp, limits: HttpLimits = LIMITS) -> AsyncIterator[trio.SocketStream]:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            handler = partial(serve_http, app=app, admit=refuse, limits=limits)
            address = await listen(nursery, handler)
            async with await trio.open_tcp_stream(*address) as stream:
                yield stream
            nursery.cancel_scope.cancel()


class Client:
    """Reads responses with h11, so that framing errors show."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.h11 = h11.Connection(h11.CLIENT)

    async def next_event(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            self.h11.receive_data(await self.transport.receive())
        assert event is not h11.NEED_DATA
        return event  # type: ignore[return-value]

    async def ask(self, method: str = "GET", target: str = "/", **headers: str) -> tuple[h11.Response, bytes]:
        if self.h11.our_state is h11.DONE:
            self.h11.start_next_cycle()
        fields = [("Host", "gateway"), *((name.replace("_", "-"), value) for name, value in headers.items())]
        head = self.h11.send(h11.Request(method=method, target=target, headers=fields))
        self.transport.try_send(head + self.h11.send(h11.EndOfMessage()))
        return await self.answer()

    async def answer(self) -> tuple[h11.Response, bytes]:
        body = b""
        response = await self.next_event()
        assert isinstance(response, h11.Response), response
        while not isinstance(event := await self.next_event(), h11.EndOfMessage):
            assert isinstance(event, h11.Data)
            body += event.data
        return response, body


async def raw(app: ASGIApp, request: bytes, limits: HttpLimits = LIMITS) -> bytes:
    """Everything that comes back for these bytes until the server ends the connection."""
    async with connected(app, limits) as client:
        client.try_send(request)
        answer = b""
        with trio.fail_after(100):
            try:
                while data := await client.receive():
                    answer += data
            except PeerGone:
                answer += b"<reset>"
        client.release()
    return answer


async def read_body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


async def respond(send: Send, body: bytes = b"", status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, await read_body(receive))


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, b"hello " + scope["path"].encode())


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("secret")


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])
