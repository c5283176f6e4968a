"""One WebSocket (RFC 6455): the `websockets` library parses and decides, this class reads and writes the bytes."""

import codecs
import contextlib
import math
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable

import msgspec
import trio
from starlette.datastructures import Headers
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import CLOSED, OPEN, SEND_EOF
from websockets.server import ServerProtocol

from gateway.net.frame import frame
from gateway.net.transport import Address, PeerGone, Transport

_Utf8 = codecs.getincrementaldecoder("utf-8")


class WebSocketLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of one WebSocket; `…_s` are seconds."""

    message_bytes: int = 1024 * 1024
    """A message of the client, in all its fragments and after decompression; more closes with 1009."""
    close_timeout_s: float = 5.0
    """How long the closing handshake may take before our side of the stream ends."""
    linger_s: float = 30.0
    """How much longer a peer that reads slowly may take to come to our close before the connection is reset."""
    deflate: bool = False
    """Whether permessage-deflate (RFC 7692) is offered."""


class UpgradeRequest(msgspec.Struct, frozen=True):
    """What a client that wants a WebSocket has said about itself; `query` is without its question mark."""

    path: str
    query: str
    headers: Headers
    peer: Address | None


class WebSocketClosed(Exception):
    """The connection has begun to close, or is gone: `code` is the one that came first on the wire, 1006 for none."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class WebSocket:
    """An open connection; one task reads it, any task of the same thread may write.

    - `last_heard`: when any byte arrived, `last_accepted`: when the peer last took one, or when the present backlog
      began (trio's clock). Heartbeats are the caller's.
    - `reading_since`: when the present wait for bytes began, inf while nobody reads: then silence is not the peer's.
    - `on_writable`: called when `try_write` takes frames again after it has refused one.
    - `deflate`: whether the peer reads frames built with `deflate=True`.
    """

    __slots__ = (
        "_closing", "_draining", "_eof_owed", "_fragments", "_inbox", "_nursery", "_opcode", "_open", "_owed",
        "_protocol", "_read_scope", "_tail", "_transport", "_utf8", "deflate", "last_accepted", "last_heard",
        "on_writable", "reading_since", "request", "subprotocol",
    )  # fmt: skip

    def __init__(
        self, transport: Transport, request: UpgradeRequest, protocol: ServerProtocol, nursery: trio.Nursery
    ) -> None:
        self.request = request
        self.subprotocol: str | None = protocol.subprotocol
        self.deflate = any(
            isinstance(extension, PerMessageDeflate) and extension.local_max_window_bits == zlib.MAX_WBITS
            for extension in protocol.extensions
        )
        self.last_heard = self.last_accepted = trio.current_time()
        self.reading_since = math.inf
        self.on_writable: Callable[[], None] = _nobody_waits
        self._transport = transport
        self._protocol = protocol
        self._open = True  # as the protocol has it
        self._nursery = nursery
        self._inbox: deque[str | bytes] = deque()
        self._opcode = Opcode.CONT  # of the message whose fragments are coming in
        self._fragments = bytearray()
        self._utf8 = _Utf8()  # follows a text in fragments
        self._closing = False  # this side wants no more messages
        self._read_scope = trio.CancelScope()
        self._tail: bytes | memoryview = b""  # the rest of the frame that is being written
        self._owed: dict[int, bytes] = {}  # control frames to follow it, at most one of each kind
        self._eof_owed = False
        self._draining = False

    @property
    def peer(self) -> Address | None:
        """The client's (host, port)."""
        return self.request.peer

    @property
    def backlog(self) -> int:
        """Bytes taken for writing that the transport has not taken yet."""
        backlog = len(self._tail)
        return backlog + sum(map(len, self._owed.values())) if self._owed else backlog

    @property
    def closed(self) -> WebSocketClosed | None:
        """Why nothing more is received and `try_write` takes no more frames; None while the connection is open."""
        return None if self._protocol.state is OPEN else self._closed()

    def check_open(self) -> None:
        """Raise WebSocketClosed when not open."""
        if self._protocol.state is not OPEN:
            raise self._closed()  # held by no variable, which its traceback would make a cycle

    def _closed(self) -> WebSocketClosed:
        protocol = self._protocol
        sent_first = protocol.close_sent is not None and not protocol.close_rcvd_then_sent
        first = protocol.close_sent if sent_first else protocol.close_rcvd
        if first is None:
            return WebSocketClosed(CloseCode.ABNORMAL_CLOSURE, "")
        return WebSocketClosed(first.code, first.reason)

    async def receive(self) -> str | bytes:
        """The next message; pings are answered meanwhile. Raises WebSocketClosed, also as soon as this side closes.

        Messages that came in one read are returned without a checkpoint between them.
        """
        while not self._inbox:
            self.check_open()
            await self._read()
        return self._inbox.popleft()

    def try_write(self, data: bytes) -> bool:
        """Write one whole frame without waiting; False, and nothing taken, behind a backlog or when not open.

        A frame that goes out only in part is finished by this connection's own writer. Never raises: a connection
        found dead is aborted, and its reader learns of it.
        """
        if self._tail or self._owed or not self._open:
            return False
        self._tail = data
        self._pump()
        return True

    def ping(self) -> None:
        """Ask for a sign of life; behind a backlog at most one ping waits."""
        if self._protocol.state is OPEN:
            self._owe(frame(Opcode.PING, b""))
            self._pump()

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake; leaving `open_websocket` completes it. Does nothing when not open.

        Messages that have not been received yet are dropped, and a waiting `receive` raises.
        """
        if self._protocol.state is OPEN:
            self._closing = True
            self._inbox.clear()
            self._protocol.send_close(code, reason)
            self._answer()
            self._read_scope.cancel()

    def abort(self) -> None:
        """Reset the connection at once."""
        self._transport.abort()
        self._lost()

    def begin(self, response: bytes, trailing: bytes) -> None:
        """Send the handshake's `response`, then take up `trailing`, the bytes that came behind the request."""
        self._tail = response
        self._pump()
        if trailing and self._protocol.state is OPEN:
            self._feed(trailing)

    async def finish(self) -> None:
        """Complete the closing handshake, however long the peer takes for its part."""
        self._closing = True
        while self._protocol.state is not CLOSED:
            await self._read()
        self._transport.release()

    def send_eof(self) -> None:
        """End this side of the stream, behind all that is still to be written."""
        self._eof_owed = True
        self._pump()

    async def _read(self) -> None:
        """One read from the transport, through the protocol."""
        self.reading_since = trio.current_time()
        with trio.CancelScope() as self._read_scope:
            try:
                data = await self._transport.receive()
            except PeerGone:
                self._lost()
                return
            finally:
                self.reading_since = math.inf
            self.last_heard = trio.current_time()
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        self._hear(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and not self._closing:
                self._collect(event)
        self._answer()

    def _hear(self, data: bytes) -> None:
        """Have the protocol parse what has come; empty is the end of the stream."""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._protocol.parser_exc = None  # its traceback holds what was parsed, in a cycle that is collected late

    def _collect(self, part: Frame) -> None:
        """Put messages together; their total size is the protocol's to check."""
        match part.opcode:
            case Opcode.TEXT | Opcode.BINARY:
                self._opcode = part.opcode
            case Opcode.CONT:
                pass
            case _:
                return
        self._fragments += part.data
        try:
            if part.fin:
                message, self._fragments = self._fragments, bytearray()
                self._inbox.append(message.decode() if self._opcode is Opcode.TEXT else bytes(message))
                self._utf8.reset()
            elif self._opcode is Opcode.TEXT:
                self._utf8.decode(part.data)  # bad text is refused with its fragment, whenever the rest may come
        except UnicodeDecodeError:
            self._closing = True
            self._protocol.fail(CloseCode.INVALID_DATA, "text is not UTF-8")

    def _answer(self) -> None:
        """Write what the protocol has to say; its one empty write stands for the end of the stream."""
        self._open = self._protocol.state is OPEN
        writes = self._protocol.data_to_send()
        self._eof_owed = self._eof_owed or SEND_EOF in writes
        if self._tail or self._owed:
            for control in filter(None, writes):
                self._owe(control)
        else:
            self._tail = b"".join(writes)
        self._pump()

    def _owe(self, control: bytes) -> None:
        """Queue a control frame; one of its kind that is still waiting gives way (RFC 6455, section 5.5.3)."""
        self._owed[control[0]] = control  # the first byte is the opcode and FIN

    def _pump(self) -> None:
        """The one place that writes: as much as the transport takes now, the rest by a task."""
        try:
            while self._tail or self._owed:
                if not self._tail:
                    self._tail = self._owed.pop(next(iter(self._owed)))
                sent = self._transport.try_send(self._tail)
                if not sent:
                    if not self._draining:
                        self._draining = True
                        self.last_accepted = trio.current_time()
                        self._nursery.start_soon(self._drain)
                    return
                self._tail = memoryview(self._tail)[sent:] if sent < len(self._tail) else b""
                self.last_accepted = trio.current_time()
            if self._eof_owed:
                self._eof_owed = False
                self._transport.send_eof()
        except PeerGone:
            self.abort()

    async def _drain(self) -> None:
        """Write the backlog. Shielded: it ends with the backlog or with the transport, whose end is bounded."""
        with trio.CancelScope(shield=True):
            try:
                while self._tail or self._owed:
                    await self._transport.wait_writable()
                    self._pump()
            except PeerGone:
                self.abort()
        self._draining = False
        if self._protocol.state is OPEN:
            self.on_writable()

    def _lost(self) -> None:
        """The transport is gone."""
        self._tail = b""
        self._owed.clear()
        self._eof_owed = False
        self._open = False
        self._hear(b"")
        self._protocol.data_to_send()


@contextlib.asynccontextmanager
async def open_websocket(
    transport: Transport,
    request: UpgradeRequest,
    protocol: ServerProtocol,
    *,
    response: bytes,
    trailing: bytes,
    limits: WebSocketLimits,
) -> AsyncIterator[WebSocket]:
    """A WebSocket over `transport`, whose handshake `protocol` has accepted with `response`.

    When the block ends the connection is closed (1000; 1001 when cancelled, 1011 when it failed) within
    `limits.close_timeout_s`. Who reads slowly, and has yet to come to our close, is then listened to for another
    `limits.linger_s`, unless cancelled: a pong that met a closed socket would be answered by a reset, which destroys
    the close on its way. As with any nursery, what the block raises arrives in an ExceptionGroup.
    """
    async with trio.open_nursery() as nursery:
        websocket = WebSocket(transport, request, protocol, nursery)
        websocket.begin(response, trailing)
        try:
            yield websocket
            websocket.close(CloseCode.NORMAL_CLOSURE)
        except BaseException:
            cancelled = trio.current_effective_deadline() == -math.inf
            websocket.close(CloseCode.GOING_AWAY if cancelled else CloseCode.INTERNAL_ERROR)
            raise
        finally:
            try:
                with trio.move_on_after(limits.close_timeout_s, shield=True) as patience:
                    await websocket.finish()
                if patience.cancelled_caught:
                    websocket.send_eof()
                    with trio.move_on_after(limits.linger_s):
                        await websocket.finish()  # noqa: ASYNC102  # not shielded: who is cancelled lingers no more
            finally:
                if not websocket.backlog:
                    transport.release()  # what the system has taken may still arrive
                websocket.abort()
                protocol.parser.close()  # a generator that holds its protocol


def _nobody_waits() -> None:
    """What `on_writable` does until somebody asks to be told."""
