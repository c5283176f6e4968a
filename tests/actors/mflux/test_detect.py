"""What can draw here: commands on a path, models in a cache; all of it files in a directory of the test."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.mflux.detect import COMMANDS, DetectedMflux, detect_mflux, find_command


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a command on the path of the test; this Python's own directory is an empty one."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "beside" / "python"))

    def put(command: str, where: str = "bin") -> Path:
        path = tmp_path / where / command
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    return put


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"PATH": str(tmp_path / "bin"), "HF_HOME": str(tmp_path / "hf")}


def download(cache: Path, repository: str, *files: str) -> None:
    model = cache / f"models--{repository.replace('/', '--')}"
    for name in files or ("snapshots/0123abc/transformer/0.safetensors", "blobs/4567def"):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text("")


def test_nothing_is_installed(install: object, environ: dict[str, str]) -> None:
    assert detect_mflux(environ) == DetectedMflux(None, installed=False)


def test_installed_but_nothing_downloaded(install: Callable[[str], Path], environ: dict[str, str]) -> None:
    install("mflux-generate")
    assert detect_mflux(environ) == DetectedMflux(None, installed=True)


def test_a_model_without_its_command_is_no_use(
    install: Callable[[str], Path], environ: dict[str, str], tmp_path: Path
) -> None:
    install("mflux-generate")
    download(tmp_path / "hf" / "hub", "Tongyi-MAI/Z-Image-Turbo")
    assert detect_mflux(environ).command is None


@pytest.mark.parametrize(("command", "repository"), COMMANDS)
def test_a_command_whose_model_is_there(
    install: Callable[[str], Path], environ: dict[str, str], tmp_path: Path, command: str, repository: str
) -> None:
    install(command.partition(" ")[0])
    download(tmp_path / "hf" / "hub", repository)
    assert detect_mflux(environ) == DetectedMflux(command, installed=True)


def test_of_several_the_first_in_order_of_preference(
    install: Callable[[str], Path], environ: dict[str, str], tmp_path: Path
) -> None:
    for command, repository in reversed(COMMANDS[1:]):
        install(command.partition(" ")[0])
        download(tmp_path / "hf" / "hub", repository)
    install(COMMANDS[0][0])  # preferred, but it would have to download
    assert detect_mflux(environ).command == COMMANDS[1][0]


@pytest.mark.parametrize(
    "files",
    [
        ["snapshots/0/model_index.json", "snapshots/0/tokenizer/tokenizer.json"],
        ["snapshots/0/transformer/0.safetensors", "blobs/123.incomplete"],
        ["refs/main"],
    ],
)
def test_half_a_download_is_not_a_model(
    install: Callable[[str], Path], environ: dict[str, str], tmp_path: Path, files: list[str]
) -> None:
    command, repository = COMMANDS[0]
    install(command)
    download(tmp_path / "hf" / "hub", repository, *files)
    assert detect_mflux(environ).command is None


@pytest.mark.parametrize(
    ("variables", "where"),
    [
        ({"HF_HUB_CACHE": "elsewhere", "HF_HOME": "hf"}, "elsewhere"),
        ({"HF_HOME": "hf", "XDG_CACHE_HOME": "xdg"}, "hf/hub"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/huggingface/hub"),
    ],
)
def test_the_cache_lies_where_hugging_face_says(
    install: Callable[[str], Path], tmp_path: Path, variables: dict[str, str], where: str
) -> None:
    command, repository = COMMANDS[0]
    install(command)
    environ = {name: str(tmp_path / value) for name, value in variables.items()} | {"PATH": str(tmp_path / "bin")}
    assert detect_mflux(environ).command is None
    download(tmp_path / where, repository)
    assert detect_mflux(environ).command == command


def test_a_command_beside_this_python_is_found(install: Callable[..., Path], environ: dict[str, str]) -> None:
    beside = install("mflux-generate", "beside")
    assert find_command("mflux-generate", environ) == str(beside)
    on_path = install("mflux-generate", "bin")
    assert find_command("mflux-generate", environ) == str(on_path), "the path comes first"
