"""Messages as Server-Sent Events, and the ids by which a reader that comes back says where it was."""

import re
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from protocol.commands import Cursor

_EVENT_ID: Final = re.compile(r"([0-9]{1,15})\.([0-9]{1,15})\.([0-9]{1,15})", re.ASCII)


class _Head(msgspec.Struct, frozen=True):
    """What moves a cursor in any message."""

    type: str
    epoch: int | None = None
    seq: int | None = None
    offset: int = 0
    delta: str = ""
    end: msgspec.Raw | UnsetType = UNSET


_MESSAGES: Final = msgspec.json.Decoder(list[msgspec.Raw])
_HEAD: Final = msgspec.json.Decoder(_Head)


class EventEncoder:
    """Makes events of WebSocket frames; `cursor` is where the client is, None before its first snapshot.

    An event's id is where the client is after it: reconnecting with it leaves no hole and repeats nothing.
    """

    def __init__(self, cursor: Cursor | None) -> None:
        self.cursor = cursor
        self.ended = False

    def events(self, frame: bytes) -> bytes:
        """The events of one frame."""
        return b"".join(map(self._event, _MESSAGES.decode(_payload(frame))))

    def _event(self, message: msgspec.Raw) -> bytes:
        self._move(_HEAD.decode(message))
        id_ = b"" if self.cursor is None else b"id: %s\n" % event_id(self.cursor).encode()
        return id_ + b"data: " + bytes(message) + b"\n\n"

    def _move(self, head: _Head) -> None:
        match head.type, self.cursor:
            case "snapshot", _:
                self.cursor = Cursor(epoch=head.epoch or 0, seq=head.seq or 0, offset=head.offset)
            case "text", Cursor(epoch=epoch, seq=seq):
                self.cursor = Cursor(epoch=epoch, seq=seq, offset=head.offset + len(head.delta))
            case _, Cursor(epoch=epoch, offset=offset) if head.seq is not None:
                self.cursor = Cursor(epoch=epoch, seq=head.seq, offset=offset)
        self.ended = self.ended or head.type in ("end", "error") or head.end is not UNSET


def event_id(cursor: Cursor) -> str:
    """The `id` of an event after which a client is at `cursor`."""
    return f"{cursor.epoch}.{cursor.seq}.{cursor.offset}"


def parse_event_id(text: str) -> Cursor | None:
    """The cursor that an event's id stands for; None for anything else, which a browser would never get rid of."""
    found = _EVENT_ID.fullmatch(text)
    if found is None:
        return None
    epoch, seq, offset = map(int, found.groups())
    return Cursor(epoch=epoch, seq=seq, offset=offset)


def _payload(frame: bytes) -> bytes:
    """What an unmasked, uncompressed WebSocket frame holds, by the length in its head (RFC 6455, section 5.2)."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]
