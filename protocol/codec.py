"""Bytes to messages and back, in JSON and MessagePack; nothing a client sends gets past here unchecked."""

import enum
import re
from collections.abc import Sequence
from typing import Any, Final, TypeGuard

import msgspec

from protocol.commands import AnyCommand, Command, Id, RequestId
from protocol.errors import BadMessage, HatcheryError, TooLarge, UnknownType
from protocol.events import Event

MAX_BATCH: Final = 1000  # messages in one client frame
MAX_REASON: Final = 300  # characters of the words that say why a message cannot be read


class Codec(enum.Enum):
    """The two wire formats, by subprotocol name."""

    JSON = "hatch.v1.json"
    MSGPACK = "hatch.v1.msgpack"

    __hash__ = object.__hash__  # Enum's own is written in Python, and every event looks something up by codec


class Rejected(msgspec.Struct, frozen=True):
    """One message of a frame that cannot be acted on, with its `id` if that could be read."""

    error: HatcheryError
    id: Id | None = None


class _Head(msgspec.Struct):
    """What can be read of a message that is not valid as a whole."""

    type: Any = None
    id: Any = None


_NAMES: Final = sorted(str(subclass.__struct_config__.tag) for subclass in Command.__subclasses__())
_Json = msgspec.json.Decoder
_Msgpack = msgspec.msgpack.Decoder
_COMMAND: Final[dict[Codec, _Json[AnyCommand] | _Msgpack[AnyCommand]]] = {
    Codec.JSON: _Json(AnyCommand),
    Codec.MSGPACK: _Msgpack(AnyCommand),
}
_HEAD: Final[dict[Codec, _Json[_Head] | _Msgpack[_Head]]] = {Codec.JSON: _Json(_Head), Codec.MSGPACK: _Msgpack(_Head)}
_BATCH: Final[dict[Codec, _Json[list[msgspec.Raw]] | _Msgpack[list[msgspec.Raw]]]] = {
    Codec.JSON: _Json(list[msgspec.Raw]),
    Codec.MSGPACK: _Msgpack(list[msgspec.Raw]),
}
_PLACE: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`")
_encode_json: Final = msgspec.json.Encoder().encode
_encode_msgpack: Final = msgspec.msgpack.Encoder().encode
_JSON: Final = Codec.JSON  # an enum's members cost more to look up than a name of the module


def decode_frame(data: str | bytes, codec: Codec) -> list[AnyCommand | Rejected]:
    """The messages of one client frame, in order: a single message or an array of at most MAX_BATCH.

    Never raises: what cannot be read comes back as Rejected.
    """
    if isinstance(data, str) is not (codec is Codec.JSON):
        wanted = "text" if codec is Codec.JSON else "binary"
        return [Rejected(BadMessage(f"{codec.value} takes {wanted} frames"))]
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if not _is_array(raw, codec):
        return [_decode_one(raw, codec)]
    try:
        batch = _BATCH[codec].decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return [Rejected(_unreadable(error))]
    if len(batch) > MAX_BATCH:
        return [Rejected(TooLarge(f"a frame holds at most {MAX_BATCH} messages, this one has {len(batch)}"))]
    return [_decode_one(item, codec) for item in batch]


def _is_array(raw: bytes, codec: Codec) -> bool:
    if codec is Codec.JSON:
        return raw.lstrip(b" \t\r\n")[:1] == b"["
    return bool(raw) and (raw[0] >> 4 == 0x9 or raw[0] in (0xDC, 0xDD))  # fixarray, array16, array32


def _decode_one(raw: bytes | msgspec.Raw, codec: Codec) -> AnyCommand | Rejected:
    try:
        return _COMMAND[codec].decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return _reject(raw, codec, error)


def _reject(raw: bytes | msgspec.Raw, codec: Codec, error: Exception) -> Rejected:
    try:
        head = _HEAD[codec].decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Rejected(_unreadable(error))
    id_ = head.id if _is_id(head.id) else None
    if not isinstance(head.type, str):
        return Rejected(BadMessage("a message is an object with a `type`", field="type"), id_)
    if head.type not in _NAMES:
        return Rejected(UnknownType(f"no message has this type; known: {', '.join(_NAMES)}", field="type"), id_)
    return Rejected(_unreadable(error), id_)


def _is_id(value: Any) -> TypeGuard[Id]:
    """Whether it can be echoed: an answer with another id might not even encode."""
    try:
        msgspec.convert(value, RequestId)
    except msgspec.ValidationError:
        return False
    return True


def _unreadable(error: Exception) -> BadMessage:
    if isinstance(error, RecursionError):
        return BadMessage("nested too deeply")
    text = str(error)[-MAX_REASON:]  # it may quote what was sent
    return BadMessage(text, field=_field(text))


def _field(reason: str) -> str | None:
    """The path of the field that msgspec complains of."""
    place, missing = _PLACE.search(reason), _MISSING.match(reason)
    names = [place.group(1) if place else "", missing.group(1) if missing else ""]
    return ".".join(filter(None, names)) or None


def encode_message(message: Event, codec: Codec) -> bytes:
    """One message, as an element of a server frame."""
    return _encode_json(message) if codec is _JSON else _encode_msgpack(message)


def json_array(elements: Sequence[bytes]) -> bytes:
    """A server frame's payload in JSON, of messages that are already encoded."""
    return b"[" + b",".join(elements) + b"]"


def msgpack_array(elements: Sequence[bytes], count: int) -> bytes:
    """The same in MessagePack, of `count` messages: an element may hold several."""
    return _array_header(count) + b"".join(elements)


def _array_header(count: int) -> bytes:
    """MessagePack's array head (https://github.com/msgpack/msgpack/blob/master/spec.md#array-format-family)."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 2**16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")
