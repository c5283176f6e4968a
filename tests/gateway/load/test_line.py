"""Frames as the swarm reads them: later versions' messages are passed over, broken ones are not."""

from typing import Any

import msgspec
import pytest

from gateway.load.line import Unreadable, decode_frame
from protocol.codec import Codec
from protocol.events import Pong, Text

CODECS = pytest.mark.parametrize("codec", Codec)
PONG = {"type": "pong", "id": 1}
TEXT = {"type": "text", "session": "s", "offset": 0, "path": "/name", "delta": "é", "added": "later"}


def encoded(value: Any, codec: Codec) -> str | bytes:
    return msgspec.json.encode(value).decode() if codec is Codec.JSON else msgspec.msgpack.encode(value)


@CODECS
def test_a_frame_is_its_messages_in_order(codec: Codec) -> None:
    messages = decode_frame(encoded([PONG, TEXT], codec), codec)
    assert messages == [Pong(id=1), Text(session="s", offset=0, path="/name", delta="é")]


@CODECS
def test_messages_of_unknown_types_are_passed_over(codec: Codec) -> None:
    assert decode_frame(encoded([{"type": "horoscope", "id": []}, PONG], codec), codec) == [Pong(id=1)]


@CODECS
@pytest.mark.parametrize(
    "frame", [PONG, "pong", [[PONG]], [{"id": 1}], [{**TEXT, "offset": "0"}], [{"type": "text", "session": "s"}], [7]]
)
def test_what_is_no_array_of_messages_is_unreadable(codec: Codec, frame: Any) -> None:
    with pytest.raises(Unreadable):
        decode_frame(encoded(frame, codec), codec)


def test_the_wrong_kind_of_frame_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="binary frame"):
        decode_frame(b"[]", Codec.JSON)
    with pytest.raises(Unreadable, match="text frame"):
        decode_frame("\x90", Codec.MSGPACK)
    with pytest.raises(Unreadable):
        decode_frame("[" * 100_000, Codec.JSON)
