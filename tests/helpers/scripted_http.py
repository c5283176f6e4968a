"""An HTTP server whose every byte the test decides: raw sockets, one answer a connection, nothing corrected."""

import json
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio


class Received(msgspec.Struct, frozen=True):
    """One request as it came; `headers` with lower-case names."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.body)
        return decoded


Answer = Callable[[trio.SocketStream, Received], Awaitable[None]]


class ScriptedServer(msgspec.Struct):
    """Where it listens, and all that it was asked, in order."""

    port: int
    requests: list[Received]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def scripted_server(*answers: Answer) -> AsyncGenerator[ScriptedServer, None]:
    """Give the n-th connection the n-th answer, and the last one to all that follow; then close it.

    An answer that is cut off by a client which has left ends quietly.
    """
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    server = ScriptedServer(listener.socket.getsockname()[1], [])

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                request = await _receive(stream)
                server.requests.append(request)
                await answers[min(len(server.requests), len(answers)) - 1](stream, request)
            except trio.BrokenResourceError:
                pass

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, [listener])
        yield server
        nursery.cancel_scope.cancel()


async def _receive(stream: trio.SocketStream) -> Received:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await _some(stream)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += await _some(stream)
    return Received(first.split()[1], headers, body)


async def _some(stream: trio.SocketStream) -> bytes:
    if data := await stream.receive_some():
        return bytes(data)
    raise trio.BrokenResourceError("the client left in mid-request")


def head_of(
    status: str = "200 OK", media_type: str = "text/event-stream", *headers: str, version: str = "1.0"
) -> bytes:
    """A response's head; `version` 1.0 is delimited by the close, 1.1 is chunked."""
    framing = ["Transfer-Encoding: chunked"] if version == "1.1" else []
    return "\r\n".join([f"HTTP/{version} {status}", f"Content-Type: {media_type}", *framing, *headers, "", ""]).encode()


def as_chunk(data: bytes) -> bytes:
    """One chunk of HTTP/1.1's chunked framing; that of nothing ends the body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def send(*pieces: bytes) -> Answer:
    """Answer with these bytes as they are, then close."""

    async def answer(stream: trio.SocketStream, _: Received) -> None:
        for piece in pieces:
            await stream.send_all(piece)

    return answer


def send_body(pieces: Iterable[bytes], *, version: str = "1.0") -> Answer:
    """Answer with an event stream in HTTP/1.0 (ended by closing) or HTTP/1.1 (chunked)."""
    if version == "1.0":
        return send(head_of(), *pieces)
    return send(head_of(version="1.1"), *map(as_chunk, pieces), as_chunk(b""))


def refuse(status: str, body: bytes = b"", *headers: str, media_type: str = "application/json") -> Answer:
    """Answer with an error status."""
    return send(head_of(status, media_type, *headers) + body)


def then_reset(*pieces: bytes) -> Answer:
    """Send these bytes, give the client time to take them, then reset the connection."""

    async def answer(stream: trio.SocketStream, _: Received) -> None:
        for piece in pieces:
            await stream.send_all(piece)
        await trio.sleep(0.05)  # a reset discards what the client has not read
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return answer
