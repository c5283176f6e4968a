"""What Ollama's dialect has of its own; what all have in common is in test_contract."""

import json
from typing import Any

import pytest
import trio

from actors.llm.backend import Chunk, Finished, LlmRequest, Message, TextChunk
from actors.llm.ollama import OllamaBackend
from protocol.errors import LlmFailed
from tests.helpers.scripted_http import Answer, Received, head_of, refuse, scripted_server, send

REQUEST = LlmRequest(messages=(Message("system", "You write."), Message("user", "An owl")), prompt="An owl")


def lines(*values: dict[str, Any]) -> Answer:
    body = b"".join(json.dumps(value).encode() + b"\n" for value in values)
    return send(head_of("200 OK", "application/x-ndjson") + body)


HELLO = {"message": {"role": "assistant", "content": "Hello"}, "done": False}
DONE = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}


async def collect(backend: OllamaBackend) -> list[Chunk]:
    with trio.fail_after(10):
        async with backend.open_stream(REQUEST) as stream:
            return [chunk async for chunk in stream]


async def test_the_request() -> None:
    async with scripted_server(lines(HELLO, DONE)) as server:
        await collect(OllamaBackend(server.url, "owl:7b", max_tokens=900, temperature=0.3))
    (request,) = server.requests
    body = request.json
    schema = body.pop("format")
    assert body == {
        "model": "owl:7b",
        "stream": True,
        "messages": [{"role": "system", "content": "You write."}, {"role": "user", "content": "An owl"}],
        "options": {"num_predict": 900, "temperature": 0.3},
    }, "how long a model stays loaded, and whether it thinks, is not ours to say unasked"
    assert "authorization" not in request.headers
    assert schema["properties"]["name"]["maxLength"] == 60
    assert "maxLength" not in schema["properties"]["system_prompt"], "llama.cpp refuses 2000"


async def test_the_last_line_says_how_long_loading_and_reading_took() -> None:
    last = {
        **DONE,
        "total_duration": 9_000_000_000,
        "load_duration": 2_500_000_000,
        "prompt_eval_duration": 750_000_000,
    }
    async with scripted_server(lines(HELLO, last)) as server:
        chunks = await collect(OllamaBackend(server.url, "owl:7b"))
    assert chunks[-1] == Finished("stop", load_s=2.5, prompt_s=0.75)


async def test_the_last_line_may_hold_text_and_no_reason() -> None:
    async with scripted_server(lines({**HELLO, "done": True})) as server:
        assert await collect(OllamaBackend(server.url, "owl:7b")) == [TextChunk("Hello"), Finished("stop")]


async def test_nothing_is_waited_for_after_the_last_line() -> None:
    async def never_closes(stream: trio.SocketStream, request: Received) -> None:
        await lines(HELLO, DONE)(stream, request)
        await trio.sleep_forever()

    async with scripted_server(never_closes) as server:
        with trio.fail_after(0.5):
            assert (await collect(OllamaBackend(server.url, "owl:7b")))[-1] == Finished("stop")


async def test_a_missing_model_names_the_command_that_gets_it() -> None:
    async with scripted_server(refuse("404 Not Found", b'{"error": "model \'owl:7b\' not found"}')) as server:
        with pytest.raises(LlmFailed, match=r"run `ollama pull owl:7b`"):
            await collect(OllamaBackend(server.url, "owl:7b"))


async def test_a_model_that_does_not_fit_is_told_in_ollamas_words() -> None:
    words = "model requires more system memory (8.0 GiB) than is available (3.0 GiB)"
    answer = refuse("500 Internal Server Error", json.dumps({"error": words}).encode())
    async with scripted_server(answer) as server:
        with pytest.raises(LlmFailed, match="more system memory"):
            await collect(OllamaBackend(server.url, "owl:7b"))
    assert len(server.requests) == 1
