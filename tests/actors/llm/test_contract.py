"""What every dialect's backend promises, over real sockets: the same cases, each said in the dialect's own bytes."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import trio

from actors.llm.anthropic import AnthropicBackend
from actors.llm.backend import Chunk, Finished, LlmBackend, LlmRequest, Message, TextChunk, ThinkingChunk
from actors.llm.ollama import OllamaBackend
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
    then_reset,
)

KEY = "sk-very-secret-0123456789"
REQUEST = LlmRequest(messages=(Message("system", "You write."), Message("user", "An owl ☃")), prompt="An owl")


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How one dialect says what all of them can say."""

    backend: Callable[..., LlmBackend]
    target: str
    stream_type: str
    opening: bytes
    text: Callable[[str], bytes]
    thought: Callable[[str], bytes]
    end: Callable[[str], bytes]
    stop: str
    cut: str
    failure: Callable[[str], bytes]
    refusal: Callable[[str], bytes]
    schema_refusal: tuple[str, bytes]
    schema_name: str
    thinking: dict[bool, dict[str, Any]]
    thinking_refusals: list[bytes]

    def head(self, status: str = "200 OK", version: str = "1.0") -> bytes:
        return head_of(status, self.stream_type, version=version)

    def stream(self, *pieces: bytes) -> Answer:
        return send(self.head(), self.opening, *pieces)

    @property
    def good(self) -> Answer:
        return self.stream(self.text("Hello"), self.end(self.stop))


def event(value: dict[str, Any]) -> bytes:
    data = b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
    return b"event: " + value["type"].encode() + b"\n" + data if "type" in value else data


def line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def openai_delta(finish_reason: str | None = None, **delta: str) -> bytes:
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


OPENAI = Dialect(
    backend=OpenAiBackend,
    target="/v1/chat/completions",
    stream_type="text/event-stream",
    opening=openai_delta(role="assistant"),
    text=lambda text: openai_delta(content=text),
    thought=lambda text: openai_delta(reasoning_content=text),
    end=lambda reason: openai_delta(reason) + b"data: [DONE]\n\n",
    stop="stop",
    cut="length",
    failure=lambda words: event({"error": {"message": words}}),
    refusal=lambda words: line({"error": {"message": words}}),
    schema_refusal=("400 Bad Request", line({"error": {"message": "response_format is not supported"}})),
    schema_name="response_format",
    thinking={
        think: {
            "reasoning_effort": "medium" if think else "none",
            "chat_template_kwargs": {"enable_thinking": think, "thinking": think},
        }
        for think in (True, False)
    },
    thinking_refusals=[
        line({"error": {"message": "Unrecognized request argument supplied: chat_template_kwargs"}}),
        line({"error": {"message": "Unsupported parameter: 'reasoning_effort' is not supported with this model."}}),
    ],
)


def ollama_line(*, done: bool = False, **fields: Any) -> bytes:
    return line({"model": "owl-7b", "created_at": "2026-01-01T00:00:00.1Z", **fields, "done": done})


OLLAMA = Dialect(
    backend=OllamaBackend,
    target="/api/chat",
    stream_type="application/x-ndjson",
    opening=ollama_line(message={"role": "assistant", "content": ""}),
    text=lambda text: ollama_line(message={"role": "assistant", "content": text}),
    thought=lambda text: ollama_line(message={"role": "assistant", "content": "", "thinking": text}),
    end=lambda reason: ollama_line(message={"role": "assistant", "content": ""}, done_reason=reason, done=True),
    stop="stop",
    cut="length",
    failure=lambda words: line({"error": words}),
    refusal=lambda words: line({"error": words}),
    schema_refusal=("500 Internal Server Error", line({"error": "invalid JSON schema in format"})),
    schema_name="format",
    thinking={think: {"think": think} for think in (True, False)},
    thinking_refusals=[line({"error": '"owl:7b" does not support thinking'})],
)


def block_delta(kind: str, **fields: str) -> bytes:
    return event({"type": "content_block_delta", "index": 0, "delta": {"type": kind, **fields}})


