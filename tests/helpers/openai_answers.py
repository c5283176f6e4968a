"""What a server of OpenAI's dialect may answer, byte by byte, and what the backend tells of it."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from actors.llm.backend import Chunk, LlmBackend, LlmRequest, Message, TextChunk
from actors.llm.openai import OpenAiBackend
from protocol.errors import HatcheryError
from tests.helpers.scripted_http import (
    Answer,
    ScriptedServer,
    scripted_server,
    send_body,
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
