"""Many WebSocket clients in one thread, for benchmarks: they watch, and count what comes, without parsing all of it."""

import json
import re
import select
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Final

from tests.bench.shape import WORD, Shape

_Command = dict[str, object]

BATCH: Final = 500  # commands in one frame
READ_BYTES: Final = 256 * 1024
MADE_AT: Final = re.compile(rb'"message":"at (\d+\.\d+)"')
_EVENT: Final = b'"type":"progress"'
_WORD: Final = WORD.encode()
_SNAPSHOT: Final = b'"type":"snapshot"'
_OVERLAP: Final = 32  # bytes of one read that may belong to a word begun in it


class Count:
    """What has come; ages are seconds from an event's making to its reading, of the oldest event of each read."""

    def __init__(self) -> None:
        self.snapshots = 0
        self.events = 0
        self.words = 0
        self.reads = 0
        self.bytes = 0
        self.ages: list[float] = []

    @property
    def delivered(self) -> int:
        """Events, and deltas, however many of them came joined in one message."""
        return self.events + self.words

    def add(self, data: bytes, seam: bytes) -> None:
        """Bytes of one connection, and the end of those before them."""
        both = seam + data
        self.reads += 1
        self.bytes += len(data)
        self.snapshots += both.count(_SNAPSHOT) - seam.count(_SNAPSHOT)
        self.events += both.count(_EVENT) - seam.count(_EVENT)
        self.words += both.count(_WORD) - seam.count(_WORD)
        if (made := MADE_AT.search(data)) is not None:
            self.ages.append(time.monotonic() - float(made.group(1)))


class Crowd:
    """The connections of one run."""

    def __init__(self, port: int, shape: Shape, *, socketio: bool) -> None:
        self.count = Count()
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._seams: dict[int, bytes] = {}
        self._buffer = memoryview(bytearray(READ_BYTES))
        for number in range(shape.connections):
            sock = connect(port, socketio=socketio)
            for commands in _batches(_commands(shape.watched(number))):
                sock.sendall(frame(_payload(commands, socketio=socketio)))
            sock.setblocking(False)
            self._sockets[sock.fileno()] = sock
            self._seams[sock.fileno()] = b""
            self._poll.register(sock, select.EPOLLIN)
            self.read(0)

    def read(self, timeout_s: float) -> bool:
        """Read whatever has come, waiting for the first at most so long; whether anything came."""
        readable = self._poll.poll(timeout_s)
        for fd, _ in readable:
            size = self._sockets[fd].recv_into(self._buffer)
            if not size:
                raise ConnectionError("the server has hung up")
            data = bytes(self._buffer[:size])
            self.count.add(data, self._seams[fd])
            self._seams[fd] = data[-_OVERLAP:]
        return bool(readable)

    def close(self) -> None:
        """Hang up."""
        self._poll.close()
        for sock in self._sockets.values():
            sock.close()


def connect(port: int, *, socketio: bool = False) -> socket.socket:
    """A WebSocket whose handshake is done."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    path = "/socket.io/?EIO=4&transport=websocket" if socketio else "/v1/ws"
    offer = "" if socketio else "Sec-WebSocket-Protocol: hatch.v1.json\r\n"
    sock.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n".encode()
    )
    _read_past(sock, b"maxPayload" if socketio else b"\r\n\r\n")  # Engine.IO's greeting may come in the same read
    if socketio:
        sock.sendall(frame(b"40"))
        _read_past(sock, b'40{"sid"')
    return sock


def _read_past(sock: socket.socket, mark: bytes) -> None:
    seen = b""
    while mark not in seen:
        more = sock.recv(4096)
        if not more:
            raise ConnectionError(f"hung up after {seen!r}")
        seen += more


def _commands(sessions: list[str]) -> list[_Command]:
    watches: list[_Command] = [{"type": "watch", "id": n, "session": name} for n, name in enumerate(sessions, start=1)]
    return [{"type": "hello", "id": 0}, *watches]


def _batches(commands: list[_Command]) -> Iterator[list[_Command]]:
    for start in range(0, len(commands), BATCH):
        yield commands[start : start + BATCH]


def _payload(commands: Sequence[_Command], *, socketio: bool) -> bytes:
    return f"42{json.dumps(['commands', commands])}".encode() if socketio else json.dumps(commands).encode()


def frame(payload: bytes) -> bytes:
    """A masked text frame (RFC 6455, section 5.2), with the mask that changes nothing."""
    size = len(payload)
    if size < 126:
        head = bytes((0x81, 0x80 | size))
    elif size < 2**16:
        head = bytes((0x81, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x81, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + bytes(4) + payload