ANTHROPIC = Dialect(
    backend=AnthropicBackend,
    target="/v1/messages",
    stream_type="text/event-stream",
    opening=event({"type": "message_start", "message": {"id": "msg_1", "content": [], "stop_reason": None}})
    + event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    + event({"type": "ping"})
    + event({"type": "something_new", "delta": {"type": "unheard_of"}}),
    text=lambda text: block_delta("text_delta", text=text),
    thought=lambda text: block_delta("thinking_delta", thinking=text) + block_delta("signature_delta", signature="x"),
    end=lambda reason: (
        event({"type": "content_block_stop", "index": 0})
        + event({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}})
        + event({"type": "message_stop"})
    ),
    stop="end_turn",
    cut="max_tokens",
    failure=lambda words: event({"type": "error", "error": {"type": "api_error", "message": words}}),
    refusal=lambda words: line({"type": "error", "error": {"type": "some_error", "message": words}}),
    schema_refusal=(
        "400 Bad Request",
        line({"type": "error", "error": {"type": "invalid_request_error", "message": "output_config: not permitted"}}),
    ),
    schema_name="output_config",
    thinking={True: {"thinking": {"type": "adaptive"}}, False: {"thinking": {"type": "disabled"}}},
    thinking_refusals=[line({"type": "error", "error": {"message": "thinking.type: this model does not know it"}})],
)


@pytest.fixture(params=[OPENAI, OLLAMA, ANTHROPIC], ids=["openai", "ollama", "anthropic"])
def dialect(request: pytest.FixtureRequest) -> Dialect:
    found: Dialect = request.param
    return found


@asynccontextmanager
async def asked(dialect: Dialect, *answers: Answer) -> AsyncGenerator[tuple[LlmBackend, ScriptedServer], None]:
    async with scripted_server(*answers) as server:
        yield dialect.backend(server.url, "owl-7b", KEY), server


async def listen(backend: LlmBackend) -> tuple[list[Chunk], HatcheryError | None]:
    """All that one answer said, and the error that ended it, if any."""
    chunks: list[Chunk] = []
    error: HatcheryError | None = None
    try:
        with trio.fail_after(10):
            async with backend.open_stream(REQUEST) as stream:
                async for chunk in stream:
                    chunks += [chunk]
    except HatcheryError as raised:
        error = raised
    assert KEY not in repr(error)
    return chunks, error


async def told_by(dialect: Dialect, *answers: Answer) -> tuple[list[Chunk], HatcheryError | None]:
    async with asked(dialect, *answers) as (backend, _):
        return await listen(backend)


async def test_the_request(dialect: Dialect) -> None:
    async with asked(dialect, dialect.good) as (backend, server):
        await listen(backend)
    (request,) = server.requests
    assert request.target == dialect.target
    assert request.json["model"] == "owl-7b"
    assert request.json["stream"] is True
    assert {"role": "user", "content": "An owl ☃"} in request.json["messages"]
    assert "An owl" in request.body.decode()
    assert '"additionalProperties":false' in json.dumps(request.json[dialect.schema_name]).replace(" ", "")


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
async def test_base_urls_as_people_copy_them(dialect: Dialect, ending: str) -> None:
    async with scripted_server(dialect.good) as server:
        assert await listen(dialect.backend(server.url + ending, "owl")) == (
            [TextChunk("Hello"), Finished(dialect.stop)],
            None,
        )
    assert server.requests[0].target == dialect.target


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_answer_comes_in_pieces_split_anywhere(dialect: Dialect, version: str) -> None:
    story = 'Ünï\u2028cöde\x85 "🦉"\x0b'
    stream = dialect.opening + dialect.text(story) + dialect.text("!") + dialect.end(dialect.stop)
    pieces = [bytes([byte]) for byte in stream]
    framed = [*map(as_chunk, pieces), as_chunk(b"")] if version == "1.1" else pieces
    chunks, error = await told_by(dialect, send(dialect.head(version=version), *framed))
    assert chunks == [TextChunk(story), TextChunk("!"), Finished(dialect.stop)]
    assert error is None


async def test_pieces_are_told_as_they_come(dialect: Dialect) -> None:
    heard = trio.Event()

    async def answer(stream: trio.SocketStream, _: Received) -> None:
        await stream.send_all(dialect.head() + dialect.opening + dialect.text("Hel"))
        with trio.fail_after(5):
            await heard.wait()
        await stream.send_all(dialect.text("lo") + dialect.end(dialect.stop))

    async with asked(dialect, answer) as (backend, _), backend.open_stream(REQUEST) as stream:
        assert await anext(stream) == TextChunk("Hel")
        heard.set()
        assert [chunk async for chunk in stream] == [TextChunk("lo"), Finished(dialect.stop)]


