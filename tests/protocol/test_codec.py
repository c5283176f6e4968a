"""Whatever arrives, decoding answers with commands and rejections, and what it answers with can be sent back."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.codec import MAX_BATCH, MAX_REASON, Codec, Rejected, decode_frame, encode_message
from protocol.commands import (
    AnyCommand,
    Cancel,
    Cursor,
    HatchRequest,
    Hello,
    ImageOptions,
    List,
    Lora,
    Ping,
    ResumeCursor,
    Start,
    Unwatch,
    Watch,
    WatchOptions,
)
from protocol.errors import BadMessage, TooLarge, UnknownType
from protocol.events import Error

COMMANDS: list[AnyCommand] = [
    Hello(id=1, token="t", client="c", follow="mine", resume=[ResumeCursor(session="s", epoch=1, seq=2, offset=3)]),
    Start(
        id="a",
        key="k",
        hatch=HatchRequest(
            prompt="a fox", image=ImageOptions(steps=4, guidance=3.5, lora=["x", Lora(name="y", scale=0.5)])
        ),
    ),
    Start(id=2, hatch=HatchRequest(prompt="ü\U0001f98a"), watch=WatchOptions(max_hz=2, previews=True), grace_s=0),
    Start(id=2, hatch=HatchRequest(prompt=""), watch=False, on_disconnect="cancel"),
    Cancel(id=3, session="s", reason="enough"),
    Cancel(id=3, key="k"),
    Watch(id=4, session="s", from_=Cursor(epoch=1, seq=0, offset=2**53 - 1), max_hz=0.5, previews=True),
    Unwatch(id=5, session="s"),
    List(id=6, states=["queued", "done"], limit=5, before="x"),
    Ping(id=2**53 - 1),
]

codecs = pytest.mark.parametrize("codec", Codec)


def pack(value: object, codec: Codec) -> str | bytes:
    return msgspec.json.encode(value).decode() if codec is Codec.JSON else msgspec.msgpack.encode(value)


def rejected(data: str | bytes, codec: Codec) -> Rejected:
    (only,) = decode_frame(data, codec)
    assert isinstance(only, Rejected)
    return only


@codecs
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_every_command_makes_the_round_trip(command: AnyCommand, codec: Codec) -> None:
    assert decode_frame(pack(command, codec), codec) == [command]


@codecs
def test_a_frame_may_hold_a_batch(codec: Codec) -> None:
    assert decode_frame(pack(COMMANDS, codec), codec) == COMMANDS


@codecs
@pytest.mark.parametrize("count", [0, 1, 15, 16, MAX_BATCH])
def test_a_batch_of_any_allowed_size(codec: Codec, count: int) -> None:
    assert decode_frame(pack([Ping(id=1)] * count, codec), codec) == [Ping(id=1)] * count


@codecs
def test_a_batch_over_the_bound_is_one_rejection(codec: Codec) -> None:
    assert isinstance(rejected(pack([Ping(id=1)] * (MAX_BATCH + 1), codec), codec).error, TooLarge)


def test_msgpack_arrays_of_every_width_are_batches() -> None:
    ping = msgspec.msgpack.encode(Ping(id=1))
    for head in (b"\x91", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01"):
        assert decode_frame(head + ping, Codec.MSGPACK) == [Ping(id=1)]


def test_json_may_begin_with_white_space() -> None:
    assert decode_frame(' \r\n\t[{"type":"ping","id":1}]', Codec.JSON) == [Ping(id=1)]


@codecs
def test_a_bad_message_costs_its_batch_nothing_else(codec: Codec) -> None:
    batch = [{"type": "ping", "id": 1}, {"type": "nope", "id": 2}, 3, {"type": "ping", "id": 4}]
    first, unknown, no_object, last = decode_frame(pack(batch, codec), codec)
    assert (first, last) == (Ping(id=1), Ping(id=4))
    assert isinstance(unknown, Rejected)
    assert isinstance(unknown.error, UnknownType)
    assert unknown.id == 2
    assert isinstance(no_object, Rejected)
    assert isinstance(no_object.error, BadMessage)
    assert no_object.id is None


@pytest.mark.parametrize(("codec", "data"), [(Codec.JSON, b"{}"), (Codec.MSGPACK, "{}")])
def test_each_codec_has_its_kind_of_frame(codec: Codec, data: str | bytes) -> None:
    assert "frames" in rejected(data, codec).error.message


@codecs
@pytest.mark.parametrize(
    "head", [{"id": 1}, {"type": None, "id": 1}, {"type": 5, "id": 1}, {"type": ["ping"], "id": 1}]
)
def test_a_message_without_a_type_is_bad(head: dict[str, object], codec: Codec) -> None:
    rejection = rejected(pack(head, codec), codec)
    assert isinstance(rejection.error, BadMessage)
    assert (rejection.error.field, rejection.id) == ("type", 1)


@codecs
@pytest.mark.parametrize("id_", [0, -1, 2**53 - 1, "", "x" * 200])
def test_the_id_of_a_bad_message_is_echoed(id_: object, codec: Codec) -> None:
    assert rejected(pack({"type": "watch", "id": id_}, codec), codec).id == id_


@codecs
@pytest.mark.parametrize("id_", [-(2**53), 2**53, 2**64 - 1, 1.5, True, None, [1], {"a": 1}, "x" * 201])
def test_an_id_that_is_none_is_not_echoed(id_: object, codec: Codec) -> None:
    rejection = rejected(pack({"type": "ping", "id": id_}, codec), codec)
    assert isinstance(rejection.error, BadMessage)
    assert rejection.id is None


@codecs
def test_a_missing_field_is_named(codec: Codec) -> None:
    assert rejected(pack({"type": "watch", "id": 1}, codec), codec).error.field == "session"
    nested = {"type": "start", "id": 1, "hatch": {"image": {}}}
    assert rejected(pack(nested, codec), codec).error.field == "hatch.prompt"


def test_an_id_too_big_for_any_codec_is_not_echoed() -> None:
    assert rejected(f'{{"type":"ping","id":{10**40}}}', Codec.JSON).id is None


@codecs
@pytest.mark.parametrize(
    ("message", "place"),
    [
        ({"type": "ping", "id": 1.5}, "id"),
        ({"type": "start", "id": 1, "hatch": {"prompt": 5}}, "hatch.prompt"),
        ({"type": "start", "id": 1, "hatch": {"prompt": "", "image": {"lora": ["a", ""]}}}, "hatch.image.lora[1]"),
        (
            {"type": "start", "id": 1, "hatch": {"prompt": "", "image": {"lora": [{"name": "a", "scale": 11}]}}},
            "hatch.image.lora[0].scale",
        ),
        ({"type": "watch", "id": 1, "session": "s", "from": {"epoch": -1}}, "from.epoch"),
        ({"type": "ping"}, "id"),
        (None, None),
    ],
)
def test_the_offending_field_is_named(message: object, place: str | None, codec: Codec) -> None:
    assert rejected(pack(message, codec), codec).error.field == place


@codecs
def test_the_reason_is_short_whatever_it_quotes(codec: Codec) -> None:
    message = {"type": "start", "id": 1, "hatch": {"prompt": ""}, "on_disconnect": "` at `$.x`" * 1000}
    error = rejected(pack(message, codec), codec).error
    assert len(error.message) <= MAX_REASON
    assert error.field == "on_disconnect"


@codecs
def test_fields_that_are_not_known_are_ignored(codec: Codec) -> None:
    assert decode_frame(pack({"type": "ping", "id": 1, "later": {"a": [1]}}, codec), codec) == [Ping(id=1)]


@pytest.mark.parametrize("data", ["", " ", "[", "{", '{"type":"ping","id":1', "nul", "[1,]", '{"type":"ping","id":1}x'])
def test_broken_json_is_a_bad_message(data: str) -> None:
    assert isinstance(rejected(data, Codec.JSON).error, BadMessage)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x81", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x01\x02"])
def test_broken_msgpack_is_a_bad_message(data: bytes) -> None:
    assert isinstance(rejected(data, Codec.MSGPACK).error, BadMessage)


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (Codec.JSON, "[" * 100_000),
        (Codec.JSON, '{"a":' * 100_000),
        (Codec.JSON, '{"type":"ping","id":1,"x":' + "[" * 100_000 + "]" * 100_000 + "}"),
        (Codec.MSGPACK, b"\x91" * 100_000),
        (Codec.MSGPACK, b"\x81\xa1a" * 100_000 + b"\x01"),
    ],
)
def test_deep_nesting_is_a_bad_message(codec: Codec, data: str | bytes) -> None:
    assert "deep" in rejected(data, codec).error.message


@pytest.mark.parametrize("data", ['{"type":"ping","id":"\ud800"}', '{"type":"ping","id":"\\ud800"}'])
def test_half_a_surrogate_pair_is_a_bad_message(data: str) -> None:
    assert isinstance(rejected(data, Codec.JSON).error, BadMessage)


def test_msgpack_strings_must_be_utf8() -> None:
    assert isinstance(rejected(b"\x82\xa4type\xa4ping\xa2id\xa2\xff\xff", Codec.MSGPACK).error, BadMessage)


# --- whatever arrives

packable = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
names = st.sampled_from(
    ["type", "id", "session", "hatch", "prompt", "image", "key", "resume", "from", "watch", "states"]
)
types = st.sampled_from(["hello", "start", "cancel", "watch", "unwatch", "list", "ping", "nope"])
values: st.SearchStrategy[Any] = st.recursive(
    packable, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5), max_leaves=12
)
commands = st.builds(lambda type_, rest: {**rest, "type": type_}, types, st.dictionaries(names, values, max_size=5))


def check(data: str | bytes, codec: Codec) -> None:
    """Neither decoding nor answering fails."""
    for item in decode_frame(data, codec):
        if isinstance(item, Rejected):
            echo = msgspec.UNSET if item.id is None else item.id
            field = item.error.field or msgspec.UNSET
            answer = Error(code=item.error.code, message=item.error.message, retryable=False, id=echo, field=field)
            for out in Codec:
                assert encode_message(answer, out)
        else:
            assert isinstance(item, AnyCommand)


@settings(deadline=None)
@given(st.text())
@example("\ud800")
@example("\ufeff{}")
def test_any_text_is_survived(data: str) -> None:
    check(data, Codec.JSON)


@settings(deadline=None)
@given(st.binary())
@example(b"\x82\xa4type\x81\x80\x01\xa2id\x01")
@example(b"\x82\xa4type\xd6\xff\xff\xff\xff\xff\xa2id\x01")
def test_any_bytes_are_survived(data: bytes) -> None:
    check(data, Codec.MSGPACK)


@settings(deadline=None)
@given(values | commands | st.lists(commands, max_size=5), st.data())
def test_any_value_is_survived_whole_or_cut(value: object, data: st.DataObject) -> None:
    packed = msgspec.msgpack.encode(value)
    check(packed, Codec.MSGPACK)
    check(packed[: data.draw(st.integers(0, len(packed)))], Codec.MSGPACK)
    written = msgspec.json.encode(value).decode()
    check(written, Codec.JSON)
    check(written[: data.draw(st.integers(0, len(written)))], Codec.JSON)
