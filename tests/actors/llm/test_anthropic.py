"""What Anthropic's dialect has of its own; what all have in common is in test_contract."""

import json
import logging
from typing import Any

import pytest
import trio

from actors.llm.anthropic import AnthropicBackend
from actors.llm.backend import Chunk, Finished, LlmRequest, Message, TextChunk
from protocol.errors import LlmFailed, LlmUnavailable
from tests.helpers.scripted_http import Answer, head_of, refuse, scripted_server, send

KEY = "sk-ant-very-secret-0123456789"
REQUEST = LlmRequest(
    messages=(
        Message("system", "You write."),
        Message("user", "An owl"),
        Message("assistant", "{}"),
        Message("user", "Again"),
    ),
    prompt="An owl",
)
BOUNDS = ("minLength", "maxLength", "minItems", "maxItems")


def events(*values: dict[str, Any]) -> Answer:
    body = "".join(f"event: {value['type']}\ndata: {json.dumps(value)}\n\n" for value in values)
    return send(head_of() + body.encode())


def text(words: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": words}}


def end(reason: str) -> list[dict[str, Any]]:
    return [{"type": "message_delta", "delta": {"stop_reason": reason}}, {"type": "message_stop"}]


def error(kind: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": "Overloaded"}}


GOOD = events(text("Hello"), *end("end_turn"))


async def collect(backend: AnthropicBackend) -> list[Chunk]:
    with trio.fail_after(10):
        async with backend.open_stream(REQUEST) as stream:
            return [chunk async for chunk in stream]


async def test_the_request() -> None:
    async with scripted_server(GOOD) as server:
        await collect(AnthropicBackend(server.url, "claude", KEY, max_tokens=900, temperature=0.3))
    (request,) = server.requests
    assert request.target == "/v1/messages"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in request.headers
    body = request.json
    form = body.pop("output_config")["format"]
    assert body == {
        "model": "claude",
        "max_tokens": 900,
        "temperature": 0.3,
        "stream": True,
        "system": "You write.",
        "messages": [
            {"role": "user", "content": "An owl"},
            {"role": "assistant", "content": "{}"},
            {"role": "user", "content": "Again"},
        ],
    }
    assert form["type"] == "json_schema"
    assert form["schema"]["additionalProperties"] is False
    assert form["schema"]["required"] == list(form["schema"]["properties"])
    assert form["schema"]["properties"]["palette"]["items"]["pattern"]
    assert not any(bound in json.dumps(form) for bound in BOUNDS), "refused with 400"


async def test_the_key_is_in_no_message_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = json.dumps({"error": {"type": "api_error", "message": f"cannot route {KEY}"}}).encode()
    async with scripted_server(refuse("500 No", echo), refuse("401 No", echo)) as server:
        backend = AnthropicBackend(server.url, "claude", KEY)
        for _ in range(2):
            with pytest.raises(LlmFailed) as failed:
                await collect(backend)
            assert KEY not in f"{failed.value!r} {backend!r}"
    assert caplog.text
    assert KEY not in caplog.text


async def test_a_model_without_temperature_is_asked_without() -> None:
    words = "`temperature` is deprecated for this model."
    refusal = refuse("400 Bad Request", json.dumps({"error": {"message": words}}).encode())
    async with scripted_server(refusal, GOOD) as server:
        assert await collect(AnthropicBackend(server.url, "claude", KEY)) == [TextChunk("Hello"), Finished("end_turn")]
    assert "temperature" not in server.requests[1].json
    assert "output_config" in server.requests[1].json


async def test_a_model_that_thinks_has_its_own_temperature() -> None:
    async with scripted_server(GOOD) as server:
        await collect(AnthropicBackend(server.url, "claude", KEY, think=True, temperature=0.3))
    assert "temperature" not in server.requests[0].json, "refused with 400"


@pytest.mark.parametrize("kind", ["overloaded_error", "rate_limit_error", "timeout_error"])
async def test_a_busy_server_may_say_so_in_its_stream(kind: str) -> None:
    async with scripted_server(events({"type": "ping"}, error(kind))) as server:
        with pytest.raises(LlmUnavailable, match="Overloaded"):
            await collect(AnthropicBackend(server.url, "claude", KEY))


@pytest.mark.parametrize("before", [[text("Hel"), error("overloaded_error")], [error("api_error")]])
async def test_other_errors_in_its_stream_are_failures(before: list[dict[str, Any]]) -> None:
    async with scripted_server(events(*before)) as server:
        with pytest.raises(LlmFailed, match="Overloaded"):
            await collect(AnthropicBackend(server.url, "claude", KEY))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("max_tokens", "raise the LLM max_tokens"),
        ("model_context_window_exceeded", "context length"),
        ("refusal", "write another prompt"),
    ],
)
async def test_reasons_that_are_failures(reason: str, words: str) -> None:
    async with scripted_server(events(text("Hel"), *end(reason))) as server:
        with pytest.raises(LlmFailed, match=words):
            await collect(AnthropicBackend(server.url, "claude", KEY))


async def test_an_answer_without_its_last_event_but_with_a_reason_is_finished() -> None:
    async with scripted_server(events(text("Hello"), *end("end_turn")[:1])) as server:
        assert (await collect(AnthropicBackend(server.url, "claude", KEY)))[-1] == Finished("end_turn")
