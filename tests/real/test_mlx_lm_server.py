"""The real `mlx_lm.server`, with a tiny model, seen through the OpenAI backend."""

import itertools
from contextlib import suppress
from pathlib import Path

import httpx2
import msgspec
import pytest
import trio

from actors.llm.backend import Chunk, Finished, LlmBackend, LlmRequest, Message, Prefill, TextChunk
from actors.llm.detect import DetectedLlm, detect_llm
from actors.llm.openai import OpenAiBackend
from protocol.errors import LlmFailed
from protocol.persona import validate_persona
from tests.helpers.tiny_mlx_lm import PERSONA, PERSONA_TEXT, SLOW_LAYERS, mlx_lm_server, tiny_model

MODEL = "default_model"
REQUEST = LlmRequest(
    messages=(Message("system", "You write personas. " * 5), Message("user", "A clockwork owl.")),
    prompt="A clockwork owl.",
)
FREED_S = 5.0
"""A slow token takes 0.02 s, and the server notices a closed connection when it sends the next one."""


@pytest.fixture(scope="module")
def quick_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="module")
def endless_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("endless"), layers=SLOW_LAYERS, endless=True)


def endless_backend(url: str) -> OpenAiBackend:
    return OpenAiBackend(url, MODEL, max_tokens=60_000)


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, TextChunk))


async def collect(backend: LlmBackend) -> list[Chunk]:
    async with backend.open_stream(REQUEST) as stream:
        return [chunk async for chunk in stream]


async def first_text(backend: OpenAiBackend) -> None:
    async with backend.open_stream(REQUEST) as stream:
        async for chunk in stream:
            if isinstance(chunk, TextChunk):
                return


async def test_a_persona_streams_after_the_prompt_is_read(quick_model: Path) -> None:
    async with mlx_lm_server(quick_model, "--prefill-step-size=32") as server:
        chunks = await collect(OpenAiBackend(server.url, MODEL))

    assert text_of(chunks) == PERSONA_TEXT
    assert validate_persona(msgspec.json.decode(text_of(chunks))) == PERSONA
    assert chunks[-1] == Finished("stop")
    assert len([chunk for chunk in chunks if isinstance(chunk, TextChunk)]) > 100
    read = [chunk for chunk in chunks if isinstance(chunk, Prefill)]
    assert chunks[: len(read)] == read
    assert len({step.done for step in read}) > 2
    assert [step.done for step in read] == sorted(step.done for step in read)
    assert read[-1].done == read[-1].total


async def test_text_arrives_while_the_model_still_writes(endless_model: Path) -> None:
    arrivals: list[float] = []
    async with (
        mlx_lm_server(endless_model) as server,
        endless_backend(server.url).open_stream(REQUEST) as stream,
    ):
        async for chunk in stream:
            if isinstance(chunk, TextChunk):
                arrivals.append(trio.current_time())
            if len(arrivals) == 50:
                break
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert sorted(gaps)[len(gaps) // 2] > 0.002, "a token takes longer than that, so the pieces came in bulk"


async def test_leaving_stops_the_generation(endless_model: Path) -> None:
    """A server that decodes one answer at a time starts the next one only if the endless one has stopped."""
    async with mlx_lm_server(endless_model, "--decode-concurrency=1", "--prompt-concurrency=1") as server:
        backend = endless_backend(server.url)
        async with backend.open_stream(REQUEST) as stream:
            await anext(stream)
            with trio.move_on_after(1.0) as waiting:
                await first_text(backend)
            assert waiting.cancelled_caught, "the server decodes two answers at once, so this test can show nothing"

        with trio.fail_after(FREED_S):
            await first_text(backend)

        with trio.move_on_after(0.5) as cancelled:
            await collect(backend)
        assert cancelled.cancelled_caught
        with trio.fail_after(FREED_S):
            await first_text(backend)


async def test_a_killed_server_never_looks_finished(endless_model: Path) -> None:
    chunks: list[Chunk] = []
    async with mlx_lm_server(endless_model) as server, endless_backend(server.url).open_stream(REQUEST) as stream:
        with suppress(LlmFailed):
            async for chunk in stream:
                chunks.append(chunk)
                if len(text_of(chunks)) > 20:
                    server.process.kill()
    assert len(text_of(chunks)) > 20
    assert not any(isinstance(chunk, Finished) for chunk in chunks)


async def test_refusals_and_limits(quick_model: Path) -> None:
    async with mlx_lm_server(quick_model) as server:
        with pytest.raises(LlmFailed, match=r"does not find model 'no/such-model'.*set the LLM model"):
            await collect(OpenAiBackend(server.url, "no/such-model"))

        with pytest.raises(LlmFailed, match="max_tokens"):
            await collect(OpenAiBackend(server.url, MODEL, max_tokens=5))

        assert text_of(await collect(OpenAiBackend(server.url, MODEL))) == PERSONA_TEXT


async def test_detection_finds_it(quick_model: Path) -> None:
    async with mlx_lm_server(quick_model) as server:
        port = httpx2.URL(server.url).port
        assert port is not None
        assert await detect_llm((port,)) == DetectedLlm(server.url, MODEL)
