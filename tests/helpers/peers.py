"""A client of a whole gateway that writes its frames by hand, so that it can say what no library would."""

import socket
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from protocol.codec import Codec
from tests.helpers.frames import Op, ServerFrame, client_frame, split_frames

RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, zero seconds
HELLO: Final = {"type": "hello", "id": "hello"}
EMPTY_BLOCK: Final = b"\x00\x00\xff\xff"  # what RFC 7692, 7.2.1, leaves out


class HungUp(Exception):
    """The gateway has ended the connection: with a close code, or None."""

    def __init__(self, code: int | None) -> None:
        super().__init__(str(code))
        self.code = code


class Peer:
    """A connection that has shaken hands; one task reads it."""

    def __init__(self, stream: trio.SocketStream, head: bytes, rest: bytes, codec: Codec) -> None:
        self.stream = stream
        self.head = head
        self.codec = codec
        self._data = rest
        self._frames: list[ServerFrame] = []

    def encoded(self, value: Any, **options: Any) -> bytes:
        """A frame that holds this value; `options` are those of `client_frame`."""
        if self.codec is Codec.JSON:
            return client_frame(Op.TEXT, msgspec.json.encode(value), **options)
        return client_frame(Op.BINARY, msgspec.msgpack.encode(value), **options)

    async def send(self, *values: Any) -> None:
        """Each value in a frame of its own."""
        await self.stream.send_all(b"".join(self.encoded(value) for value in values))

    async def frame(self) -> ServerFrame:
        """The next frame of any kind. Raises HungUp."""
        while not self._frames:
            try:
                chunk = await self.stream.receive_some()
            except trio.BrokenResourceError:
                raise HungUp(None) from None
            if not chunk:
                raise HungUp(None)
            self._frames, self._data = split_frames(self._data + chunk)
        return self._frames.pop(0)

    async def messages(self) -> list[dict[str, Any]]:
        """What the next data frame holds. Raises HungUp."""
        while (frame := await self.frame()).opcode not in (Op.TEXT, Op.BINARY):
            if frame.opcode == Op.CLOSE:
                raise HungUp(int.from_bytes(frame.payload[:2], "big"))
        return self.decoded(frame)

    def decoded(self, frame: ServerFrame) -> list[dict[str, Any]]:
        """The messages of a data frame, which may be compressed."""
        payload = frame.payload
        if frame.rsv:
            payload = zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(payload + EMPTY_BLOCK)
        decode = msgspec.json.decode if self.codec is Codec.JSON else msgspec.msgpack.decode
        messages: list[dict[str, Any]] = decode(payload)
        return messages

    async def answer(self, id_: str | int) -> dict[str, Any]:
        """The answer that echoes this id; what came before it is skipped. Raises HungUp."""
        while True:
            for message in await self.messages():
                if message.get("id") == id_:
                    return message

    async def close_code(self) -> int | None:
        """The code with which the gateway closes, after whatever else it says."""
        try:
            while True:
                await self.messages()
        except HungUp as end:
            return end.code

    def reset(self) -> None:
        """Hang up without a word: the gateway gets a RST."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.stream.socket.close()


@asynccontextmanager
async def open_peer(
    url: str, codec: Codec = Codec.JSON, *, extensions: str | None = None, greet: bool = True
) -> AsyncIterator[Peer]:
    """A connection to the gateway at `url`; with `greet` it has been welcomed."""
    host, port = url.removeprefix("http://").rsplit(":", 1)
    lines = [
        "GET /v1/ws HTTP/1.1",
        f"Host: {host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Sec-WebSocket-Protocol: {codec.value}",
        *([f"Sec-WebSocket-Extensions: {extensions}"] if extensions else []),
    ]
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        head, _, rest = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        peer = Peer(stream, head, rest, codec)
        if greet:
            await peer.send(HELLO)
            assert (await peer.answer("hello"))["type"] == "welcome"
        yield peer


def memory_kb(pid: int, name: str = "VmRSS") -> int:
    """A line of a process's memory (Linux): `VmRSS` is what it holds now, `VmHWM` the most that it ever held; KiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
