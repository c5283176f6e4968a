"""A WebSocket served to a raw client, in memory or over TCP: the handshake, handlers, and frames as bytes."""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio
import trio.lowlevel
from starlette.types import Receive, Scope, Send
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import Event
from websockets.uri import parse_uri

from gateway.net.frame import frame
from gateway.net.http import serve_http
from gateway.net.memory import MemoryTransport, memory_pair
from gateway.net.transport import Address
from gateway.net.upgrade import Admission, Admit
from gateway.net.websocket import WebSocket, WebSocketLimits
from tests.helpers.listening import listen

LIMITS = WebSocketLimits(message_bytes=100_000, close_timeout_s=5)
Serve = Callable[[WebSocket], Awaitable[None]]

HANDSHAKE = (
    b"GET /v1/ws?a=b HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def echo(websocket: WebSocket) -> None:
    while True:
        message = await websocket.receive()
        opcode, payload = (Opcode.TEXT, message.encode()) if isinstance(message, str) else (Opcode.BINARY, message)
        writable = trio.Event()
        websocket.on_writable = writable.set
        if not websocket.try_write(frame(opcode, payload)):
            await writable.wait()
            assert websocket.try_write(frame(opcode, payload))


def welcome(handler: Serve, subprotocol: str | None = None) -> Admit:
    return lambda request: Admission(subprotocol, handler)


def masked(opcode: Opcode, payload: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


GO = masked(Opcode.TEXT, b"go")


def closing(code: int) -> bytes:
    return masked(Opcode.CLOSE, struct.pack("!H", code))


class Client:
    """A raw client that has shaken hands and reads frames."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport
        self.protocol = ClientProtocol(parse_uri("ws://gateway/v1/ws"), max_size=None)
        self.events: list[Event] = []

    async def event(self) -> Event:
        while not self.events:
            data = await self.transport.receive()
            if not data:
                raise EOFError
            self.protocol.receive_data(data)
            self.events += self.protocol.events_received()
        return self.events.pop(0)

    async def frame(self) -> Frame:
        event = await self.event()
        assert isinstance(event, Frame)
        return event

    async def close_code(self) -> int:
        while (part := await self.frame()).opcode is not Opcode.CLOSE:
            pass
        code: int = struct.unpack("!H", part.data[:2])[0]
        return code


@asynccontextmanager
async def connected(
    handler: Serve, *, capacity: int = 65536, trailing: bytes = b"", limits: WebSocketLimits = LIMITS
) -> AsyncIterator[Client]:
    """A client in memory, behind its handshake."""
    end, server = memory_pair(capacity, client=("192.0.2.1", 50000))
    client = Client(end)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_http, server, hello, welcome(handler), websocket_limits=limits))
        client.protocol.send_request(client.protocol.connect())
        request = b"".join(client.protocol.data_to_send())
        end.try_send(request + trailing)
        response = await client.event()
        assert isinstance(response, Response)
        assert response.status_code == 101
        yield client
        end.release()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def over_tcp(admit: Admit, limits: WebSocketLimits = LIMITS) -> AsyncIterator[Address]:
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            handler = partial(serve_http, app=hello, admit=admit, websocket_limits=limits)
            yield await listen(nursery, handler)
            nursery.cancel_scope.cancel()


def url(address: Address) -> str:
    return f"ws://{address[0]}:{address[1]}/v1/ws"


async def handshake(admit: Admit, request: bytes, limits: WebSocketLimits = LIMITS) -> bytes:
    """The first answer to these bytes."""
    client, server = memory_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_http, server, hello, admit, websocket_limits=limits))
        client.try_send(request)
        answer = await client.receive()
        client.release()
    return answer


async def flood(websocket: WebSocket) -> int:
    """When told to go, fill the transport until something is left over."""
    assert await websocket.receive() == "go"
    count = 0
    while not websocket.backlog:
        assert websocket.try_write(frame(Opcode.BINARY, b"%5d" % count * 100))
        count += 1
    return count
