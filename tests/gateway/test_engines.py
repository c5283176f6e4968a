import json
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from actors.artifacts import ArtifactStore
from actors.llm.backend import LlmBackend, LlmRequest
from actors.llm.detect import detect_llm
from actors.mflux.detect import COMMANDS, detect_mflux, find_command
from actors.mflux.engine import ImageEngine
from gateway.config import Config, ConfigError, load_config
from gateway.engines import choose_image, choose_llm
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


# --- who writes


@pytest.fixture(autouse=True)
def _patient_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer than the half second that a person would wait."""
    monkeypatch.setattr("gateway.engines.detect_llm", partial(detect_llm, timeout_s=20.0))


@pytest.mark.parametrize("name", ["demo", "sim"])
async def test_a_writer_by_name(name: str) -> None:
    with capture_logs() as logs:
        assert (await choose_llm(_config(llm__engine=name))).name == name
    assert logs == []


async def test_auto_without_any_server_is_the_demo_writer_and_says_so() -> None:
    with capture_logs() as logs:
        assert (await choose_llm(Config(), (CLOSED_PORT,))).name == "demo"
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("llm_demo", "warning")]
    assert "llm.engine" in logs[0]["reason"]


async def test_auto_takes_the_server_and_the_model_that_it_finds() -> None:
    async with scripted_server(_llm_server("wren-7b", "other")) as server:
        with capture_logs() as logs:
            backend = await choose_llm(Config(), (CLOSED_PORT, server.port))
        await _ask(backend)
    assert [(entry["event"], entry["url"], entry["model"]) for entry in logs] == [
        ("llm_found", f"{server.url}/v1", "wren-7b")
    ]
    assert server.requests[-1].target == "/v1/chat/completions"
    assert server.requests[-1].json["model"] == "wren-7b"


async def test_a_named_model_and_key_go_before_what_is_found() -> None:
    async with scripted_server(_llm_server("wren-7b")) as server:
        await _ask(await choose_llm(_config(llm__model="mine", llm__api_key="k3y"), (server.port,)))
    assert server.requests[-1].json["model"] == "mine"
    assert server.requests[-1].headers["authorization"] == "Bearer k3y"


async def test_a_server_by_url_is_asked_for_its_model() -> None:
    async with scripted_server(_llm_server("wren-7b")) as server:
        backend = await choose_llm(_config(llm__engine=f"{server.url}/v1", llm__api_key="k3y"))
        await _ask(backend)
    assert server.requests[0].headers["authorization"] == "Bearer k3y"
    assert server.requests[-1].json["model"] == "wren-7b"


async def test_a_server_that_does_not_answer_yet_is_taken_all_the_same() -> None:
    with trio.fail_after(10):
        assert (await choose_llm(_config(llm__engine=f"http://127.0.0.1:{CLOSED_PORT}"))).name == "openai"


@pytest.mark.parametrize("engine", ["", "gpt", "Demo", "ftp://127.0.0.1", "http://", "127.0.0.1:8080"])
async def test_a_writer_that_there_is_not(engine: str) -> None:
    with pytest.raises(ConfigError, match="llm") as caught:
        await choose_llm(_config(llm__engine=engine))
    assert "http://127.0.0.1:8080/v1" in str(caught.value)


async def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated() -> None:
    key = "schlüssel\n"
    async with scripted_server(_llm_server("wren-7b")) as server:
        for engine in ("auto", server.url):
            with pytest.raises(ConfigError, match="key") as caught:
                await choose_llm(_config(llm__engine=engine, llm__api_key=key, llm__model="m"), (server.port,))
            assert "schl" not in str(caught.value)


# --- who draws


def _machine(root: Path, *, commands: Iterable[str] = (), models: Iterable[str] = ()) -> dict[str, str]:
    """A path and a download cache of our own."""
    path, hub = root / "bin", root / "hub"
    path.mkdir()
    for command in commands:
        (path / command).write_text("#!/bin/sh\n")
        (path / command).chmod(0o755)
    for model in models:
        snapshot = hub / f"models--{model.replace('/', '--')}" / "snapshots" / "abc" / "transformer"
        snapshot.mkdir(parents=True)
        (snapshot / "weights.safetensors").write_bytes(b"")
    return {"PATH": str(path), "HF_HUB_CACHE": str(hub)}


@pytest.fixture(autouse=True)
def _bare_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No commands beside this Python."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))


def _choose(tmp_path: Path, engine: str, environ: dict[str, str]) -> tuple[ImageEngine, list[Any]]:
    config = _config(image__engine=engine, server__data=str(tmp_path / "data"))
    with capture_logs() as logs:
        return choose_image(config, ArtifactStore(tmp_path / "artifacts"), environ), logs


@pytest.mark.parametrize("name", ["demo", "sim"])
def test_a_painter_by_name(tmp_path: Path, name: str) -> None:
    painter, logs = _choose(tmp_path, name, {})
    assert painter.name == name
    assert logs == []


def test_auto_without_mflux_is_the_demo_painter_and_says_so(tmp_path: Path) -> None:
    painter, logs = _choose(tmp_path, "auto", _machine(tmp_path))
    assert painter.name == "demo"
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("image_demo", "warning")]
    assert "install mflux" in logs[0]["reason"]


def test_auto_never_begins_to_download_a_model(tmp_path: Path) -> None:
    painter, logs = _choose(tmp_path, "auto", _machine(tmp_path, commands=[command for command, _ in COMMANDS]))
    assert painter.name == "demo"
    assert "no model is downloaded" in logs[0]["reason"]


def test_auto_takes_the_first_command_whose_model_is_there(tmp_path: Path) -> None:
    commands = [command for command, _ in COMMANDS]
    models = [COMMANDS[1][1], COMMANDS[3][1]]
    painter, logs = _choose(tmp_path, "auto", _machine(tmp_path, commands=commands, models=models))
    assert painter.name == COMMANDS[1][0]
    assert [(entry["event"], entry["command"]) for entry in logs] == [("image_found", COMMANDS[1][0])]


def test_a_model_without_its_command_is_of_no_use(tmp_path: Path) -> None:
    environ = _machine(tmp_path, commands=[COMMANDS[0][0]], models=[COMMANDS[1][1]])
    assert detect_mflux(environ).command is None


def test_a_download_that_was_broken_off_is_not_there(tmp_path: Path) -> None:
    command, model = COMMANDS[0]
    environ = _machine(tmp_path, commands=[command], models=[model])
    assert detect_mflux(environ).command == command
    blobs = tmp_path / "hub" / f"models--{model.replace('/', '--')}" / "blobs"
    blobs.mkdir()
    (blobs / "0123.incomplete").write_bytes(b"")
    assert detect_mflux(environ).command is None


def test_a_model_of_which_only_the_description_is_there_is_not(tmp_path: Path) -> None:
    command, model = COMMANDS[0]
    environ = _machine(tmp_path, commands=[command], models=[model])
    for weights in (tmp_path / "hub").rglob("*.safetensors"):
        weights.with_name("config.json").touch()
        weights.unlink()
    assert detect_mflux(environ).command is None


def test_any_command_with_arguments_may_draw(tmp_path: Path) -> None:
    painter, _ = _choose(tmp_path, "my-paint --fast 'two words'", _machine(tmp_path, commands=["my-paint"]))
    assert painter.name == "my-paint"


def test_a_command_by_relative_path_is_found_from_any_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = _machine(tmp_path, commands=["my-paint"])
    monkeypatch.chdir(tmp_path)
    assert find_command("bin/my-paint", environ) == str(tmp_path / "bin" / "my-paint")
    assert find_command("my-paint", {"PATH": "bin"}) == str(tmp_path / "bin" / "my-paint")


@pytest.mark.parametrize(
    "engine", ["no-such-command", "no-such --flag", "", "  ", "'unclosed", "/no/such/file", "Demo"]
)
def test_a_painter_that_there_is_not(tmp_path: Path, engine: str) -> None:
    with pytest.raises(ConfigError, match=r"image\.engine: .*auto, demo") as caught:
        _choose(tmp_path, engine, _machine(tmp_path))
    assert "unpack" not in str(caught.value)
