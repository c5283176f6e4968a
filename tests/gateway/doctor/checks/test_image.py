"""mflux as files tell of it: commands on a path, their environment's metadata, models in a cache."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.mflux.detect import COMMANDS
from gateway.config import Config, ConfigError
from gateway.doctor.checks.image import check_image, configured_program
from gateway.doctor.finding import Finding
from gateway.layers import load_config

FIRST, REPOSITORY = COMMANDS[0]
Install = Callable[..., Path]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"PATH": str(tmp_path / "venv" / "bin"), "HF_HOME": str(tmp_path / "hf")}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a command into an environment with mflux of some version; nothing lies beside this Python."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))

    def put(command: str = FIRST, version: str | None = "0.24.3") -> Path:
        path = tmp_path / "venv" / "bin" / command
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        if version is not None:
            metadata = tmp_path / "venv" / "lib" / "python3.12" / "site-packages" / f"mflux-{version}.dist-info"
            metadata.mkdir(parents=True)
            (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mflux\nVersion: {version}\n")
        return path

    return put


def download(tmp_path: Path) -> None:
    weights = tmp_path / "hf" / "hub" / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots" / "0123"
    weights.mkdir(parents=True)
    (weights / "0.safetensors").write_text("")


def settings(engine: str) -> Config:
    return load_config(flags={"image.engine": engine})


def by_subject(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def test_nothing_is_installed(install: Install, environ: dict[str, str]) -> None:
    found = by_subject(check_image(settings("auto"), environ))
    assert {subject: finding.status for subject, finding in found.items()} == {"mflux": "notice", "painter": "notice"}
    assert "mflux" in found["mflux"].remedy
    assert {finding.status for finding in check_image(settings("demo"), environ)} == {"ok"}, "who wants none is fine"


def test_installed_but_nothing_downloaded(install: Install, environ: dict[str, str]) -> None:
    install()
    found = by_subject(check_image(settings("auto"), environ))
    assert (found["mflux"].status, found["models"].status, found["painter"].status) == ("ok", "notice", "notice")
    assert found["mflux"].found.startswith(f"0.24.3, 1 of {len(COMMANDS)} known commands")
    assert found["models"].remedy.startswith(FIRST)


def test_all_there(install: Install, environ: dict[str, str], tmp_path: Path) -> None:
    path = install()
    download(tmp_path)
    found = by_subject(check_image(settings("auto"), environ))
    assert {finding.status for finding in found.values()} == {"ok"}
    assert REPOSITORY in found["models"].found
    assert found["painter"].found == f"auto takes {FIRST} ({path})"


@pytest.mark.parametrize("version", ["0.9.0", "1.0.0", None])
def test_a_version_that_was_never_tried_is_noticed(
    install: Install, environ: dict[str, str], version: str | None
) -> None:
    install(version=version)
    assert by_subject(check_image(settings("auto"), environ))["mflux"].status == "notice"


def test_a_configured_command_must_exist(install: Install, environ: dict[str, str]) -> None:
    path = install("my-mflux")
    found = by_subject(check_image(settings("my-mflux --quantize 8"), environ))["painter"]
    assert (found.status, found.found) == ("ok", f"my-mflux ({path})")
    for engine in ("your-mflux", "'", ""):
        found = by_subject(check_image(settings(engine), environ))["painter"]
        assert (found.status, "--image auto" in found.remedy) == ("problem", True)


def test_the_program_that_the_settings_mean(install: Install, environ: dict[str, str], tmp_path: Path) -> None:
    path = install()
    assert configured_program("sim", environ) is None
    for engine in ("demo", "auto"):
        program = configured_program(engine, environ)
        assert program is not None
        assert program.name == "demo"
    download(tmp_path)
    program = configured_program("auto", environ)
    assert program is not None
    assert program.argv == (str(path),)
    with pytest.raises(ConfigError):
        configured_program("your-mflux", environ)


@pytest.mark.parametrize(
    ("flags", "warm", "status", "words"),
    [
        ("", True, "ok", "keeps the model loaded"),
        ("--quantize 8 --steps 4", True, "ok", "keeps the model loaded"),
        ("--vae-tiling", True, "notice", "--vae-tiling"),
        ("", False, "ok", "image.warm is off"),
    ],
)
def test_whether_the_model_stays_loaded_is_said(
    install: Install, environ: dict[str, str], flags: str, warm: bool, status: str, words: str
) -> None:
    install()
    config = load_config(flags={"image.engine": f"{FIRST} {flags}", "image.warm": warm})
    worker = by_subject(check_image(config, environ))["worker"]
    assert (worker.status, words in worker.found) == (status, True)
    assert bool(worker.remedy) == (status != "ok")


def test_an_mflux_elsewhere_cannot_be_kept_warm(
    install: Install, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.setattr("gateway.doctor.checks.image.find_spec", lambda _name: None)
    worker = by_subject(check_image(settings(FIRST), environ))["worker"]
    assert worker.status == "notice"
    assert sys.executable in worker.remedy


def test_of_a_painter_that_is_not_mflux_there_is_no_worker_to_speak_of(environ: dict[str, str]) -> None:
    assert "worker" not in by_subject(check_image(settings("demo"), environ))
