import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.serve import Gateway
from protocol.codec import MAX_BATCH, Codec
from tests.helpers.contract import check_messages
from tests.helpers.gateways import running_gateway
from tests.helpers.wire import Closed, Message, Wire, open_wire

PATIENT: dict[str, Any] = {
    "sim__tokens_per_s": 2000,
    "sim__step_s": 0.01,
    "llm__slots": 100,
    "image__slots": 100,
    "server__bad_messages": 10_000,
}
DEEP = 20_000
BOTH = pytest.mark.parametrize("codec", Codec, ids=lambda codec: codec.name)


@asynccontextmanager
async def beside_a_hatch(tmp_path: Path, **options: Any) -> AsyncIterator[Gateway]:
    """A gateway in which somebody else's hatch runs all the while, undisturbed."""
    async with running_gateway(tmp_path, **PATIENT | options) as gateway, open_wire(gateway.url) as neighbour:
        session = await neighbour.start("an undisturbed creature")
        yield gateway
        assert (await neighbour.end(session))["outcome"] == "done"
        check_messages(neighbour.typed(), session)
        again = await neighbour.start("another one")
        assert (await neighbour.end(again))["outcome"] == "done"
        assert neighbour.close_code is None


class Prober:
    """Sends bad frames one by one; each must be answered by exactly one error."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._markers = itertools.count()

    async def provoke(self, data: Any) -> list[Message]:
        """What one frame is answered with."""
        heard = len(self._wire.heard)
        if isinstance(data, str | bytes):
            await self._wire.send_raw(data)
        else:
            await self._wire.send(data)
        marker = f"marker-{next(self._markers)}"
        pong = await self._wire.ask("ping", id=marker)
        assert pong["type"] == "pong"
        return [message for message in self._wire.heard[heard:] if message.get("id") != marker]

    async def refused(self, data: Any, code: str, field: str | None = None) -> Message:
        """The one error for a frame."""
        (error,) = await self.provoke(data)
        assert error["type"] == "error", (data, error)
        assert (error["code"], error.get("field")) == (code, field), (data, error)
        assert error["retryable"] is False
        assert 0 < len(error["message"]) < 400
        assert set(error) <= {"type", "code", "message", "retryable", "id", "session", "field"}
        return error


@asynccontextmanager
async def open_prober(gateway: Gateway, codec: Codec) -> AsyncIterator[Prober]:
    async with open_wire(gateway.url, codec) as wire:
        yield Prober(wire)


async def test_malformed_json(tmp_path: Path) -> None:
    async with beside_a_hatch(tmp_path) as gateway, open_prober(gateway, Codec.JSON) as prober:
        for text in (
            "",
            " ",
            "{",
            "}",
            "[",
            "[1",
            "nul",
            "'x'",
            '{"type":"ping","id":1}{',
            '{"type" "ping"}',
            "\ufeff{}",
            "\0",
        ):
            await prober.refused(text, "bad_message")
        for text in ("5", "null", "true", '"ping"'):
            await prober.refused(text, "bad_message")
        for text in ('{"type":"start","id":1,"hatch":{"prompt":"\\ud800"}}', '{"type":"ping","id":"\\udfff"}'):
            await prober.refused(text, "bad_message")


async def test_malformed_messagepack(tmp_path: Path) -> None:
    async with beside_a_hatch(tmp_path) as gateway, open_prober(gateway, Codec.MSGPACK) as prober:
        ping = msgspec.msgpack.encode({"type": "ping", "id": "p"})
        for data in (
            b"",
            b"\xc1",
            ping[:-1],
            ping + b"\x00",
            b"\x05",
            b"\xc0",
            b"\xa4ping",
            b"\xdd\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
        ):
            await prober.refused(data, "bad_message")
        surrogate = b"\x82\xa4type\xa4ping\xa2id\xa3\xed\xa0\x80"
        await prober.refused(surrogate, "bad_message")


@BOTH
async def test_messages_that_are_no_commands(tmp_path: Path, codec: Codec) -> None:
    async with beside_a_hatch(tmp_path) as gateway, open_prober(gateway, codec) as prober:
        await prober.refused({}, "bad_message", "type")
        for number, type_ in enumerate([None, 5, ["ping"], {"type": "ping"}]):
            error = await prober.refused({"type": type_, "id": number}, "bad_message", "type")
            assert error["id"] == number
        for name in ("dance", "Ping", "welcome", "", "ping "):
            error = await prober.refused({"type": name, "id": f"of {name}"}, "unknown_type", "type")
            assert error["id"] == f"of {name}"


@BOTH
@pytest.mark.parametrize("id_", [None, 1.5, True, [], {}, 2**53, -(2**53), 2**63, "x" * 201], ids=repr)
async def test_ids_that_cannot_be_echoed(tmp_path: Path, codec: Codec, id_: Any) -> None:
    async with running_gateway(tmp_path, **PATIENT) as gateway, open_prober(gateway, codec) as prober:
        error = await prober.refused({"type": "ping", "id": id_}, "bad_message", "id")
        assert "id" not in error


WRONG: list[tuple[str, str, dict[str, Any]]] = [
    ("hatch", "start", {"hatch": 5}),
    ("hatch", "start", {"hatch": None}),
    ("hatch.prompt", "start", {"hatch": {"prompt": 5}}),
    ("hatch.image", "start", {"hatch": {"prompt": "a", "image": "big"}}),
    ("hatch.image.steps", "start", {"hatch": {"prompt": "a", "image": {"steps": "4"}}}),
    ("hatch.image.steps", "start", {"hatch": {"prompt": "a", "image": {"steps": 0}}}),
    ("hatch.image.seed", "start", {"hatch": {"prompt": "a", "image": {"seed": -1}}}),
    ("hatch.image.guidance", "start", {"hatch": {"prompt": "a", "image": {"guidance": 101}}}),
    ("hatch.image.lora", "start", {"hatch": {"prompt": "a", "image": {"lora": ["x"] * 9}}}),
    ("hatch.persona", "start", {"hatch": {"prompt": "a", "persona": "Wren"}}),
    ("watch", "start", {"hatch": {"prompt": "a"}, "watch": "yes"}),
    ("watch.max_hz", "start", {"hatch": {"prompt": "a"}, "watch": {"max_hz": 0}}),
    ("watch.previews", "start", {"hatch": {"prompt": "a"}, "watch": {"previews": 1}}),
    ("on_disconnect", "start", {"hatch": {"prompt": "a"}, "on_disconnect": "explode"}),
    ("grace_s", "start", {"hatch": {"prompt": "a"}, "grace_s": -1}),
    ("key", "start", {"hatch": {"prompt": "a"}, "key": ""}),
    ("key", "start", {"hatch": {"prompt": "a"}, "key": "k" * 201}),
    ("session", "cancel", {"session": 5}),
    ("reason", "cancel", {"session": "s", "reason": "r" * 201}),
    ("session", "watch", {"session": ""}),
    ("session", "watch", {"session": "s" * 65}),
    ("from", "watch", {"session": "s", "from": []}),
    ("from.seq", "watch", {"session": "s", "from": {"epoch": 1, "seq": -1, "offset": 0}}),
    ("from.offset", "watch", {"session": "s", "from": {"epoch": 1, "seq": 1, "offset": 2**60}}),
    ("max_hz", "watch", {"session": "s", "max_hz": -3}),
    ("limit", "list", {"limit": 0}),
    ("limit", "list", {"limit": 1001}),
    ("before", "list", {"before": 5}),
    ("follow", "hello", {"follow": "everybody"}),
    ("resume", "hello", {"resume": {}}),
]


@BOTH
async def test_fields_of_wrong_types_are_named(tmp_path: Path, codec: Codec) -> None:
    async with beside_a_hatch(tmp_path) as gateway, open_prober(gateway, codec) as prober:
        for number, (field, type_, fields) in enumerate(WRONG):
            error = await prober.refused({"type": type_, "id": number, **fields}, "bad_message", field)
            assert error["id"] == number


@BOTH
async def test_hatches_that_cannot_be_are_refused_by_name(tmp_path: Path, codec: Codec) -> None:
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"prompt": "x" * 100_000}, "too_large", "hatch.prompt"),
        ({"prompt": "🥚" * 2001}, "too_large", "hatch.prompt"),
        ({"prompt": ""}, "invalid", "hatch.prompt"),
        ({"prompt": " \n\t"}, "invalid", "hatch.prompt"),
        ({"prompt": "a\0b"}, "invalid", "hatch.prompt"),
        ({"prompt": "\x1b[2J"}, "invalid", "hatch.prompt"),
        ({"prompt": "a", "image": {"width": 4096, "height": 4096}}, "too_large", "hatch.image.width"),
        ({"prompt": "a", "image": {"steps": 150}}, "too_large", "hatch.image.steps"),
    ]
    async with beside_a_hatch(tmp_path) as gateway, open_prober(gateway, codec) as prober:
        for number, (hatch, code, field) in enumerate(cases):
            error = await prober.refused({"type": "start", "id": number, "hatch": hatch}, code, field)
            assert error["id"] == number
        (sessions,) = await prober.provoke({"type": "list", "id": "after"})
        assert [item["prompt"] for item in sessions["items"]] == ["an undisturbed creature"]


@BOTH
async def test_odd_prompts_are_prompts(tmp_path: Path, codec: Codec) -> None:
    prompts = [
        "-",
        "--",
        "--prompt=x --steps 99",
        "--help",
        "a\nb\r\nc\td",
        "🦊🥚👩‍👩‍👧",
        "ش" * 2000,
        "𝔘" * 2000,
        "'; rm -rf /",
        "\u202eevil",
        "{}",
        "null",
    ]
    async with beside_a_hatch(tmp_path) as gateway, open_wire(gateway.url, codec) as wire:
        sessions = [await wire.start(prompt) for prompt in prompts]
        for session, prompt in zip(sessions, prompts, strict=True):
            assert (await wire.end(session))["outcome"] == "done"
            assert (await wire.ask("watch", session=session))["prompt"] == prompt


async def test_deep_nesting_in_json(tmp_path: Path) -> None:
    async with beside_a_hatch(tmp_path) as gateway, open_prober(gateway, Codec.JSON) as prober:
        for text in (
            "[" * DEEP,
            "[" * DEEP + "]" * DEEP,
            '{"a":' * DEEP,
            '{"a":' * DEEP + "1" + "}" * DEEP,
            '{"type":"ping","id":' + "[" * DEEP + "]" * DEEP + "}",
            '{"type":' + "[" * DEEP + "]" * DEEP + ',"id":"t"}',
            '{"type":"start","id":"h","hatch":' + '{"image":' * DEEP + "1" + "}" * DEEP + "}",
        ):
            (error,) = await prober.provoke(text)
            assert (error["type"], error["code"]) == ("error", "bad_message")


async def test_deep_nesting_in_messagepack(tmp_path: Path) -> None:
    async with beside_a_hatch(tmp_path) as gateway, open_prober(gateway, Codec.MSGPACK) as prober:
        for data in (
            b"\x91" * DEEP,
            b"\x91" * DEEP + b"\xc0",
            b"\x81\xa1a" * DEEP + b"\xc0",
            b"\x82\xa4type\xa4ping\xa2id" + b"\x91" * DEEP + b"\xc0",
        ):
            (error,) = await prober.provoke(data)
            assert (error["type"], error["code"]) == ("error", "bad_message")


@BOTH
async def test_the_other_codec_s_frames(tmp_path: Path, codec: Codec) -> None:
    async with beside_a_hatch(tmp_path) as gateway, open_prober(gateway, codec) as prober:
        await prober.refused(
            b'{"type":"ping","id":1}' if codec is Codec.JSON else '{"type":"ping","id":1}', "bad_message"
        )


@BOTH
async def test_huge_arrays(tmp_path: Path, codec: Codec) -> None:
    async with beside_a_hatch(tmp_path) as gateway, open_prober(gateway, codec) as prober:
        await prober.refused([0] * 100_000, "too_large")
        await prober.refused([{"type": "ping", "id": 1}] * (MAX_BATCH + 1), "too_large")
        pongs = await prober.provoke([{"type": "ping", "id": id_} for id_ in range(MAX_BATCH)])
        assert [pong["id"] for pong in pongs] == list(range(MAX_BATCH))
        errors = await prober.provoke([5, "x", None, {"type": "ping", "id": "good"}, []])
        assert [error.get("code") for error in errors] == ["bad_message"] * 3 + [None, "bad_message"]


async def test_the_good_messages_of_an_array_are_taken(tmp_path: Path) -> None:
    async with beside_a_hatch(tmp_path) as gateway, open_prober(gateway, Codec.JSON) as prober:
        answers = await prober.provoke([{"type": "ping", "id": 1}, {"type": "ping"}, {"type": "ping", "id": 3}])
        assert [answer["type"] for answer in answers] == ["pong", "error", "pong"]


async def test_a_frame_of_ten_megabytes_closes_with_1009(tmp_path: Path) -> None:
    async with beside_a_hatch(tmp_path) as gateway, open_wire(gateway.url) as wire:
        with contextlib.suppress(Closed):  # it may be told before all is sent
            await wire.send_raw("x" * 10_000_000)
        assert await wire.closed() == 1009


async def test_too_many_bad_messages_close_with_4500(tmp_path: Path) -> None:
    async with beside_a_hatch(tmp_path, server__bad_messages=5) as gateway, open_wire(gateway.url) as wire:
        for number in range(5):
            assert (await wire.ask("dance"))["code"] == "unknown_type", number
        assert (await wire.ask("ping"))["type"] == "pong"
        await wire.send_raw("{")
        assert await wire.closed() == 4500


async def test_what_follows_the_last_straw_is_not_done(tmp_path: Path) -> None:
    async with beside_a_hatch(tmp_path, server__bad_messages=5) as gateway:
        async with open_wire(gateway.url) as wire:
            start = {"type": "start", "id": 1, "hatch": {"prompt": "never"}}
            await wire.send(*[{"type": "dance", "id": f"d{n}"} for n in range(10)], start)
            assert await wire.closed() == 4500
        async with open_wire(gateway.url) as wire:
            items = (await wire.ask("list"))["items"]
            assert [item["prompt"] for item in items] == ["an undisturbed creature"]


async def test_talking_before_hello_has_a_budget_too(tmp_path: Path) -> None:
    async with (
        beside_a_hatch(tmp_path, server__bad_messages=5) as gateway,
        open_wire(gateway.url, greet=False) as wire,
    ):
        await wire.send(*[{"type": "ping", "id": number} for number in range(100)])
        assert await wire.closed() == 4500


KEYS = st.sampled_from(["type", "session", "hatch", "key", "from", "resume", "prompt", "watch", "limit", "image", "x"])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(["hello", "start", "cancel", "watch", "unwatch", "list", "ping"]),
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)
COMMANDS = st.fixed_dictionaries(
    {"type": st.sampled_from(["hello", "start", "cancel", "watch", "unwatch", "list", "ping"])},
    optional={
        "session": VALUES, "hatch": VALUES, "key": VALUES, "from": VALUES, "resume": VALUES, "watch": VALUES,
        "limit": VALUES, "states": VALUES, "before": VALUES, "max_hz": VALUES, "grace_s": VALUES,
    },
)  # fmt: skip
FUZZ = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


async def _fuzz(tmp_path: Path, codec: Codec, frames: list[Any]) -> None:
    async with running_gateway(tmp_path, **PATIENT) as gateway, open_wire(gateway.url, codec) as wire:
        for number, frame in enumerate(frames):
            match frame:
                case str() | bytes():
                    await wire.send_raw(frame)
                case {"type": _}:
                    await wire.send(frame | {"id": f"fuzz-{number}"})
                    assert await wire.answer(f"fuzz-{number}")
                case _:
                    await wire.send(frame)
            assert (await wire.ask("ping"))["type"] == "pong"


@FUZZ
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | COMMANDS | VALUES, max_size=60))
async def test_whatever_comes_as_json_a_ping_is_answered(tmp_path: Path, frames: list[Any]) -> None:
    await _fuzz(tmp_path, Codec.JSON, frames)


@FUZZ
@given(st.lists(st.binary() | COMMANDS | VALUES, max_size=60))
async def test_whatever_comes_as_messagepack_a_ping_is_answered(tmp_path: Path, frames: list[Any]) -> None:
    await _fuzz(tmp_path, Codec.MSGPACK, [frame for frame in frames if not isinstance(frame, str)])
