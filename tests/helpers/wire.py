"""A client written from the wire contract alone: plain objects over either of two WebSocket libraries, both codecs."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import msgspec
import trio
import trio_websocket
import websockets.exceptions
import websockets.frames
from websockets.trio.client import connect
from websockets.typing import Subprotocol

from protocol.codec import Codec
from protocol.events import ServerMessage

Message = dict[str, Any]
ANSWERS: Final = frozenset({"welcome", "accepted", "ok", "sessions", "error", "pong"})
MAX_FRAME_BYTES: Final = 1 << 26


class Closed(Exception):
    """The gateway has closed the connection, with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


class Socket(Protocol):
    """What both libraries can do."""

    async def send(self, data: str | bytes) -> None:
        """Send one message. Raises Closed."""
        ...

    async def receive(self) -> str | bytes:
        """The next message. Raises Closed."""
        ...


class _TrioWebSocket:
    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self._connection = connection

    async def send(self, data: str | bytes) -> None:
        try:
            await self._connection.send_message(data)
        except trio_websocket.ConnectionClosed as error:
            raise Closed(_code(error.reason)) from error

    async def receive(self) -> str | bytes:
        try:
            message: str | bytes = await self._connection.get_message()
        except trio_websocket.ConnectionClosed as error:
            raise Closed(_code(error.reason)) from error
        return message


class _Websockets:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def send(self, data: str | bytes) -> None:
        try:
            await self._connection.send(data)
        except websockets.exceptions.ConnectionClosed as error:
            raise Closed(_code(error.rcvd)) from error

    async def receive(self) -> str | bytes:
        try:
            message: str | bytes = await self._connection.recv()
        except websockets.exceptions.ConnectionClosed as error:
            raise Closed(_code(error.rcvd)) from error
        return message


def _code(reason: Any) -> int:
    return 1006 if reason is None else int(reason.code)


@asynccontextmanager
async def _trio_websocket_socket(address: str, subprotocols: list[str]) -> AsyncIterator[Socket]:
    async with trio_websocket.open_websocket_url(
        address, subprotocols=subprotocols, max_message_size=MAX_FRAME_BYTES
    ) as connection:
        yield _TrioWebSocket(connection)


@asynccontextmanager
async def _websockets_socket(address: str, subprotocols: list[str]) -> AsyncIterator[Socket]:
    offered = [Subprotocol(name) for name in subprotocols] or None
    async with connect(
        address, subprotocols=offered, compression=None, max_size=MAX_FRAME_BYTES, proxy=None, ping_interval=None
    ) as connection:
        yield _Websockets(connection)


LIBRARIES: Final = {"trio-websocket": _trio_websocket_socket, "websockets": _websockets_socket}
WAYS: Final = [(library, codec) for library in LIBRARIES for codec in Codec]


class Wire:
    """Keeps every message as it was said; asserts that every frame is an array, and every answer given only once."""

    def __init__(self, socket: Socket, codec: Codec) -> None:
        self.codec = codec
        self.heard: list[Message] = []
        self.frames: list[list[Message]] = []
        self.close_code: int | None = None
        self._socket = socket
        self._answered: set[tuple[type, str | int]] = set()
        self._more = trio.Event()
        self._last_id = 0

    async def listen(self) -> None:
        """Read until the gateway closes the connection."""
        try:
            while True:
                self._take(await self._socket.receive())
        except Closed as closed:
            self.close_code = closed.code
            self._wake()

    def _take(self, data: str | bytes) -> None:
        assert isinstance(data, str) is (self.codec is Codec.JSON)
        frame = msgspec.json.decode(data) if isinstance(data, str) else msgspec.msgpack.decode(data)
        assert isinstance(frame, list)
        assert frame
        for message in frame:
            if "id" in message:
                key = type(message["id"]), message["id"]
                assert key not in self._answered, f"{message} is a second answer"
                self._answered.add(key)
        self.frames.append(frame)
        self.heard += frame
        self._wake()

    def _wake(self) -> None:
        self._more.set()
        self._more = trio.Event()

    async def send(self, *messages: Any) -> None:
        """Send one message as it is, or several as an array. Raises Closed."""
        value = messages[0] if len(messages) == 1 else list(messages)
        data = msgspec.json.encode(value).decode() if self.codec is Codec.JSON else msgspec.msgpack.encode(value)
        await self.send_raw(data)

    async def send_raw(self, data: str | bytes) -> None:
        """Send one frame: text or binary. Raises Closed."""
        await self._socket.send(data)

    async def until(self, matches: Callable[[Message], bool]) -> Message:
        """The first message, said already or yet to come, that matches. Raises Closed when none can come any more."""
        seen = 0
        while True:
            more = self._more
            for message in self.heard[seen:]:
                if matches(message):
                    return message
            seen = len(self.heard)
            if self.close_code is not None:
                raise Closed(self.close_code)
            await more.wait()

    async def closed(self) -> int:
        """The code with which the gateway closes the connection."""
        while self.close_code is None:
            await self._more.wait()
        return self.close_code

    async def ask(self, type_: str, **fields: Any) -> Message:
        """Send a command with an id of its own and return what answers it."""
        if "id" not in fields:
            self._last_id += 1
            fields["id"] = f"ask-{self._last_id}"
        await self.send({"type": type_, **fields})
        return await self.answer(fields["id"])

    async def answer(self, id_: str | int) -> Message:
        """The answer that echoes this id."""
        return await self.until(lambda message: "id" in message and message["id"] == id_)

    async def start(self, prompt: str = "a fox", **fields: Any) -> str:
        """Start a hatch and return its session."""
        accepted = await self.ask("start", hatch={"prompt": prompt}, **fields)
        assert accepted["type"] == "accepted", accepted
        session: str = accepted["session"]
        return session

    async def end(self, session: str) -> Message:
        """How a session ended, told by itself or in a snapshot."""
        said = await self.until(lambda message: message.get("session") == session and _ending(message) is not None)
        end = _ending(said)
        assert end is not None
        return end

    def of(self, session: str, *types: str) -> list[Message]:
        """What has been said of a session, of these types or of all but answers."""
        return [
            message
            for message in self.heard
            if message.get("session") == session
            and (message["type"] in types if types else message["type"] not in ANSWERS)
        ]

    def typed(self) -> list[ServerMessage]:
        """All that has been heard, as the gateway's own types."""
        return [msgspec.convert(_decoded(message), ServerMessage) for message in self.heard]


def _ending(message: Message) -> Message | None:
    if message["type"] == "end":
        return message
    end: Message | None = message.get("end") if message["type"] == "snapshot" else None
    return end


def _decoded(message: Message) -> Message:
    if message["type"] == "preview" and isinstance(message["data"], str):
        return message | {"data": base64.b64decode(message["data"])}
    return message


@asynccontextmanager
async def open_wire(
    url: str,
    codec: Codec = Codec.JSON,
    *,
    library: str = "websockets",
    hello: Message | None = None,
    greet: bool = True,
    subprotocols: list[str] | None = None,
) -> AsyncIterator[Wire]:
    """A connection that is being read; with `greet` it has been welcomed."""
    address = url.replace("http", "ws", 1) + "/v1/ws"
    offered = [codec.value] if subprotocols is None else subprotocols
    async with LIBRARIES[library](address, offered) as socket, trio.open_nursery() as nursery:
        wire = Wire(socket, codec)
        nursery.start_soon(wire.listen)
        if greet:
            await wire.ask("hello", **(hello or {}))
        yield wire
        nursery.cancel_scope.cancel()