async def test_thinking_is_kept_apart(dialect: Dialect) -> None:
    chunks, _ = await told_by(
        dialect, dialect.stream(dialect.thought("Hm."), dialect.text("Hi"), dialect.end(dialect.stop))
    )
    assert chunks == [ThinkingChunk("Hm."), TextChunk("Hi"), Finished(dialect.stop)]


def cuts(stream: bytes) -> list[int]:
    """Before, at and after the end of each line, and in the middle of it."""
    ends = [at + 1 for at, byte in enumerate(stream) if byte == ord("\n")]
    middles = [(begin + end) // 2 for begin, end in pairwise([0, *ends])]
    around = [end + by for end in ends for by in (-1, 0, 1)]
    return sorted({length for length in (0, *middles, *around) if length < len(stream)})


async def test_cut_off_is_never_finished(dialect: Dialect) -> None:
    whole = dialect.text("Hello") + dialect.end(dialect.stop)
    for length in cuts(whole):
        chunks, error = await told_by(dialect, dialect.stream(whole[:length]))
        if TextChunk("Hello") in chunks:
            assert error is None
        else:
            assert isinstance(error, LlmUnavailable), "nothing was shown, so it may be tried again"
        if Finished(dialect.stop) in chunks:
            assert dialect.stop.encode() in whole[:length]
    chunks, _ = await told_by(dialect, dialect.stream(dialect.text("Hello")))
    assert chunks == [TextChunk("Hello")]


async def test_a_connection_that_breaks_in_mid_answer_is_a_failure(dialect: Dialect) -> None:
    chunks, error = await told_by(dialect, then_reset(dialect.head() + dialect.opening + dialect.text("Hel")))
    assert chunks == [TextChunk("Hel")]
    assert isinstance(error, LlmFailed)
    assert "broke in mid-answer" in error.message


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Unavailable", "529 Overloaded"])
async def test_a_busy_server_may_be_tried_again_when_it_says(dialect: Dialect, status: str) -> None:
    chunks, error = await told_by(dialect, refuse(status, dialect.refusal("too many owls"), "Retry-After: 3"))
    assert chunks == []
    assert isinstance(error, LlmUnavailable)
    assert error.retry_after_ms == 3000
    assert "too many owls" in error.message


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_refused_key_names_the_setting_and_not_the_key(dialect: Dialect, status: str) -> None:
    _, error = await told_by(dialect, refuse(status, dialect.refusal(f"bad key {KEY}")))
    assert isinstance(error, LlmFailed)
    assert "set a valid LLM API key" in error.message


async def test_a_key_that_a_server_repeats_is_not_quoted(dialect: Dialect) -> None:
    for answer in (
        refuse("418 Teapot", dialect.refusal(f"no tea for {KEY} today")),
        dialect.stream(dialect.failure(f"no tea for {KEY} today")),
    ):
        _, error = await told_by(dialect, answer)
        assert isinstance(error, LlmFailed)
        assert "no tea for … today" in error.message


async def test_a_missing_model_is_named_with_its_remedy(dialect: Dialect) -> None:
    _, error = await told_by(dialect, refuse("404 Not Found", dialect.refusal("no such owl")))
    assert isinstance(error, LlmFailed)
    assert "'owl-7b'" in error.message
    assert "no such owl" in error.message
    assert "set the LLM model" in error.message


async def test_an_error_in_mid_stream_comes_after_the_text(dialect: Dialect) -> None:
    chunks, error = await told_by(
        dialect, dialect.stream(dialect.text("Hel"), dialect.failure("out of memory"), dialect.text("lo"))
    )
    assert chunks == [TextChunk("Hel")]
    assert isinstance(error, LlmFailed)
    assert 'broke off: "out of memory"' in error.message


async def test_a_limit_of_tokens_is_a_failure_after_the_text(dialect: Dialect) -> None:
    chunks, error = await told_by(dialect, dialect.stream(dialect.text("Hel"), dialect.end(dialect.cut)))
    assert chunks == [TextChunk("Hel")]
    assert isinstance(error, LlmFailed)
    assert "raise the LLM max_tokens" in error.message


@pytest.mark.parametrize("gibberish", ["Hello!", "[1, 2]", '{"type": 7, "message": 7, "choices": 7}', "[" * 100_000])
async def test_another_dialect_is_a_failure(dialect: Dialect, gibberish: str) -> None:
    said = gibberish.encode() + b"\n" if dialect is OLLAMA else b"data: " + gibberish.encode() + b"\n\n"
    chunks, error = await told_by(dialect, dialect.stream(dialect.text("Hel"), said))
    assert chunks == [TextChunk("Hel")]
    assert isinstance(error, LlmFailed)
    assert "check that the LLM base URL is that of" in error.message


async def test_a_web_page_is_a_failure(dialect: Dialect) -> None:
    _, error = await told_by(dialect, refuse("200 OK", b"<html>Welcome!</html>", media_type="text/html"))
    assert isinstance(error, LlmFailed)
    assert "answered with text/html" in error.message


async def test_too_much_at_once_is_a_failure(dialect: Dialect) -> None:
    _, error = await told_by(dialect, dialect.stream(b"data: " + b"x" * 2_000_000))
    assert isinstance(error, LlmFailed)
    assert "sent too much at once" in error.message


async def test_a_refused_schema_is_left_out_from_then_on(dialect: Dialect) -> None:
    refusal = refuse(*dialect.schema_refusal)
    async with asked(dialect, refusal, dialect.good) as (backend, server):
        for _ in range(2):
            assert await listen(backend) == ([TextChunk("Hello"), Finished(dialect.stop)], None)
    assert [dialect.schema_name in request.json for request in server.requests] == [True, False, False]


def thinking_in(dialect: Dialect, request: Received) -> dict[str, Any]:
    return {name: request.json[name] for name in dialect.thinking[True] if name in request.json}


async def test_whether_a_model_thinks_is_left_to_the_server_unless_it_is_said(dialect: Dialect) -> None:
    async with scripted_server(dialect.good) as server:
        for think in (None, True, False):
            await listen(dialect.backend(server.url, "owl-7b", think=think))
    told = [thinking_in(dialect, request) for request in server.requests]
    assert told == [{}, dialect.thinking[True], dialect.thinking[False]]


@pytest.mark.parametrize("think", [True, False])
async def test_a_server_that_cannot_be_told_to_think_is_asked_without_from_then_on(
    dialect: Dialect, think: bool
) -> None:
    refusals = [refuse("400 Bad Request", refusal) for refusal in dialect.thinking_refusals]
    async with scripted_server(*refusals, dialect.good) as server:
        backend = dialect.backend(server.url, "owl-7b", think=think)
        for _ in range(2):
            assert await listen(backend) == ([TextChunk("Hello"), Finished(dialect.stop)], None)
    assert thinking_in(dialect, server.requests[0]) == dialect.thinking[think]
    assert [thinking_in(dialect, request) for request in server.requests[-2:]] == [{}, {}]
    assert len(server.requests) == len(refusals) + 2
    assert dialect.schema_name in server.requests[-1].json, "only what is refused is left out"


async def test_a_failure_that_is_not_about_the_schema_is_told_at_once(dialect: Dialect) -> None:
    async with asked(dialect, refuse("500 Oh No", dialect.refusal("out of memory"))) as (backend, server):
        _, error = await listen(backend)
    assert isinstance(error, LlmFailed)
    assert len(server.requests) == 1


async def test_cancelling_closes_the_connection_at_once(dialect: Dialect) -> None:
    gone = trio.Event()

    async def endless(stream: trio.SocketStream, _: Received) -> None:
        await stream.send_all(dialect.head() + dialect.opening + dialect.text("a") * 3)
        with suppress(trio.BrokenResourceError):  # closed with unread bytes
            assert await stream.receive_some() == b""
        gone.set()

    async with asked(dialect, endless) as (backend, _):
        with trio.CancelScope() as scope:
            async with backend.open_stream(REQUEST) as stream:
                async for _chunk in stream:
                    scope.cancel()
        assert scope.cancelled_caught
        with trio.fail_after(0.5):
            await gone.wait()


async def test_a_slow_first_byte_can_be_cancelled(dialect: Dialect) -> None:
    was_asked, gone = trio.Event(), trio.Event()

    async def silent(stream: trio.SocketStream, _: Received) -> None:
        was_asked.set()
        await stream.receive_some()
        gone.set()

    async with asked(dialect, silent) as (backend, _), trio.open_nursery() as nursery:
        nursery.start_soon(listen, backend)
        await was_asked.wait()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True), trio.fail_after(0.5):
            await gone.wait()
