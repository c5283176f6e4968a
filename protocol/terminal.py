"""Bytes of a terminal, in pieces of any size, become segments: what stood on a row before the cursor left it."""

import codecs
import re
from typing import Final, Literal

import msgspec

SEGMENT_LIMIT: Final = 2048
"""Bytes kept of one segment; what is written beyond them is dropped."""

_PARAMETERS_LIMIT: Final = 16  # bytes of a CSI sequence that are kept: a repeat count needs no more
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # all but the tab, which is text
_CSI_BODY: Final = re.compile(rb"[ -?]*+")
_INTERMEDIATES: Final = re.compile(rb"[ -/]*+")
_STRING_BODY: Final = re.compile(rb"[^\x00-\x1f]*+")
_VERTICAL: Final = {ord("A"): -1, ord("F"): -1, ord("B"): 1, ord("E"): 1}  # CUU, CPL, CUD, CNL


class Segment(msgspec.Struct, frozen=True):
    """Text without escape sequences, the row it stands on (0 is where reading began, downwards) and how it ended.

    `line`: finished by a line feed; `frame`: overwritten after a carriage return, or left by moving up or down; `tail`:
    not ended yet.
    """

    text: str
    row: int
    ended: Literal["line", "frame", "tail"]


class TerminalReader:
    """Splits a terminal's output into segments; it holds at most one of them, whatever it is fed.

    Escape sequences (ECMA-48: CSI, OSC and the other strings, short escapes) are stripped. A control character ends one
    that is incomplete, so a sequence that never ends costs its line at most.
    """

    def __init__(self) -> None:
        self._text = bytearray()
        self._row = 0
        self._returned = False  # a carriage return came; whether it ends a line or a frame shows in what follows
        self._escape: Literal["none", "started", "csi", "string"] = "none"
        self._parameters = b""

    @property
    def tail(self) -> Segment | None:
        """What was written since the last segment ended, without a character that is still incomplete."""
        return self._segment("tail") if self._text else None

    def feed(self, data: bytes) -> list[Segment]:
        """Take the bytes of one read and return the segments that they ended, oldest first."""
        ended: list[Segment] = []
        position = 0
        while position < len(data):
            match self._escape:
                case "none":
                    position = self._read_text(data, position, ended)
                case "started":
                    position = self._read_escape(data, position)
                case "csi":
                    position = self._read_csi(data, position, ended)
                case "string":
                    position = self._read_string(data, position)
        return ended

    def _read_text(self, data: bytes, position: int, ended: list[Segment]) -> int:
        control = _CONTROL.search(data, position)
        end = control.start() if control else len(data)
        if end > position:
            if self._returned:
                self._end("frame", ended)
            room = SEGMENT_LIMIT - len(self._text)
            self._text += data[position : min(end, position + room)]
        if control is None:
            return end
        match data[end]:
            case 0x0A:
                self._end("line", ended)
                self._row += 1
            case 0x0D:
                self._returned = True
            case 0x1B:
                self._escape = "started"
            case _:  # bells and the like show nothing
                pass
        return end + 1

    def _read_escape(self, data: bytes, position: int) -> int:
        start = position
        position = _end_of(_INTERMEDIATES, data, position)
        if position == len(data):
            return position
        self._escape = "none"
        if position == start and data[position] == ord("["):
            self._escape, self._parameters = "csi", b""
        elif position == start and data[position] in b"]PX^_":
            self._escape = "string"
        return position + 1 if 0x30 <= data[position] <= 0x7E else position

    def _read_csi(self, data: bytes, position: int, ended: list[Segment]) -> int:
        start = position
        position = _end_of(_CSI_BODY, data, position)
        room = _PARAMETERS_LIMIT - len(self._parameters)
        self._parameters += data[start : min(position, start + room)]
        if position == len(data):
            return position
        self._escape = "none"
        final = data[position]
        if not 0x40 <= final <= 0x7E:
            return position
        if final in _VERTICAL:
            self._end("frame", ended)
            count = int(self._parameters) if self._parameters.isdigit() else 1
            self._row += _VERTICAL[final] * max(1, count)
        return position + 1

    def _read_string(self, data: bytes, position: int) -> int:
        position = _end_of(_STRING_BODY, data, position)
        if position == len(data):
            return position
        self._escape = "none"  # ended by a bell, or by ESC \, which reads as an escape of its own
        return position

    def _end(self, how: Literal["line", "frame"], ended: list[Segment]) -> None:
        if self._text:
            ended.append(self._segment(how))
        self._text.clear()
        self._returned = False

    def _segment(self, how: Literal["line", "frame", "tail"]) -> Segment:
        may_be_cut = how == "tail" or len(self._text) == SEGMENT_LIMIT
        text, _ = codecs.utf_8_decode(self._text, "replace", not may_be_cut)
        return Segment(text, self._row, how)


def _end_of(pattern: re.Pattern[bytes], data: bytes, position: int) -> int:
    """Where the run that `pattern` (which also matches nothing) describes ends."""
    found = pattern.match(data, position)
    return found.end() if found else position
