"""A message on its way to clients: encoded once per codec, however many watchers it has."""

import enum
import weakref
from typing import Final

from protocol.codec import Codec, encode_message, join_elements
from protocol.events import Event, Preview, Progress, Text, Thinking

JOINED_CHARS: Final = 4096  # bounds the cost of joining delta after delta


class Kind(enum.Enum):
    """The delivery promise of a message (the wire contract's table of kinds)."""

    ANSWER = "answer"
    NOTICE = "notice"
    RELIABLE = "reliable"
    TEXT = "text"
    THINKING = "thinking"
    PROGRESS = "progress"
    PREVIEW = "preview"


_KINDS: dict[type[Event], Kind] = {
    Text: Kind.TEXT,
    Thinking: Kind.THINKING,
    Progress: Kind.PROGRESS,
    Preview: Kind.PREVIEW,
}


class Envelope:
    """One message, or a few that must share a frame (100 % and `end`)."""

    __slots__ = ("__weakref__", "_elements", "_joined", "kind", "messages", "session")

    def __init__(self, kind: Kind, *messages: Event, session: str | None = None) -> None:
        self.kind = kind
        self.messages = messages
        self.session = session
        self._elements: dict[Codec, bytes] = {}
        self._joined: tuple[weakref.ref[Envelope], weakref.ref[Envelope]] | None = None

    @classmethod
    def of_session(cls, session: str, *events: Event) -> "Envelope":
        """Wrap events of one session; the last decides the kind."""
        return cls(_KINDS.get(type(events[-1]), Kind.RELIABLE), *events, session=session)

    def element(self, codec: Codec) -> bytes:
        """The message encoded as an array element (several are joined so that they count as `len(messages)`)."""
        element = self._elements.get(codec)
        if element is None:
            separator = b"," if codec is Codec.JSON else b""
            element = separator.join(encode_message(message, codec) for message in self.messages)
            self._elements[codec] = element
        return element

    def joined(self, other: "Envelope") -> "Envelope | None":
        """This text and the one that follows it as a single delta; None if they differ in path or get too long.

        Whoever joins the same two gets the same envelope while anyone holds it, so it too is encoded only once.
        """
        if self._joined is not None and self._joined[0]() is other and (known := self._joined[1]()) is not None:
            return known
        message = _join(self.messages[-1], other.messages[0])
        if message is None:
            return None
        joined = Envelope(self.kind, message, session=self.session)
        self._joined = weakref.ref(other), weakref.ref(joined)
        return joined


def _join(first: Event, second: Event) -> Event | None:
    match first, second:
        case (Text(), Text()) if first.path == second.path and _short(first.delta, second.delta):
            return Text(session=first.session, offset=first.offset, path=first.path, delta=first.delta + second.delta)
        case (Thinking(), Thinking()) if _short(first.delta, second.delta):
            return Thinking(session=first.session, delta=first.delta + second.delta)
        case _:
            return None


def _short(first: str, second: str) -> bool:
    return len(first) + len(second) <= JOINED_CHARS


def frame_payload(envelopes: list[Envelope], codec: Codec) -> bytes:
    """The payload of one server frame holding these envelopes in order."""
    count = sum(len(envelope.messages) for envelope in envelopes)
    return join_elements([envelope.element(codec) for envelope in envelopes], count, codec)
