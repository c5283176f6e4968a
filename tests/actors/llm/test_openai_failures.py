"""Answers of OpenAI's dialect that fail: what is told of them, and whether they may be asked for again."""

import json
import logging
import socket

import pytest
import trio
from trio.testing import MockClock

from actors.llm.answer import FAREWELL_TIMEOUT_S
from actors.llm.backend import Finished, TextChunk, ThinkingChunk
from actors.llm.openai import OpenAiBackend
from protocol.errors import LlmFailed, LlmUnavailable
from tests.helpers.openai_answers import DONE, GOOD, KEY, STOP, backend_for, data, delta, failed, listen, text, told_by
from tests.helpers.scripted_http import (
    Answer,
    Received,
    as_chunk,
    head_of,
    refuse,
    scripted_server,
    send,
    send_body,
    then_reset,
)


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
