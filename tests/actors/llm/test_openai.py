"""The OpenAI backend against servers that play every dialect and every failure, over real sockets."""

import json
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors.llm.answer import FAREWELL_TIMEOUT_S
from actors.llm.backend import Chunk, Finished, LlmBackend, LlmRequest, Message, Prefill, TextChunk, ThinkingChunk
from actors.llm.openai import OpenAiBackend
from protocol.errors import HatcheryError, LlmFailed, LlmUnavailable
from tests.helpers.scripted_http import (
    Answer,
    Received,
    ScriptedServer,
    as_chunk,
    head_of,
    refuse,
    scripted_server,
    send,
    send_body,
    then_reset,
)

KEY = "sk-very-secret-0123456789"
REQUEST = LlmRequest(
    messages=(Message("system", "You write personas."), Message("user", "An owl ☃")), prompt="An owl", seed=7
)
EXTRAS = {"response_format", "return_progress", "max_tokens", "temperature"}
DONE = b"data: [DONE]\n\n"


def data(value: object, **dumps: Any) -> bytes:
    return b"data: " + json.dumps(value, **dumps).encode() + b"\n\n"


def delta(finish_reason: str | None = None, **fields: str | None) -> bytes:
    return data({"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}, ensure_ascii=False)


def text(content: str) -> bytes:
    return delta(content=content)


STOP = delta("stop")
GOOD = send_body([text("Hello"), STOP, DONE])


@asynccontextmanager
async def backend_for(*answers: Answer, **options: Any) -> AsyncGenerator[tuple[OpenAiBackend, ScriptedServer], None]:
    async with scripted_server(*answers) as server:
        yield OpenAiBackend(f"{server.url}/v1", "owl-7b", **options), server


class Told:
    """All that one answer said, and the error that ended it, if any."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.error: HatcheryError | None = None

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks if isinstance(chunk, TextChunk))


async def listen(backend: LlmBackend) -> Told:
    told = Told()
    try:
        with trio.fail_after(10):
            async with backend.open_stream(REQUEST) as stream:
                async for chunk in stream:
                    told.chunks.append(chunk)
    except HatcheryError as error:
        told.error = error
    return told


async def told_by(*answers: Answer, **options: Any) -> Told:
    async with backend_for(*answers, **options) as (backend, _):
        return await listen(backend)


def failed(told: Told, kind: type[HatcheryError]) -> str:
    assert type(told.error) is kind
    return told.error.message


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


@pytest.mark.parametrize("cut", [b"", text("Hello")[:-1], text("Hello")[:-2]], ids=["whole", "half a line", "no gap"])
async def test_closing_before_any_text_may_be_tried_again(cut: bytes) -> None:
    told = await told_by(send(head_of() + delta(reasoning="Hm.") + cut))
    assert "hung up before it wrote" in failed(told, LlmUnavailable)
    assert told.chunks == [ThinkingChunk("Hm.")]


@pytest.mark.parametrize(
    "answer",
    [
        then_reset(head_of() + text("Hel")),
        then_reset(head_of(version="1.1") + as_chunk(text("Hel"))),
        send(head_of(version="1.1") + as_chunk(text("Hel"))),
        send(head_of("200 OK", "text/event-stream", "Content-Length: 9999") + text("Hel")),
        send(head_of(version="1.1") + as_chunk(text("Hel")), b"gibberish\r\n"),
    ],
    ids=["reset", "reset when chunked", "no last chunk", "shorter than announced", "broken chunk"],
)
async def test_a_connection_that_breaks_after_text_is_a_failure(answer: Answer) -> None:
    told = await told_by(answer)
    assert "broke in mid-answer" in failed(told, LlmFailed)
    assert told.chunks == [TextChunk("Hel")]


@pytest.mark.parametrize(
    "answer",
    [
        then_reset(),
        then_reset(head_of()),
        send(b""),
        send(b"HTTP/1.0 200"),
        send(b"220 mail.example.com ESMTP\r\n"),
        send(head_of(version="1.1") + b"gibberish"),
    ],
    ids=["reset", "reset after the head", "closed", "half a head", "not HTTP", "broken chunk"],
)
async def test_a_connection_that_breaks_before_text_may_be_tried_again(answer: Answer) -> None:
    told = await told_by(answer)
    assert "check that it runs and that the LLM base URL is right" in failed(told, LlmUnavailable)
    assert told.chunks == []


@pytest.mark.parametrize(("reason", "words"), [("length", "raise the LLM max_tokens"), ("content_filter", "filter")])
async def test_an_answer_cut_short_is_a_failure_after_its_text(reason: str, words: str) -> None:
    told = await told_by(send_body([text("Hel"), delta(reason, content="lo"), DONE]))
    assert words in failed(told, LlmFailed)
    assert told.chunks == [TextChunk("Hel"), TextChunk("lo")]


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


@pytest.mark.parametrize(
    "farewell",
    [
        b"",
        b": keepalive\n\n",
        b"data: gibberish\n\n",
        data({"error": "late"}),
        text("late"),
        b"data: " + b"x" * 2_000_000,
    ],
    ids=["silent", "comments", "gibberish", "error", "text", "huge"],
)
async def test_what_is_finished_stays_finished(farewell: bytes, quick_clock: MockClock) -> None:
    async def never_ending(stream: trio.SocketStream, _: Received) -> None:
        await stream.send_all(head_of() + text("Hello") + STOP)
        while True:
            await stream.send_all(farewell)
            await trio.sleep(FAREWELL_TIMEOUT_S / 3)

    told = await told_by(never_ending)
    assert told.chunks == [TextChunk("Hello"), Finished("stop")]
    assert told.error is None


# Errors in mid-stream


@pytest.mark.parametrize(
    "event",
    [
        data({"error": "out of memory"}),
        data({"error": {"message": "out of\nmemory", "code": 500}}),
        b"event: error\n" + data({"error": {"message": "out of memory"}}),
        b"event: error\n" + data({"message": "out of memory"}),
        b"event: error\ndata: out of memory\n\n",
        data({"error": {"message": "out of memory", "code": 503}}),
    ],
)
async def test_an_error_after_text_is_quoted(event: bytes) -> None:
    told = await told_by(send_body([text("Hel"), event, text("lo"), STOP, DONE]))
    assert 'broke off: "out of memory"' in failed(told, LlmFailed)
    assert told.chunks == [TextChunk("Hel")]


async def test_a_busy_server_may_say_so_in_its_stream() -> None:
    told = await told_by(send_body([data({"error": {"message": "loading", "code": 503}})]))
    assert "loading" in failed(told, LlmUnavailable)


@pytest.mark.parametrize(
    "event",
    [
        b"data: gibberish\n\n",
        b"data: 7\n\n",
        b'data: {"choices": 7}\n\n',
        b'data: {"error": ' + b"[" * 100_000 + b"\n\n",
    ],
    ids=["text", "number", "wrong type", "deep"],
)
async def test_gibberish_is_a_failure(event: bytes) -> None:
    told = await told_by(send_body([text("Hel"), event, text("lo"), STOP, DONE]))
    assert "OpenAI-compatible" in failed(told, LlmFailed)
    assert told.chunks == [TextChunk("Hel")]


async def test_a_huge_event_is_a_failure() -> None:
    told = await told_by(send_body([text("Hel"), b"data: ", *[b"x" * 100_000] * 20]))
    assert "sent too much at once" in failed(told, LlmFailed)
    assert told.chunks == [TextChunk("Hel")]


# Refusals


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_names_the_setting_and_not_the_key(status: int) -> None:
    echo = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode()
    message = failed(await told_by(refuse(f"{status} No", echo), api_key=KEY), LlmFailed)
    assert "set a valid LLM API key" in message
    assert KEY not in message


async def test_a_key_is_never_quoted() -> None:
    echo = json.dumps({"error": f"cannot route {KEY} today"}).encode()
    message = failed(await told_by(refuse("500 No", echo), api_key=KEY), LlmFailed)
    assert "cannot route … today" in message


async def test_keys_and_passwords_are_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with scripted_server(GOOD, refuse("500 No")) as server:
        for backend in (
            OpenAiBackend(f"{server.url}/v1", "owl", KEY),
            OpenAiBackend(f"http://me:{KEY}@127.0.0.1:{server.port}", "owl"),
        ):
            told = await listen(backend)
            assert KEY not in f"{told.error} {backend!r}"
    assert [request.headers["authorization"][:6] for request in server.requests] == ["Bearer", "Basic "]
    assert caplog.text
    assert KEY not in caplog.text


async def test_an_unknown_model() -> None:
    body = json.dumps({"error": {"message": "model owl-7b not found, try pulling it first"}}).encode()
    message = failed(await told_by(refuse("404 Not Found", body)), LlmFailed)
    assert "does not find model 'owl-7b'" in message
    assert "try pulling it first" in message
    assert "set the LLM model" in message


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_busy_server_may_be_tried_again(status: int) -> None:
    told = await told_by(refuse(f"{status} Busy", b"<html><h1>Busy</h1></html>", "Retry-After: 2.5"))
    message = failed(told, LlmUnavailable)
    assert f"(HTTP {status})" in message
    assert told.error is not None
    assert told.error.retry_after_ms == 2500


@pytest.mark.parametrize(
    "body",
    [
        b"no luck",
        b'{"error": "no luck"}',
        b'{"error": {"message": "no luck"}}',
        b'{"object": "error", "message": "no luck"}',
        b'{"detail": "no luck"}',
        b'{"detail": [{"loc": ["body"], "msg": "no luck"}]}',
    ],
)
async def test_other_statuses_quote_the_server(body: bytes) -> None:
    assert '(HTTP 500: "no luck")' in failed(await told_by(refuse("500 No", body)), LlmFailed)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"error": null}', b"<!doctype html>", b'{"error":' * 20_000])
async def test_a_refusal_without_words(body: bytes) -> None:
    message = failed(await told_by(refuse("500 No", body)), LlmFailed)
    assert "(HTTP 500" in message
    assert len(message) < 600


async def test_a_long_or_stuck_error_body_is_cut(quick_clock: MockClock) -> None:
    async def stuck(stream: trio.SocketStream, _: Received) -> None:
        await stream.send_all(head_of("500 No", "text/plain") + b"so sorry " * 1000)
        await trio.sleep_forever()

    message = failed(await told_by(stuck), LlmFailed)
    assert "so sorry so sorry" in message
    assert len(message) < 600


async def test_a_redirect_is_not_followed() -> None:
    async with backend_for(refuse("307 Moved", b"", "Location: http://127.0.0.1:9/v1"), api_key=KEY) as (
        backend,
        server,
    ):
        assert "redirects" in failed(await listen(backend), LlmFailed)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("media_type", "body"), [("text/html", b"<html>Welcome!</html>"), ("application/json", b'{"error": "no streams"}')]
)
async def test_success_without_a_stream_is_a_failure(media_type: str, body: bytes) -> None:
    message = failed(await told_by(refuse("200 OK", body, media_type=media_type)), LlmFailed)
    assert f"answered with {media_type}" in message
    assert "base URL" in message
    assert ("no streams" in message) == (media_type == "application/json")


# No connection


async def test_nobody_listens() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        backend = OpenAiBackend(f"http://127.0.0.1:{reserved.getsockname()[1]}/v1", "owl")
        assert "ConnectError" in failed(await listen(backend), LlmUnavailable)


async def test_connecting_is_bounded(quick_clock: MockClock) -> None:
    """A TLS handshake that nobody answers is part of connecting."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        backend = OpenAiBackend(f"https://127.0.0.1:{silent.getsockname()[1]}/v1", "owl", connect_timeout_s=5)
        assert "ConnectTimeout" in failed(await listen(backend), LlmUnavailable)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http://[::1", "/v1"])
def test_a_malformed_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="base URL must look like"):
        OpenAiBackend(url, "owl")


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel"])
def test_a_malformed_key_is_refused_unquoted(key: str) -> None:
    with pytest.raises(ValueError, match="API key") as refused:
        OpenAiBackend("http://127.0.0.1", "owl", key)
    assert key not in str(refused.value)


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
