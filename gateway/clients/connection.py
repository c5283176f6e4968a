"""One WebSocket to a gateway on trio, as it is: commands out, messages in, until it ends."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, cast

import msgspec
import trio
import trio_websocket

from gateway.clients.address import Address, parse_address
from gateway.clients.frames import MAX_FRAME_BYTES, decode_messages
from gateway.clients.policy import ABNORMAL, Disconnected
from protocol.codec import Codec
from protocol.commands import Command
from protocol.events import ServerMessage

CLOSE_S: Final = 5.0


class Connection:
    """An open connection; one task reads it, any task may send."""

    def __init__(self, socket: trio_websocket.WebSocketConnection, address: Address) -> None:
        self.address = address
        self._socket = socket

    async def send(self, *commands: Command) -> None:
        """Send commands in one frame. Raises Disconnected."""
        await self.send_frame(msgspec.json.encode(commands).decode())

    async def send_frame(self, frame: str) -> None:
        """Send a frame that is encoded. Raises Disconnected."""
        with _disconnecting():
            await self._socket.send_message(frame)

    async def receive_frame(self) -> str | bytes:
        """The next frame. Raises Disconnected."""
        with _disconnecting():
            frame: str | bytes = await self._socket.get_message()
        return frame

    async def messages(self) -> AsyncIterator[ServerMessage]:
        """Every message that this version knows, in order. Raises Disconnected at the end."""
        while True:
            for message in decode_messages(await self.receive_frame()):
                yield message

    async def ping(self) -> None:
        """Ask for a sign of life and wait for it. Raises Disconnected."""
        with _disconnecting():
            await self._socket.ping()


@contextmanager
def _disconnecting() -> Iterator[None]:
    try:
        yield
    except trio_websocket.ConnectionClosed as closed:
        if closed.reason is None:
            raise Disconnected(ABNORMAL, "") from closed
        raise Disconnected(closed.reason.code, closed.reason.reason or "") from closed


@asynccontextmanager
async def open_connection(url: str) -> AsyncIterator[Connection]:
    """A connection to the gateway at `url` (http://… or https://…).

    Raises OSError or trio_websocket.HandshakeError; as with any nursery, what the block raises arrives in an
    ExceptionGroup. The stream is ours: trio_websocket leaves it open when the gateway closes first.
    """
    at = parse_address(url)
    async with _Stream(await _open_stream(at)) as stream, trio.open_nursery() as nursery:
        socket = await trio_websocket.wrap_client_stream(
            nursery,
            cast("trio.SocketStream", stream),
            at.netloc,
            "/v1/ws",
            subprotocols=[Codec.JSON.value],
            max_message_size=MAX_FRAME_BYTES,
        )
        stream.shaken = True
        try:
            yield Connection(socket, at)
        finally:
            with trio.move_on_after(CLOSE_S, shield=True):
                await socket.aclose()
        nursery.cancel_scope.cancel()


class _Stream(trio.abc.Stream):
    """Fails when the peer hangs up in the handshake; trio_websocket 0.12 would wait for its answer forever."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.shaken = False  # the handshake is done
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            if self.shaken:
                raise
            data = b""
        if not data and not self.shaken:
            raise ConnectionAbortedError("the gateway hung up in the handshake")
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _open_stream(at: Address) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    if at.tls:
        return await trio.open_ssl_over_tcp_stream(at.host, at.port)
    return await trio.open_tcp_stream(at.host, at.port)
