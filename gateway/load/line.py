"""One WebSocket of the swarm, on another implementation than the gateway's: commands out, whole frames in."""

import contextlib
import socket as sockets
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import msgspec
import trio
import trio_websocket
from wsproto.utilities import LocalProtocolError

from protocol.codec import Codec
from protocol.commands import Command
from protocol.events import Event, ServerMessage

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
QUEUED_FRAMES: Final = 8  # that have been read and not yet looked at
RECEIVE_BYTES: Final = 65_536
CONNECT_S: Final = 15.0
CLOSE_S: Final = 2.0
SEND_S: Final = 10.0
SLOW_BUFFER: Final = 4096  # bytes that the kernel may take for a slow reader
SLOW_SEGMENT: Final = 536  # bytes; the sender's buffer grows with it, and on loopback it would be 64 KiB

_Json = msgspec.json.Decoder
_Msgpack = msgspec.msgpack.Decoder
_FRAME: Final[dict[Codec, _Json[list[ServerMessage]] | _Msgpack[list[ServerMessage]]]] = {
    Codec.JSON: _Json(list[ServerMessage]),
    Codec.MSGPACK: _Msgpack(list[ServerMessage]),
}
_RAW: Final[dict[Codec, _Json[list[msgspec.Raw]] | _Msgpack[list[msgspec.Raw]]]] = {
    Codec.JSON: _Json(list[msgspec.Raw]),
    Codec.MSGPACK: _Msgpack(list[msgspec.Raw]),
}
_TYPES: Final = frozenset(str(subclass.__struct_config__.tag) for subclass in Event.__subclasses__())


class Unreadable(Exception):
    """A frame that is no array of messages, or a message that is not as its type says."""


class Refused(Exception):
    """No connection could be made; the message says why."""


class Address(msgspec.Struct, frozen=True):
    """Where a gateway is, and the bearer token for it ("" for none)."""

    url: str
    token: str = ""

    @property
    def tls(self) -> bool:
        """Whether it is spoken to over TLS."""
        return urlsplit(self.url).scheme in ("https", "wss")


class _Head(msgspec.Struct):
    type: str


def decode_frame(data: str | bytes, codec: Codec) -> list[ServerMessage]:
    """The messages of a frame, without those of types that this version does not know. Raises Unreadable."""
    if isinstance(data, str) is not (codec is Codec.JSON):
        raise Unreadable(f"a {'text' if isinstance(data, str) else 'binary'} frame in {codec.value}")
    payload = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    try:
        return _FRAME[codec].decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _known_only(payload, codec)


def _known_only(data: bytes, codec: Codec) -> list[ServerMessage]:
    try:
        parts = _RAW[codec].decode(data)
        heads = [_head(part, codec) for part in parts]
        known = [part for part, head in zip(parts, heads, strict=True) if head in _TYPES]
        return [message for part in known for message in _FRAME[codec].decode(_array(part, codec))]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def _head(part: msgspec.Raw, codec: Codec) -> str:
    decode = msgspec.json.decode if codec is Codec.JSON else msgspec.msgpack.decode
    return decode(part, type=_Head).type


def _array(part: msgspec.Raw, codec: Codec) -> bytes:
    return b"[" + bytes(part) + b"]" if codec is Codec.JSON else b"\x91" + bytes(part)


