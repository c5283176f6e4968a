"""The OpenAI backend against servers that play every dialect and every failure, over real sockets."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from actors.llm.answer import FAREWELL_TIMEOUT_S
from actors.llm.backend import Finished, Prefill, TextChunk, ThinkingChunk
from actors.llm.openai import OpenAiBackend
from protocol.errors import LlmFailed
from tests.helpers.openai_answers import (
    DONE,
    EXTRAS,
    GOOD,
    KEY,
    REQUEST,
    STOP,
    backend_for,
    data,
    delta,
    failed,
    listen,
    text,
    told_by,
)
from tests.helpers.scripted_http import (
    Answer,
    Received,
    ScriptedServer,
    as_chunk,
    head_of,
    refuse,
    send,
    send_body,
)

# What is asked


async def test_the_request() -> None:
    async with backend_for(GOOD, api_key=KEY, max_tokens=900, temperature=0.3) as (backend, server):
        await listen(backend)
    (request,) = server.requests
    body = request.json
    response_format = body.pop("response_format")
    assert request.target == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert body == {
        "model": "owl-7b",
        "messages": [
            {"role": "system", "content": "You write personas."},
            {"role": "user", "content": "An owl ☃"},
        ],
        "stream": True,
        "return_progress": True,
        "max_tokens": 900,
        "temperature": 0.3,
    }
    schema = response_format["json_schema"]["schema"]
    assert response_format["type"] == "json_schema"
    assert schema["required"] == list(schema["properties"])
    assert schema["additionalProperties"] is False
    assert schema["properties"]["name"]["maxLength"] == 60
    assert "maxLength" not in schema["properties"]["system_prompt"], "llama.cpp refuses 2000"


async def test_without_a_key_nothing_is_authorized() -> None:
    async with backend_for(GOOD) as (backend, server):
        await listen(backend)
    assert "authorization" not in server.requests[0].headers


async def test_each_answer_has_a_connection_of_its_own() -> None:
    kept_open = send(head_of(version="1.1"), *map(as_chunk, [text("Hello"), STOP, DONE]), as_chunk(b""))
    async with backend_for(kept_open) as (backend, server):
        assert [(await listen(backend)).text for _ in range(3)] == ["Hello"] * 3
    assert len(server.requests) == 3  # the scripted server reads one request a connection


async def test_a_proxy_from_the_environment_does_not_come_between(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert (await told_by(GOOD)).text == "Hello"


# Dialects


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("end", [DONE, b""], ids=["DONE", "no DONE"])
async def test_a_plain_answer(version: str, end: bytes) -> None:
    usage = data({"choices": [], "usage": {"total_tokens": 9}})
    pieces = [delta(role="assistant", content=None), text("Hel"), text("lo"), STOP, usage, end]
    told = await told_by(send_body([piece for piece in pieces if piece], version=version))
    assert told.chunks == [TextChunk("Hel"), TextChunk("lo"), Finished("stop")]
    assert told.error is None


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
async def test_bytes_may_be_split_anywhere(line_end: bytes) -> None:
    story = "Ünï\u2028cöde\x85 🦉\x0b"
    stream = (b": hello\n\n" + text(story) + STOP + DONE).replace(b"\n", line_end)
    told = await told_by(send_body([bytes([byte]) for byte in stream], version="1.1"))
    assert told.chunks == [TextChunk(story), Finished("stop")]


@pytest.mark.parametrize(
    "fields", [{"reasoning": "Hm."}, {"reasoning_content": "Hm."}, {"reasoning": "Hm.", "reasoning_content": "Hm."}]
)
async def test_reasoning_is_kept_apart(fields: dict[str, str]) -> None:
    told = await told_by(send_body([delta(content="", **fields), delta("stop", content="Hi"), DONE]))
    assert told.chunks == [ThinkingChunk("Hm."), TextChunk("Hi"), Finished("stop")]


async def test_an_empty_finish_reason_is_none() -> None:
    told = await told_by(send_body([delta("", content="a"), delta("", content="b"), delta("stop", content=""), DONE]))
    assert told.chunks == [TextChunk("a"), TextChunk("b"), Finished("stop")]


async def test_prefill_of_mlx_lm_server() -> None:
    told = await told_by(send_body([b": keepalive 17/18\n\n", b": keepalive\n\n", text("a"), STOP, DONE]))
    assert told.chunks == [Prefill(17, 18), TextChunk("a"), Finished("stop")]


async def test_prefill_of_llama_server() -> None:
    progress = {"total": 18, "cache": 2, "processed": 17, "time_ms": 4}
    opening = data({"choices": [{"delta": {"role": "assistant", "content": None}}], "prompt_progress": progress})
    told = await told_by(send_body([opening, text("a"), STOP, DONE]))
    assert told.chunks == [Prefill(17, 18), TextChunk("a"), Finished("stop")]


async def test_a_slow_server_is_waited_for(quick_clock: MockClock) -> None:
    async def slowly(stream: trio.SocketStream, _: Received) -> None:
        for piece in (head_of(), text("a"), STOP + DONE):
            await trio.sleep(2)
            await stream.send_all(piece)

    assert (await told_by(slowly, connect_timeout_s=1)).chunks == [TextChunk("a"), Finished("stop")]


# The end of an answer


@pytest.mark.parametrize("end", [DONE, b""], ids=["DONE", "closed"])
async def test_without_a_finish_reason_nothing_is_finished(end: bytes) -> None:
    told = await told_by(send_body([text("Hel") + end]))
    assert told.chunks == [TextChunk("Hel")]
    assert told.error is None


async def test_finished_is_told_when_the_server_has_said_all(quick_clock: MockClock) -> None:
    """Else whoever leaves at Finished would cut the server off, and fill its log with broken pipes."""
    left_early: list[bool] = []

    async def answer(stream: trio.SocketStream, _: Received) -> None:
        await stream.send_all(head_of() + text("Hello") + STOP)
        with trio.move_on_after(FAREWELL_TIMEOUT_S / 2):
            await stream.receive_some()
            left_early.append(True)
        await stream.send_all(DONE)

    async with backend_for(answer) as (backend, _), backend.open_stream(REQUEST) as stream:
        assert [chunk async for chunk in stream] == [TextChunk("Hello"), Finished("stop")]
    assert left_early == []


# Servers that do not know everything


def asked_for(server: ScriptedServer) -> list[set[str]]:
    return [EXTRAS & request.json.keys() for request in server.requests]


@pytest.mark.parametrize(
    "refusal",
    [
        refuse("400 Bad Request", b'{"error": {"message": "\'response_format.type\' must be \'text\'"}}'),
        refuse("422 Unprocessable", b'{"detail": [{"loc": ["body", "response_format"], "msg": "extra"}]}'),
        refuse("400 Bad Request", b"This model does not support response format json"),
    ],
)
async def test_a_refused_response_format_is_left_out_from_then_on(refusal: Answer) -> None:
    async with backend_for(refusal, GOOD) as (backend, server):
        assert [(await listen(backend)).text for _ in range(2)] == ["Hello", "Hello"]
        assert asked_for(server) == [EXTRAS, EXTRAS - {"response_format"}, EXTRAS - {"response_format"}]


async def test_one_refusal_after_the_other() -> None:
    first = refuse("400 Bad Request", b'{"error": {"message": "Unrecognized argument: return_progress"}}')
    second = refuse("400 Bad Request", b'{"error": {"message": "Unsupported parameter: max_tokens"}}')
    async with backend_for(first, second, GOOD) as (backend, server):
        assert (await listen(backend)).text == "Hello"
        assert asked_for(server)[-1] == {"response_format", "temperature"}


async def test_a_refusal_that_names_nothing_leaves_out_all() -> None:
    async with backend_for(refuse("400 Bad Request", b'{"error": "failed to parse grammar"}'), GOOD) as (
        backend,
        server,
    ):
        assert (await listen(backend)).text == "Hello"
        assert asked_for(server) == [EXTRAS, set()]


async def test_a_refusal_for_another_reason_is_told_and_forgotten() -> None:
    too_long = refuse("400 Bad Request", b'{"error": "the prompt exceeds the context"}')
    async with backend_for(too_long, too_long, GOOD) as (backend, server):
        assert "the prompt exceeds the context" in failed(await listen(backend), LlmFailed)
        assert (await listen(backend)).text == "Hello"
        assert asked_for(server) == [EXTRAS, set(), EXTRAS]


# Leaving


class Departed(Exception):
    """Somebody who is reading the stream gives up."""


async def leave_by_returning(backend: OpenAiBackend) -> None:
    async with backend.open_stream(REQUEST) as stream:
        await anext(stream)


async def leave_by_failing(backend: OpenAiBackend) -> None:
    with suppress(Departed):
        async with backend.open_stream(REQUEST) as stream:
            await anext(stream)
            raise Departed


async def leave_by_cancelling(backend: OpenAiBackend) -> None:
    with trio.CancelScope() as scope:
        async with backend.open_stream(REQUEST) as stream:
            async for _ in stream:
                scope.cancel()
    assert scope.cancelled_caught


async def leave_unread(backend: OpenAiBackend) -> None:
    async with backend.open_stream(REQUEST):
        pass


@pytest.mark.parametrize("leave", [leave_by_returning, leave_by_failing, leave_by_cancelling, leave_unread])
@pytest.mark.parametrize("opening", [head_of() + text("a") * 3, head_of(version="1.1") + as_chunk(text("a")) * 3])
async def test_leaving_closes_the_connection_at_once(
    leave: Callable[[OpenAiBackend], Awaitable[None]], opening: bytes
) -> None:
    gone = trio.Event()

    async def endless(stream: trio.SocketStream, _: Received) -> None:
        await stream.send_all(opening)
        with suppress(trio.BrokenResourceError):  # closed with unread bytes
            assert await stream.receive_some() == b""
        gone.set()

    async with backend_for(endless) as (backend, _):
        with trio.fail_after(5):
            await leave(backend)
        with trio.fail_after(0.5):
            await gone.wait()


async def test_cancelling_before_any_response_closes_the_connection() -> None:
    asked, gone = trio.Event(), trio.Event()

    async def silent(stream: trio.SocketStream, _: Received) -> None:
        asked.set()
        await stream.receive_some()
        gone.set()

    async with backend_for(silent) as (backend, _), trio.open_nursery() as nursery:
        nursery.start_soon(listen, backend)
        await asked.wait()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True), trio.fail_after(0.5):
            await gone.wait()
