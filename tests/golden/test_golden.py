"""Messages travel today as they did when clients were written: byte for byte, in both codecs, both ways."""

import msgspec
import pytest

from gateway.reference.messages import MESSAGES, name_of
from protocol.codec import Codec, decode_frame, encode_message
from protocol.events import Event, ServerMessage
from tests.helpers.golden import lines, path_of, written
from tests.helpers.samples import ALL, LEAST, SAMPLES

BOTH = pytest.mark.parametrize("codec", Codec)


@BOTH
def test_what_is_written_down_is_what_is_said(codec: Codec) -> None:
    text = path_of(codec).read_text(encoding="utf-8")
    assert text == lines(codec), "the protocol has changed; if that is meant, run `python -m tests.helpers.golden`"


@BOTH
def test_the_gateway_says_and_understands_it(codec: Codec) -> None:
    for name, data in written(codec).items():
        message = SAMPLES[name]
        if isinstance(message, Event):
            assert encode_message(message, codec) == data, name
            decoder = msgspec.json if codec is Codec.JSON else msgspec.msgpack
            assert decoder.decode(data, type=ServerMessage) == message, name
        else:
            assert decode_frame(data.decode() if codec is Codec.JSON else data, codec) == [message], name


def test_every_message_is_there_with_all_and_with_the_least_fields() -> None:
    assert [type(message) for message in ALL] == list(MESSAGES)
    for message in ALL:
        _check_complete(message)
    optional = [message for message in MESSAGES if any(not field.required for field in msgspec.structs.fields(message))]
    assert {name_of(type(message)) for message in LEAST} >= {name_of(message) for message in optional}
    for message in LEAST:
        required = [field.encode_name for field in msgspec.structs.fields(message) if field.required]
        assert [key for key in msgspec.to_builtins(message) if key != "type"] == required


def _check_complete(value: object) -> None:
    """No field, down to the last, is left out or at its default."""
    match value:
        case msgspec.Struct():
            names = {field.encode_name for field in msgspec.structs.fields(value)}
            assert names <= set(msgspec.to_builtins(value)), value
            for name in value.__struct_fields__:
                _check_complete(getattr(value, name))
        case list() | tuple():
            assert value
            for item in value:
                _check_complete(item)
