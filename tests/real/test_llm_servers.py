"""Real servers, `mlx_lm.server` and llama.cpp's, with tiny models, seen through the OpenAI backend."""

import itertools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
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
from tests.helpers.real_llm import PERSONA, PERSONA_TEXT, UNENDED_TEXT, RealLlm
from tests.helpers.tiny_llama_cpp import CONTEXT_TOKENS, MODEL, SLOW_WIDTH, llama_server, tiny_gguf
from tests.helpers.tiny_mlx_lm import SLOW_LAYERS, mlx_lm_server, tiny_model

REQUEST = LlmRequest(
    messages=(Message("system", "You write personas. " * 5), Message("user", "A clockwork owl.")),
    prompt="A clockwork owl.",
)
LONG = "An owl as long as the night. " * 700
FREED_S = 5.0
"""A slow token takes 0.02 s, and the server notices a closed connection when it sends the next one."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One server: its two models, how it is run so that it writes one answer at a time, what it calls its model,
    and how often at least it tells how much of the prompt it has read."""

    quick: Callable[[Path], Path]
    endless: Callable[[Path], Path]
    serve: Callable[[Path], AbstractAsyncContextManager[RealLlm]]
    model: str
    told_reading: int


MLX_LM = Kind(
    quick=tiny_model,
    endless=lambda directory: tiny_model(directory, layers=SLOW_LAYERS, endless=True),
    serve=lambda model: mlx_lm_server(
        model, "--prefill-step-size=32", "--decode-concurrency=1", "--prompt-concurrency=1"
    ),
    model="default_model",
    told_reading=3,
)
LLAMA_CPP = Kind(
    quick=tiny_gguf,
    endless=lambda directory: tiny_gguf(directory, UNENDED_TEXT, width=SLOW_WIDTH, endless=True),
    serve=llama_server,
    model=MODEL,
    told_reading=2,
)


@pytest.fixture(scope="module", params=[MLX_LM, LLAMA_CPP], ids=["mlx_lm", "llama_cpp"])
def kind(request: pytest.FixtureRequest) -> Kind:
    assert isinstance(request.param, Kind)
    return request.param


@pytest.fixture(scope="module")
def quick_model(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kind.quick(tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="module")
def endless_model(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kind.endless(tmp_path_factory.mktemp("endless"))


def backend_of(kind: Kind, server: RealLlm, *, max_tokens: int = 60_000) -> OpenAiBackend:
    return OpenAiBackend(server.url, kind.model, max_tokens=max_tokens)


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


async def test_a_persona_streams_after_the_prompt_is_read(kind: Kind, quick_model: Path) -> None:
    async with kind.serve(quick_model) as server:
        chunks = await collect(OpenAiBackend(server.url, kind.model))

    assert text_of(chunks) == PERSONA_TEXT
    assert validate_persona(msgspec.json.decode(text_of(chunks))) == PERSONA
    assert chunks[-1] == Finished("stop")
    assert len([chunk for chunk in chunks if isinstance(chunk, TextChunk)]) > 100
    read = [chunk for chunk in chunks if isinstance(chunk, Prefill)]
    assert chunks[: len(read)] == read
    assert len({step.done for step in read}) >= kind.told_reading
    assert [step.done for step in read] == sorted(step.done for step in read)
    assert read[-1].done == read[-1].total


async def test_text_arrives_while_the_model_still_writes(kind: Kind, endless_model: Path) -> None:
    arrivals: list[float] = []
    async with (
        kind.serve(endless_model) as server,
        backend_of(kind, server).open_stream(REQUEST) as stream,
    ):
        async for chunk in stream:
            if isinstance(chunk, TextChunk):
                arrivals.append(trio.current_time())
            if len(arrivals) == 50:
                break
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert sorted(gaps)[len(gaps) // 2] > 0.002, "a token takes longer than that, so the pieces came in bulk"


async def test_leaving_stops_the_generation(kind: Kind, endless_model: Path) -> None:
    """A server that decodes one answer at a time starts the next one only if the endless one has stopped."""
    async with kind.serve(endless_model) as server:
        backend = backend_of(kind, server)
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


async def test_a_killed_server_never_looks_finished(kind: Kind, endless_model: Path) -> None:
    chunks: list[Chunk] = []
    async with kind.serve(endless_model) as server, backend_of(kind, server).open_stream(REQUEST) as stream:
        with suppress(LlmFailed):
            async for chunk in stream:
                chunks.append(chunk)
                if len(text_of(chunks)) > 20:
                    server.process.kill()
    assert len(text_of(chunks)) > 20
    assert not any(isinstance(chunk, Finished) for chunk in chunks)


async def test_an_answer_cut_short_is_a_failure_and_the_next_one_is_whole(kind: Kind, quick_model: Path) -> None:
    async with kind.serve(quick_model) as server:
        with pytest.raises(LlmFailed, match="max_tokens"):
            await collect(backend_of(kind, server, max_tokens=5))

        assert text_of(await collect(backend_of(kind, server))) == PERSONA_TEXT


async def test_detection_finds_it(kind: Kind, quick_model: Path) -> None:
    async with kind.serve(quick_model) as server:
        port = httpx2.URL(server.url).port
        assert port is not None
        assert await detect_llm((port,)) == DetectedLlm(server.url, kind.model)


async def test_mlx_lm_does_not_know_every_model(tmp_path: Path) -> None:
    async with mlx_lm_server(tiny_model(tmp_path)) as server:
        with pytest.raises(LlmFailed, match=r"does not find model 'no/such-model'.*set the LLM model"):
            await collect(OpenAiBackend(server.url, "no/such-model"))


async def test_what_llama_cpp_cannot_read_at_all_is_quoted(tmp_path: Path) -> None:
    request = LlmRequest(messages=(Message("user", LONG),), prompt=LONG)
    async with llama_server(tiny_gguf(tmp_path)) as server:
        with pytest.raises(LlmFailed, match=f"exceeds the available context size.*{CONTEXT_TOKENS}"):
            async with OpenAiBackend(server.url, MODEL).open_stream(request) as stream:
                await anext(stream)