class Line:
    """An open connection; one task receives, anybody posts. Counts what has come: frames, and bytes of payload."""

    def __init__(
        self,
        websocket: trio_websocket.WebSocketConnection,
        stream: trio.abc.Stream,
        codec: Codec,
        nursery: trio.Nursery,
    ) -> None:
        self._websocket = websocket
        self._stream = stream
        self._codec = codec
        self._nursery = nursery
        self._posted: list[Command] = []
        self._sending = False
        self.frame_bytes = 0

    async def receive(self) -> list[ServerMessage]:
        """The next frame. Raises trio_websocket.ConnectionClosed or Unreadable."""
        data = await self._websocket.get_message()
        self.frame_bytes = len(data)
        return decode_frame(data, self._codec)

    def post(self, *commands: Command) -> None:
        """Send soon: what is posted before the sending begins goes in one frame."""
        self._posted += commands
        if self._posted and not self._sending:
            self._sending = True
            self._nursery.start_soon(self._send_posted)

    async def reset(self) -> None:
        """Leave without a word: the gateway sees a reset, not a closing handshake."""
        stream: trio.abc.Stream = self._stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        if isinstance(stream, trio.SocketStream):
            with contextlib.suppress(OSError):  # the gateway was faster
                stream.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(stream)

    @property
    def close_code(self) -> int:
        """What it was closed with, 1006 if without a word."""
        reason = self._websocket.closed
        return 1006 if reason is None else reason.code

    async def _send_posted(self) -> None:
        try:
            while self._posted:
                commands, self._posted = self._posted, []
                with trio.fail_after(SEND_S):
                    await self._websocket.send_message(self._encode(commands))
        except (trio_websocket.ConnectionClosed, trio.TooSlowError):
            await self.reset()  # whoever receives will notice
        finally:
            self._sending = False

    def _encode(self, commands: list[Command]) -> str | bytes:
        if self._codec is Codec.JSON:
            return msgspec.json.encode(commands).decode()
        return msgspec.msgpack.encode(commands)


@asynccontextmanager
async def open_line(address: Address, codec: Codec, *, slow: bool = False) -> AsyncIterator[Line]:
    """A connection to a gateway; `slow` lets the kernel take little on its behalf. Raises Refused."""
    refusal: Refused | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                with trio.fail_after(CONNECT_S):
                    stream = await _connect(address, slow)
                    websocket = await _shake_hands(nursery, stream, address, codec, 1 if slow else QUEUED_FRAMES)
            except (OSError, trio.TooSlowError, trio.BrokenResourceError, trio_websocket.HandshakeError) as error:
                refusal = Refused(_why(error))
            else:
                try:
                    yield Line(websocket, stream, codec, nursery)
                finally:
                    if trio.current_effective_deadline() > trio.current_time():  # else its reader is cancelled already
                        with trio.move_on_after(CLOSE_S):
                            await websocket.aclose()
                    await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()
    except* LocalProtocolError:  # the reader's, when a ping comes after we have said goodbye
        pass
    if refusal is not None:
        raise refusal


async def _connect(address: Address, slow: bool) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    at = urlsplit(address.url)
    host, port = at.hostname or "", at.port or (443 if address.tls else 80)
    tcp = await _connect_slowly(host, port) if slow else await trio.open_tcp_stream(host, port)
    if not address.tls:
        return tcp
    return trio.SSLStream(tcp, ssl.create_default_context(), server_hostname=at.hostname, https_compatible=True)


async def _connect_slowly(host: str, port: int) -> trio.SocketStream:
    """A connection whose other side soon feels that nobody reads; such buffers must be asked for before it is made."""
    (family, kind, protocol, _, at), *_ = await trio.socket.getaddrinfo(host, port, type=sockets.SOCK_STREAM)
    socket = trio.socket.socket(family, kind, protocol)
    try:
        socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, SLOW_BUFFER)
        socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_MAXSEG, SLOW_SEGMENT)
        await socket.connect(at)
    except BaseException:
        socket.close()
        raise
    return trio.SocketStream(socket)


async def _shake_hands(
    nursery: trio.Nursery,
    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream],
    address: Address,
    codec: Codec,
    queued_frames: int,
) -> trio_websocket.WebSocketConnection:
    headers = [(b"Authorization", f"Bearer {address.token}".encode())] if address.token else []
    try:
        return await trio_websocket.wrap_client_stream(
            nursery,
            stream,
            urlsplit(address.url).netloc,
            "/v1/ws",
            subprotocols=[codec.value],
            extra_headers=headers,
            message_queue_size=queued_frames,
            max_message_size=MAX_FRAME_BYTES,
            receive_buffer_size=RECEIVE_BYTES,
        )
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


def _why(error: Exception) -> str:
    match error:
        case trio_websocket.ConnectionRejected(status_code=status):
            return f"it answers HTTP {status} in place of a WebSocket"
        case trio.TooSlowError():
            return f"nothing came of it within {CONNECT_S:g} s"
        case trio_websocket.HandshakeError() | trio.BrokenResourceError():
            return "it does not speak WebSocket"
        case _:
            return getattr(error, "strerror", None) or str(error)
