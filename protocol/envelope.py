"""A message on its way to clients: encoded once per codec, however many watchers it has."""

import enum
import weakref
from typing import Final

import msgspec

from protocol.codec import Codec, encode_message, json_array, msgpack_array
from protocol.events import Event, Preview, Progress, Text, Thinking

JOINED_CHARS: Final = 4096  # of one message that deltas are joined to, so that it fits into a frame with others


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
_RELIABLE: Final = Kind.RELIABLE  # an enum's members cost more to look up than a name of the module
_DELTAS: Final = (Kind.TEXT, Kind.THINKING)
_JSON: Final = Codec.JSON


class Envelope(msgspec.Struct, weakref=True, eq=False):
    """One message, or a few that must share a frame (100 % and `end`); a Struct, as one is made for every event."""

    kind: Kind
    messages: tuple[Event, ...]
    session: str = ""
    _json: bytes | None = None
    _msgpack: bytes | None = None
    _joined: "tuple[weakref.ref[Envelope], weakref.ref[Envelope]] | None" = None

    @classmethod
    def of_session(cls, session: str, *events: Event) -> "Envelope":
        """Wrap events of one session; the last decides the kind."""
        return cls(_KINDS.get(type(events[-1]), _RELIABLE), events, session)

    def element(self, codec: Codec) -> bytes:
        """The message encoded as an array element (several are joined so that they count as `len(messages)`)."""
        if codec is _JSON:
            if (element := self._json) is None:
                element = self._json = _encode(self.messages, codec)
        elif (element := self._msgpack) is None:
            element = self._msgpack = _encode(self.messages, codec)
        return element


def _encode(messages: tuple[Event, ...], codec: Codec) -> bytes:
    if len(messages) == 1:
        return encode_message(messages[0], codec)
    return (b"," if codec is Codec.JSON else b"").join([encode_message(message, codec) for message in messages])


def join_deltas(envelopes: list[Envelope]) -> list[Envelope]:
    """The same in fewer messages: deltas that follow each other in one string become one, of at most JOINED_CHARS."""
    joined: list[Envelope] = []
    run: list[Envelope] = []
    grown: str | None = None  # the path of a text; thoughts have none
    chars = 0
    for envelope in envelopes:
        if envelope.kind not in _DELTAS:
            joined += _join(run)
            run = []
            joined.append(envelope)
            continue
        message = envelope.messages[0]
        assert isinstance(message, (Text, Thinking))
        grows = message.path if isinstance(message, Text) else None
        chars += len(message.delta)
        if not run or grows != grown or chars > JOINED_CHARS:
            joined += _join(run)
            run, grown, chars = [], grows, len(message.delta)
        run.append(envelope)
    return joined + _join(run)


def _join(run: list[Envelope]) -> list[Envelope]:
    """Whoever joins the same run gets the same envelope while anyone holds it, so that it too is encoded only once."""
    if len(run) < 2:
        return run
    first, last = run[0], run[-1]
    if first._joined is not None and first._joined[0]() is last and (known := first._joined[1]()) is not None:
        return [known]
    message = first.messages[0]
    assert isinstance(message, (Text, Thinking))
    delta = "".join([part.messages[0].delta for part in run])  # type: ignore[attr-defined]  # all of one type
    whole = (
        Text(session=message.session, offset=message.offset, path=message.path, delta=delta)
        if isinstance(message, Text)
        else Thinking(session=message.session, delta=delta)
    )
    joined = Envelope(first.kind, (whole,), first.session)
    first._joined = weakref.ref(last), weakref.ref(joined)
    return [joined]


def frame_payload(envelopes: list[Envelope], codec: Codec) -> bytes:
    """The payload of one server frame holding these envelopes in order."""
    elements = [envelope.element(codec) for envelope in envelopes]
    if codec is _JSON:
        return json_array(elements)
    return msgpack_array(elements, sum([len(envelope.messages) for envelope in envelopes]))
