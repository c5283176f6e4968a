"""Server-Sent Events from bytes, without I/O: a stream of text may be split anywhere and only CR and LF end its lines.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from typing import Final

import msgspec

from actors.llm.decoding import Overflow

MAX_EVENT_BYTES: Final = 1 << 20
_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = "\ufeff"


class SseEvent(msgspec.Struct, frozen=True):
    """One event: its data lines joined by a line feed, and its type ("message" unless the server named one)."""

    data: str
    type: str = "message"


class SseComment(msgspec.Struct, frozen=True):
    """One comment line, which servers use as a keepalive and some to say how far they are."""

    text: str


class SseParser:
    """Fed with bytes, gives back what is complete; an event that the stream's end cuts off is never given back."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._partial = bytearray()
        self._after_cr = False
        self._first_line = True
        self._data: list[str] = []
        self._data_bytes = 0
        self._type = ""

    def feed(self, chunk: bytes) -> list[SseEvent | SseComment]:
        """The events and comments that `chunk` completes, in order. Raises Overflow."""
        if not chunk:
            return []
        if self._after_cr:  # the LF of a CRLF that was split
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        *ended, rest = _LINE_END.split(chunk)
        self._after_cr = chunk.endswith(b"\r")
        found: list[SseEvent | SseComment] = []
        for piece in ended:
            self._hold(piece)
            line = self._partial.decode(errors="replace")
            self._partial.clear()
            found += self._line(line)
        self._hold(rest)
        return found

    def _hold(self, piece: bytes) -> None:
        self._partial += piece
        if len(self._partial) + self._data_bytes > self._max:
            raise Overflow(f"an event is larger than {self._max} bytes")

    def _line(self, line: str) -> list[SseEvent | SseComment]:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "":
                return [SseComment(value)]
            case "data":
                self._data.append(value)
                self._data_bytes += len(line) + 1
            case "event":
                self._type = value
        return []

    def _dispatch(self) -> list[SseEvent | SseComment]:
        data, event_type = self._data, self._type
        self._data, self._data_bytes, self._type = [], 0, ""
        return [SseEvent("\n".join(data), event_type or "message")] if data else []
