"""When a model may be loaded early, and how large it is."""

from pathlib import Path

import pytest

from actors.mflux.detect import COMMANDS
from actors.mflux.prewarm import When, may_prewarm, model_bytes


@pytest.mark.parametrize(
    ("when", "elsewhere", "available", "model", "may"),
    [
        ("on", False, None, None, True),
        ("off", True, 1 << 50, 1, False),
        ("auto", True, None, None, True),
        ("auto", False, 12, 10, True),
        ("auto", False, 11, 10, False),
        ("auto", False, None, 10, False),
        ("auto", False, 12, None, False),
    ],
)
def test_auto_needs_the_writer_elsewhere_or_room_for_both(
    when: When, elsewhere: bool, available: int | None, model: int | None, may: bool
) -> None:
    told = may_prewarm(when, writes_elsewhere=elsewhere, available_bytes=available, model_bytes=model)
    assert told is may


def weights(folder: Path, *sizes: int) -> None:
    (folder / "transformer").mkdir(parents=True)
    for number, size in enumerate(sizes):
        (folder / "transformer" / f"{number}.safetensors").write_bytes(bytes(size))
    (folder / "config.json").write_bytes(bytes(1000))


def test_a_model_is_as_large_as_its_weights(tmp_path: Path) -> None:
    weights(tmp_path / "mine", 10, 20)
    assert model_bytes("mflux-generate-qwen", str(tmp_path / "mine"), {}) == 30


def test_a_downloaded_model_is_found_by_its_command_or_its_repository(tmp_path: Path) -> None:
    (command, repository) = COMMANDS[0]
    weights(tmp_path / f"models--{repository.replace('/', '--')}" / "snapshots" / "abc", 7)
    environ = {"HF_HUB_CACHE": str(tmp_path)}
    assert model_bytes(command, None, environ) == 7
    assert model_bytes("mflux-generate", repository, environ) == 7
    assert model_bytes(COMMANDS[1][0], None, environ) is None, "not downloaded"
    assert model_bytes("mflux-generate-of-tomorrow", None, environ) is None
