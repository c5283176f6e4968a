import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from actors.artifacts import ArtifactStore
from actors.mflux.detect import COMMANDS, detect_mflux, find_command
from actors.mflux.engine import ImageEngine
from actors.mflux.offer import NamedLora, NamedModel
from actors.mflux.oneshot import OneShotEngine
from actors.mflux.warm.engine import WarmEngine
from actors.versions import own_version
from gateway.config import Config, ConfigError, ImageConfig
from gateway.layers import load_config
from gateway.painters import offer_of, open_painter, writes_elsewhere
from protocol.commands import ImageOptions
from protocol.errors import Invalid
from protocol.events import Choices
from protocol.maker import Maker
from tests.helpers.mflux_environment import MfluxEnvironment, dump_of

NAMES = [command.partition(" ")[0] for command, _ in COMMANDS]


def _config(**settings: str) -> Config:
    return load_config(None, {f"HATCHERY_{name.replace('__', '_').upper()}": value for name, value in settings.items()})


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


async def _choose(tmp_path: Path, engine: str, environ: dict[str, str]) -> tuple[ImageEngine, list[Any]]:
    config = _config(image__engine=engine, server__data=str(tmp_path / "data"))
    with capture_logs() as logs:
        async with open_painter(config, ArtifactStore(tmp_path / "artifacts"), environ) as painter:
            return painter, logs


@pytest.mark.parametrize("name", ["demo", "sim"])
async def test_a_painter_by_name(tmp_path: Path, name: str) -> None:
    painter, logs = await _choose(tmp_path, name, {})
    assert painter.name == name
    assert logs == []


async def test_auto_without_mflux_is_the_demo_painter_and_says_so(tmp_path: Path) -> None:
    painter, logs = await _choose(tmp_path, "auto", _machine(tmp_path))
    assert painter.name == "demo"
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("image_demo", "warning")]
    assert "install mflux" in logs[0]["reason"]


async def test_auto_never_begins_to_download_a_model(tmp_path: Path) -> None:
    painter, logs = await _choose(tmp_path, "auto", _machine(tmp_path, commands=NAMES))
    assert painter.name == "demo"
    assert "no model is downloaded" in logs[0]["reason"]


async def test_auto_takes_the_first_command_whose_model_is_there(tmp_path: Path) -> None:
    models = [COMMANDS[1][1], COMMANDS[3][1]]
    painter, logs = await _choose(tmp_path, "auto", _machine(tmp_path, commands=NAMES, models=models))
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


async def test_any_command_with_arguments_may_draw(tmp_path: Path) -> None:
    painter, _ = await _choose(tmp_path, "my-paint --fast 'two words'", _machine(tmp_path, commands=["my-paint"]))
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
async def test_a_painter_that_there_is_not(tmp_path: Path, engine: str) -> None:
    with pytest.raises(ConfigError, match=r"image\.engine: .*auto, demo") as caught:
        await _choose(tmp_path, engine, _machine(tmp_path))
    assert "unpack" not in str(caught.value)


