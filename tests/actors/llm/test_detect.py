import json
import socket
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import pytest
import trio
from trio.testing import MockClock

from actors.llm.detect import PROBE_TIMEOUT_S, DetectedLlm, detect_llm, resolve_model
from tests.helpers.scripted_http import Answer, Received, head_of, refuse, scripted_server, send


def listing(*models: str, owned_by: str | None = "somebody", server: str = "Server: llm") -> Answer:
    owner = {} if owned_by is None else {"owned_by": owned_by}
    body = {"object": "list", "data": [{"id": model, "object": "model", **owner} for model in models]}
    return send(head_of("200 OK", "application/json", server) + json.dumps(body).encode())


async def hang(stream: trio.SocketStream, _: Received) -> None:
    await stream.receive_some()


async def drip(stream: trio.SocketStream, _: Received) -> None:
    await stream.send_all(head_of("200 OK", "application/json") + b"{")
    while True:
        await stream.send_all(b" ")
        await trio.sleep(PROBE_TIMEOUT_S / 5)


NO_LLM = {
    "web page": refuse("200 OK", b"<html>Jenkins</html>", media_type="text/html"),
    "not found": refuse("404 Not Found", b'{"detail": "Not Found"}'),
    "locked": refuse("401 Unauthorized", json.dumps({"object": "list", "data": [{"id": "secret"}]}).encode()),
    "redirect": refuse("302 Found", b"", "Location: /login"),
    "other JSON": refuse("200 OK", b'{"models": ["a"]}'),
    "other list": refuse("200 OK", b'{"object": "list", "data": [{"name": "user"}]}'),
    "other object": refuse("200 OK", b'{"object": "page", "data": [{"id": "user"}]}'),
    "bare list": refuse("200 OK", b'[{"id": "a"}]'),
    "no models": listing(),
    "only embeddings": listing("text-embedding-nomic-embed-text-v1.5"),
    "empty": refuse("200 OK", b""),
    "deep": refuse("200 OK", b"[" * 100_000),
    "huge": refuse("200 OK", b'{"object": "list", "data": [' + b" " * 2_000_000 + b'{"id": "a"}]}'),
    "not HTTP": send(b"220 mail.example.com ESMTP\r\n"),
    "closed": send(b""),
    "silent": hang,
    "dripping": drip,
}


@asynccontextmanager
async def servers(answers: Iterable[Answer]) -> AsyncGenerator[tuple[int, ...], None]:
    async with AsyncExitStack() as stack:
        yield tuple([(await stack.enter_async_context(scripted_server(answer))).port for answer in answers])


@contextmanager
def nobody() -> Iterator[int]:
    """A port that is taken and on which nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


async def test_the_first_port_in_order_wins_even_if_it_answers_last() -> None:
    answered = trio.Event()

    async def early(stream: trio.SocketStream, request: Received) -> None:
        await listing("early")(stream, request)
        answered.set()

    async def late(stream: trio.SocketStream, request: Received) -> None:
        await answered.wait()
        await listing("late", "other")(stream, request)

    async with servers([NO_LLM["web page"], late, early]) as ports:
        assert await detect_llm(ports) == DetectedLlm(f"http://127.0.0.1:{ports[1]}/v1", "late")


@pytest.mark.parametrize("answer", NO_LLM.values(), ids=NO_LLM)
async def test_any_other_program_is_passed_over(answer: Answer, quick_clock: MockClock) -> None:
    with nobody() as free:
        async with servers([answer, listing("owl")]) as ports:
            with trio.fail_after(1.0):
                assert await detect_llm(ports[:1]) is None
            assert await detect_llm((free, *ports)) == DetectedLlm(f"http://127.0.0.1:{ports[1]}/v1", "owl")


async def test_ollama_is_told_by_its_own_endpoint() -> None:
    async def ollama(stream: trio.SocketStream, request: Received) -> None:
        version = refuse("200 OK", b'{"version": "0.40.12"}')
        await (version if request.target == "/api/version" else listing("owl:7b"))(stream, request)

    async with servers([ollama]) as (port,):
        assert await detect_llm((port,)) == DetectedLlm(f"http://127.0.0.1:{port}/v1", "owl:7b", "ollama")


async def test_all_are_asked_at_once_and_not_for_long(quick_clock: MockClock) -> None:
    async with servers([hang] * 10) as ports:
        started = trio.current_time()
        assert await detect_llm(ports, timeout_s=0.2) is None
        assert trio.current_time() - started < 0.6


async def test_models_that_cannot_write_are_passed_over() -> None:
    async with servers([listing("nomic-embed-text", "owl")]) as (port,):
        found = await detect_llm((port,))
    assert found is not None
    assert found.model == "owl"


@pytest.mark.parametrize("models", [[], ["huge/never-loaded", "another"]])
async def test_mlx_lm_server_is_asked_for_the_model_it_was_started_with(models: list[str]) -> None:
    """It lists whatever was ever downloaded."""
    async with servers([listing(*models, owned_by=None, server="Server: BaseHTTP/0.6 Python/3.12")]) as (port,):
        assert await detect_llm((port,)) == DetectedLlm(f"http://127.0.0.1:{port}/v1", "default_model")


async def test_a_given_url_is_asked_with_its_key() -> None:
    async with scripted_server(listing("owl")) as server:
        assert await resolve_model(f"{server.url}/openai/v1/", "sk-key") == "owl"
    (request,) = server.requests
    assert request.target == "/openai/v1/models"
    assert request.headers["authorization"] == "Bearer sk-key"


async def test_a_given_url_that_does_not_answer_has_no_model(quick_clock: MockClock) -> None:
    with nobody() as port:
        assert await resolve_model(f"http://127.0.0.1:{port}") is None
    async with servers([hang]) as (port,):
        with trio.fail_after(1.0):
            assert await resolve_model(f"http://127.0.0.1:{port}", timeout_s=0.1) is None
    with pytest.raises(ValueError, match="base URL"):
        await resolve_model("owl")
