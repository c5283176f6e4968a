"""JSON lines from bytes, without I/O: only LF ends a line, and a line that the stream's end cuts off is never given."""

from typing import Final

from actors.llm.decoding import Overflow

MAX_LINE_BYTES: Final = 1 << 20


class LineParser:
    """Fed with bytes split anywhere, gives back complete lines that are not blank."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._partial = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that `piece` completes, without their ends. Raises Overflow."""
        *ended, rest = piece.split(b"\n")
        lines: list[bytes] = []
        for end in ended:
            self._hold(end)
            lines.append(bytes(self._partial).strip())
            self._partial.clear()
        self._hold(rest)
        return [line for line in lines if line]

    def _hold(self, piece: bytes) -> None:
        self._partial += piece
        if len(self._partial) > self._max:
            raise Overflow(f"a line is larger than {self._max} bytes")
