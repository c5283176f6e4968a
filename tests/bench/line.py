"""One client that understands what it is told: commands out, messages in, over one blocking WebSocket."""

import time
from collections.abc import Iterator
from typing import Final

import msgspec

from protocol.commands import Command, HatchRequest, Hello, Start
from protocol.events import Accepted, Error, ServerMessage
from tests.bench.crowd import BATCH, READ_BYTES, connect, frame
from tests.helpers.gateways import PERSONA

PATIENCE_S: Final = 120.0
_MESSAGES: Final = msgspec.json.Decoder(list[ServerMessage])
DRAWN: Final = HatchRequest(prompt="a paper owl", persona=PERSONA)  # its persona is written already
WRITTEN: Final = HatchRequest(prompt="a shy dragon")


class Line:
    """A connection that has said `hello`."""

    def __init__(self, port: int) -> None:
        self._socket = connect(port)
        self._bytes = bytearray()
        self._last_id = 0
        self.send(Hello(id=0))

    def send(self, *commands: Command) -> None:
        """Send commands, many to a frame."""
        for start in range(0, len(commands), BATCH):
            self._socket.sendall(frame(msgspec.json.encode(commands[start : start + BATCH])))

    def hear(self, until: float) -> Iterator[ServerMessage]:
        """Whatever comes before `until`, a time of time.monotonic(). Raises ConnectionError."""
        while (left_s := until - time.monotonic()) > 0:
            for payload in self._frames():
                for message in _MESSAGES.decode(payload):
                    if isinstance(message, Error):
                        raise ConnectionError(f"{message.code}: {message.message}")
                    yield message
            self._socket.settimeout(left_s)
            try:
                data = self._socket.recv(READ_BYTES)
            except TimeoutError:
                return
            if not data:
                raise ConnectionError("the server has hung up")
            self._bytes += data

    def hear_out(self) -> Iterator[ServerMessage]:
        """Whatever comes; break when it is enough. Raises TimeoutError when it never is."""
        yield from self.hear(time.monotonic() + PATIENCE_S)
        raise TimeoutError(f"not within {PATIENCE_S:g} s")

    def start(self, hatch: HatchRequest, count: int) -> list[str]:
        """Start so many hatches; returns their sessions when all are accepted. What else is said goes unheard."""
        ids = range(self._last_id + 1, self._last_id + 1 + count)
        self._last_id += count
        self.send(*(Start(id=id_, hatch=hatch) for id_ in ids))
        sessions: list[str] = []
        for message in self.hear_out():
            if isinstance(message, Accepted):
                sessions.append(message.session)
                if len(sessions) == count:
                    break
        return sessions

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _frames(self) -> Iterator[bytes]:
        """The payloads of whole, unmasked text frames (RFC 6455, section 5.2)."""
        while len(self._bytes) >= 2:
            size, head = self._bytes[1], 2
            if size > 125:
                head = 4 if size == 126 else 10
                size = int.from_bytes(self._bytes[2:head], "big")
            if len(self._bytes) < head + size or (head > 2 and len(self._bytes) < head):
                return
            payload = bytes(self._bytes[head : head + size])
            opcode = self._bytes[0] & 0x0F
            del self._bytes[: head + size]
            if opcode == 1:
                yield payload