async def test_a_commands_pictures_tell_its_model_and_the_version_of_its_mflux(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.12" / "site-packages" / "mflux-0.24.9.dist-info"
    packages.mkdir(parents=True)
    (packages / "METADATA").write_text("Metadata-Version: 2.1\nName: mflux\nVersion: 0.24.9\n")
    environ = _machine(tmp_path, commands=["mflux-generate-qwen", "mflux-generate-flux2-edit", "sketch"])
    for engine, model, version in (
        ("mflux-generate-qwen --low-ram", "qwen-image", "0.24.9"),
        ("mflux-generate-qwen --low-ram --model=~/models/mine", "mine", "0.24.9"),
        ("mflux-generate-flux2-edit", None, "0.24.9"),
        ("sketch -m ink", "ink", None),
        ("demo", None, own_version()),
    ):
        painter, _ = await _choose(tmp_path, engine, environ)
        assert painter.maker(ImageOptions()) == Maker(engine=engine.split()[0], model=model, version=version)


async def test_a_command_whose_model_can_stay_loaded_is_drawn_with_warm(tmp_path: Path) -> None:
    environ = _machine(tmp_path, commands=["mflux-generate-z-image-turbo"])
    painter, _ = await _choose(tmp_path, "mflux-generate-z-image-turbo --quantize 8", environ)
    assert isinstance(painter, WarmEngine)
    painter, _ = await _choose(tmp_path, "mflux-generate-z-image-turbo --flag-of-tomorrow", environ)
    assert isinstance(painter, OneShotEngine)


@pytest.mark.parametrize(
    ("engine", "writer", "elsewhere"),
    [
        ("auto", "demo", True),
        ("sim", "sim", True),
        ("https://api.example.com/v1", "openai", True),
        ("anthropic:https://api.anthropic.com", "anthropic", True),
        ("ollama:http://192.168.1.9:11434", "ollama", True),
        ("http://127.0.0.1:8080/v1", "openai", False),
        ("http://localhost:8080/v1", "openai", False),
        ("http://[::1]:8080/v1", "openai", False),
        ("auto", "openai", False),
        ("mlx_lm.server --model tiny", "openai", False),
    ],
)
def test_a_writer_that_takes_no_memory_here(engine: str, writer: str, elsewhere: bool) -> None:
    assert writes_elsewhere(engine, writer) is elsewhere


async def test_a_warm_painter_loads_early_only_when_it_may(tmp_path: Path) -> None:
    environ = _machine(tmp_path, commands=["mflux-generate-z-image-turbo"])
    begun = []
    for when, writer in (("off", "demo"), ("auto", "openai"), ("auto", "demo")):
        config = _config(
            image__engine="mflux-generate-z-image-turbo",
            image__prewarm=when,
            server__data=str(tmp_path / "data"),
        )
        async with open_painter(config, ArtifactStore(tmp_path / "artifacts"), environ, writer=writer) as painter:
            assert isinstance(painter, WarmEngine)
            await painter.prewarm(ImageOptions())
            begun.append(not painter.is_cold)
    assert begun == [False, False, True]


def test_what_is_offered_lies_where_it_lies_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ink.safetensors").touch()
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    image = ImageConfig(
        models={"mine": NamedModel(path="mine", base_model="dev"), "schnell": "schnell"},
        loras={"ink": "ink.safetensors", "hub": NamedLora(path="someone/ink", scale=0.5)},
    )
    offer = offer_of(image)
    assert offer.models == {
        "mine": NamedModel(path=str(tmp_path / "mine"), base_model="dev"),
        "schnell": NamedModel(path="schnell"),
    }
    assert offer.loras == {
        "ink": NamedLora(path=str(tmp_path / "ink.safetensors")),
        "hub": NamedLora(path="someone/ink", scale=0.5),
    }


async def test_the_painter_takes_what_is_offered(tmp_path: Path) -> None:
    environ = _machine(tmp_path, commands=["mflux-generate-z-image"])
    config = _config(
        image__engine="mflux-generate-z-image", image__models="turbo=z-image-turbo", server__data=str(tmp_path)
    )
    async with open_painter(config, ArtifactStore(tmp_path / "artifacts"), environ) as painter:
        assert painter.planned_steps(ImageOptions(model="turbo")) == 9
        await painter.check(ImageOptions(model="turbo"))
        with pytest.raises(Invalid, match="choose one of turbo"):
            await painter.check(ImageOptions(model="z-image-turbo"))


async def test_a_warm_painter_is_ready_before_mflux_has_said_what_it_honours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers run beside this Python, so it is the mflux there that is asked, not the one on the path."""
    name = "mflux-generate-z-image"
    environment = MfluxEnvironment(tmp_path / "here", dump_of(name, ["--steps", "--width", "--height"]))
    environment.hold()
    monkeypatch.setattr(sys, "executable", environment.path("python"))
    config = _config(image__engine=name, image__models="turbo=z-image-turbo", server__data=str(tmp_path))
    asked = ImageOptions(model="turbo")
    with trio.fail_after(20):
        environ = _machine(tmp_path, commands=[name])
        async with open_painter(config, ArtifactStore(tmp_path / "artifacts"), environ) as painter:
            await painter.check(asked)
            assert painter.choices == Choices(models=["turbo"], loras=[])
            environment.release()
            with pytest.raises(Invalid) as refused:
                await _check_for_ever(painter, asked)
            assert refused.value.field == "hatch.image.model"
            assert painter.choices is None


async def _check_for_ever(painter: ImageEngine, asked: ImageOptions) -> None:
    """What mflux says is learned in the background, which announces nothing."""
    while True:
        await painter.check(asked)
        await trio.sleep(0.01)


@pytest.mark.parametrize(
    ("engine", "warm", "models", "loras"),
    [
        ("sim", "true", ["turbo"], ["ink"]),
        ("mflux-generate-z-image", "true", ["turbo"], ["ink"]),
        ("mflux-generate-z-image", "false", ["turbo"], ["ink"]),
        ("mflux-generate-iris", "true", ["turbo"], []),
        ("mflux-generate-iris", "false", ["turbo"], []),
    ],
)
async def test_clients_are_told_the_names_that_its_kind_may_honour(
    tmp_path: Path, engine: str, warm: str, models: list[str], loras: list[str]
) -> None:
    assert await _told(tmp_path, engine, warm) == Choices(models=models, loras=loras)


@pytest.mark.parametrize("engine", ["demo", "some-painter"])
async def test_clients_are_told_no_names_by_a_painter_that_honours_none(tmp_path: Path, engine: str) -> None:
    assert await _told(tmp_path, engine, "true") is None


async def _told(tmp_path: Path, engine: str, warm: str) -> Choices | None:
    environ = _machine(tmp_path, commands=["mflux-generate-z-image", "mflux-generate-iris", "some-painter"])
    config = _config(
        image__engine=engine,
        image__warm=warm,
        image__models="turbo=z-image-turbo",
        image__loras="ink=/loras/ink",
        server__data=str(tmp_path),
    )
    async with open_painter(config, ArtifactStore(tmp_path / "artifacts"), environ) as painter:
        return painter.choices
