import json
from functools import partial

import pytest
import trio
from structlog.testing import capture_logs

from actors.llm.backend import LlmBackend, LlmRequest
from actors.llm.detect import detect_llm
from gateway.config import Config, ConfigError
from gateway.layers import load_config
from gateway.writers import open_writer
from protocol.maker import Maker
from tests.helpers.scripted_http import Answer, Received, head_of, refuse, scripted_server, send, send_body

CLOSED_PORT = 1  # tcpmux: nothing listens there
FINISHED = [b'data: {"choices": [{"delta": {"content": "{}"}, "finish_reason": "stop"}]}\n\n', b"data: [DONE]\n\n"]


def _config(**settings: str) -> Config:
    return load_config(None, {}, {name.replace("__", "."): value for name, value in settings.items()})


def _llm_server(*models: str) -> Answer:
    """An OpenAI-compatible server: it lists its models, and answers any chat."""
    body = {"object": "list", "data": [{"id": model, "object": "model", "owned_by": "x"} for model in models]}
    answers = {
        "/v1/models": send(head_of("200 OK", "application/json") + json.dumps(body).encode()),
        "/v1/chat/completions": send_body(FINISHED),
    }

    async def answer(stream: trio.SocketStream, request: Received) -> None:
        await answers.get(request.target, refuse("404 Not Found"))(stream, request)

    return answer


async def _ask(backend: LlmBackend) -> None:
    async with backend.open_stream(LlmRequest(messages=(), prompt="x", seed=1)) as chunks:
        async for _ in chunks:
            pass


async def _choose(config: Config, ports: tuple[int, ...] = ()) -> LlmBackend:
    async with open_writer(config, {}, ports=ports) as writer:
        return writer


@pytest.fixture(autouse=True)
def _patient_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer than the half second that a person would wait."""
    monkeypatch.setattr("gateway.writers.detect_llm", partial(detect_llm, timeout_s=20.0))


@pytest.mark.parametrize("name", ["demo", "sim"])
async def test_a_writer_by_name(name: str) -> None:
    with capture_logs() as logs:
        assert (await _choose(_config(llm__engine=name))).name == name
    assert logs == []


async def test_auto_without_any_server_is_the_demo_writer_and_says_so() -> None:
    with capture_logs() as logs:
        assert (await _choose(Config(), (CLOSED_PORT,))).name == "demo"
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("llm_demo", "warning")]
    assert "llm.engine" in logs[0]["reason"]


async def test_auto_takes_the_server_and_the_model_that_it_finds() -> None:
    async with scripted_server(_llm_server("wren-7b", "other")) as server:
        with capture_logs() as logs:
            backend = await _choose(Config(), (CLOSED_PORT, server.port))
        await _ask(backend)
    assert [(entry["event"], entry["url"], entry["model"]) for entry in logs] == [
        ("llm_found", f"{server.url}/v1", "wren-7b")
    ]
    assert server.requests[-1].target == "/v1/chat/completions"
    assert server.requests[-1].json["model"] == "wren-7b"


async def test_a_named_model_and_key_go_before_what_is_found() -> None:
    async with scripted_server(_llm_server("wren-7b")) as server:
        await _ask(await _choose(_config(llm__model="mine", llm__api_key="k3y"), (server.port,)))
    assert server.requests[-1].json["model"] == "mine"
    assert server.requests[-1].headers["authorization"] == "Bearer k3y"


async def test_a_server_by_url_is_asked_for_its_model() -> None:
    async with scripted_server(_llm_server("wren-7b")) as server:
        backend = await _choose(_config(llm__engine=f"{server.url}/v1", llm__api_key="k3y"))
        await _ask(backend)
    assert server.requests[0].headers["authorization"] == "Bearer k3y"
    assert server.requests[-1].json["model"] == "wren-7b"


async def test_a_server_that_does_not_answer_yet_is_taken_all_the_same() -> None:
    with trio.fail_after(10):
        assert (await _choose(_config(llm__engine=f"http://127.0.0.1:{CLOSED_PORT}"))).name == "openai"


@pytest.mark.parametrize(
    ("engine", "model", "told"),
    [
        ("openai:{url}", "wren-7b", "wren-7b"),
        ("ollama:{url}", "hf.co/ann/wren:q4", "hf.co/ann/wren:q4"),
        ("anthropic:{url}", "/home/ann/models/wren.gguf", "wren.gguf"),
        ("openai:{url}", "", None),
    ],
)
async def test_a_writer_tells_its_model_but_no_path_and_nothing_made_up(
    engine: str, model: str, told: str | None
) -> None:
    url = f"http://127.0.0.1:{CLOSED_PORT}"
    backend = await _choose(_config(llm__engine=engine.format(url=url), llm__model=model))
    assert backend.maker == Maker(engine=engine.partition(":")[0], model=told)


@pytest.mark.parametrize(("think", "told"), [("auto", None), ("on", True), ("off", False)])
async def test_whether_a_model_is_to_think(think: str, told: bool | None) -> None:
    async with scripted_server(_llm_server("wren-7b")) as server:
        await _ask(await _choose(_config(llm__engine=server.url, llm__think=think)))
    assert server.requests[-1].json.get("chat_template_kwargs", {}).get("enable_thinking") is told


@pytest.mark.parametrize("engine", ["", "gpt", "Demo", "ftp://127.0.0.1", "http://", "127.0.0.1:8080"])
async def test_a_writer_that_there_is_not(engine: str) -> None:
    with pytest.raises(ConfigError, match="llm") as caught:
        await _choose(_config(llm__engine=engine))
    assert "http://127.0.0.1:8080/v1" in str(caught.value)


async def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated() -> None:
    key = "schlüssel\n"
    async with scripted_server(_llm_server("wren-7b")) as server:
        for engine in ("auto", server.url):
            with pytest.raises(ConfigError, match="key") as caught:
                await _choose(_config(llm__engine=engine, llm__api_key=key, llm__model="m"), (server.port,))
            assert "schl" not in str(caught.value)
