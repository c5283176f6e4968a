"""Whether a model may be loaded before its picture is due: it must not take the memory that the writer needs."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, Literal

from actors.mflux.detect import COMMANDS, model_cache

When = Literal["auto", "on", "off"]
MayPrewarm = Callable[[str | None], Awaitable[bool]]
"""Whether this model, or None for the command's default, may be loaded now."""

ROOM: Final = 1.2  # memory that there must be, in sizes of the model's files


def may_prewarm(when: When, *, writes_elsewhere: bool, available_bytes: int | None, model_bytes: int | None) -> bool:
    """Whether to load now; `auto` needs a writer on another machine, or known to be enough memory for both models."""
    if when != "auto":
        return when == "on"
    if writes_elsewhere:
        return True
    if available_bytes is None or model_bytes is None:
        return False
    return available_bytes >= ROOM * model_bytes


def model_bytes(command: str, model: str | None, environ: Mapping[str, str]) -> int | None:
    """The size of a model's weights, in its folder or in the download cache; None if they are not found."""
    if model is not None and Path(model).is_dir():
        return _weights(Path(model))
    lines = dict(COMMANDS)
    line = f"{command} --model {model}" if model else command
    repository = model if model and "/" in model else lines.get(line)
    return _weights(model_cache(repository, environ) / "snapshots") if repository else None


def _weights(folder: Path) -> int | None:
    try:
        return sum(path.stat().st_size for path in folder.glob("**/*.safetensors")) or None
    except OSError:
        return None
