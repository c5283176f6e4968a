"""One case of a conformance suite: what a client sends, and what RFC 6455 has the server say to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import trio

from gateway.net.transport import Address
from gateway.net.websocket import WebSocketLimits
from tests.helpers.frames import Op, ServerFrame, client_frame, close_frame, split_frames
from tests.helpers.sockets import HANDSHAKE, echo, over_tcp, welcome

LIMITS: Final = WebSocketLimits(message_bytes=100_000, close_timeout_s=5)
PATIENCE_S: Final = 10


class Case(msgspec.Struct, frozen=True):
    """`sent` piece by piece, each in a packet of its own; `answers` are what comes back before the close.

    `code` is that of the server's close frame: of its own accord if not 1000, else an answer to ours, which is sent
    when `sent` has none. None is a close without a code.
    """

    name: str
    sent: tuple[bytes, ...]
    answers: tuple[ServerFrame, ...] = ()
    code: int | None = 1000
    closes: bool = False  # `sent` has our close, or what makes the server close


def echoed(name: str, *sent: bytes, text: str | None = None, binary: bytes | None = None) -> Case:
    """A case of one message that comes back."""
    answer = ServerFrame(Op.TEXT, text.encode()) if text is not None else ServerFrame(Op.BINARY, binary or b"")
    return Case(name, sent, (answer,))


def fails(name: str, *sent: bytes, code: int = 1002) -> Case:
    """A case that the server ends, with a message behind it that must not be answered any more."""
    return Case(name, (*sent, client_frame(Op.TEXT, b"late")), code=code, closes=True)


def chopped(data: bytes, size: int = 1) -> tuple[bytes, ...]:
    """Bytes in packets of `size`."""
    return tuple(data[at : at + size] for at in range(0, len(data), size))


class Bench:
    """A server, and a neighbour on it that must not notice anything."""

    def __init__(self, address: Address, neighbour: trio.SocketStream) -> None:
        self._address = address
        self._neighbour = neighbour

    async def check(self, case: Case) -> None:
        """Play a case and compare what came back, to the end of the connection."""
        async with await open_raw(self._address) as stream:
            heard = await converse(stream, case)
        closes = [frame for frame in heard if frame.opcode == Op.CLOSE]
        assert tuple(heard[:-1]) == case.answers, case.name
        assert closes == heard[-1:], f"{case.name}: one close, and nothing after it"
        payload = closes[0].payload
        assert (int.from_bytes(payload[:2], "big") if payload else None) == case.code, case.name
        payload[2:].decode()
        await self._neighbour.send_all(client_frame(Op.TEXT, b"still here"))
        assert await self._neighbour.receive_some() == b"\x81\x0astill here", case.name


async def converse(stream: trio.SocketStream, case: Case) -> list[ServerFrame]:
    """All frames that the server sends until it hangs up; our close follows when all answers have come."""
    answered = trio.Event()

    async def talk() -> None:
        try:
            for piece in case.sent:
                await stream.send_all(piece)
            if not case.closes:
                await answered.wait()
                await stream.send_all(close_frame(1000))
            await stream.send_eof()
        except trio.BrokenResourceError:
            pass  # it has hung up before we were through

    frames: list[ServerFrame] = []
    rest = b""
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            try:
                while True:
                    if len(frames) >= len(case.answers):
                        answered.set()
                    chunk = await stream.receive_some()
                    if not chunk:
                        break
                    more, rest = split_frames(rest + chunk)
                    frames += more
            except trio.BrokenResourceError:
                pass  # a reset, behind what was said
            nursery.cancel_scope.cancel()
    assert rest == b"", case.name
    return frames


async def open_raw(address: Address) -> trio.SocketStream:
    """A connection that has shaken hands."""
    stream = await trio.open_tcp_stream(*address)
    await stream.send_all(HANDSHAKE + b"\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await stream.receive_some()
    assert head.startswith(b"HTTP/1.1 101 ")
    return stream


@asynccontextmanager
async def open_bench(limits: WebSocketLimits = LIMITS) -> AsyncIterator[Bench]:
    """A server that echoes every message."""
    async with over_tcp(welcome(echo), limits) as address, await open_raw(address) as neighbour:
        yield Bench(address, neighbour)
