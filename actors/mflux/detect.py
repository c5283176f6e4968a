"""What can draw on this machine: mflux commands on the path, and which of their models have already been downloaded."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

# Command lines in order of preference (few steps first) with the Hugging Face repository of their model, as mflux
# 0.24 names it (mflux/models/common/config/model_config.py).
COMMANDS: Final = (
    ("mflux-generate-z-image-turbo", "Tongyi-MAI/Z-Image-Turbo"),
    ("mflux-generate-flux2", "black-forest-labs/FLUX.2-klein-4B"),
    ("mflux-generate-ernie-image-turbo", "baidu/ERNIE-Image-Turbo"),
    ("mflux-generate-krea2", "krea/Krea-2-Turbo"),
    ("mflux-generate --model schnell", "black-forest-labs/FLUX.1-schnell"),
    ("mflux-generate-qwen", "Qwen/Qwen-Image-2512"),
)


class DetectedMflux(msgspec.Struct, frozen=True):
    """Which command could draw without downloading anything, and whether mflux is installed at all."""

    command: str | None
    installed: bool


def detect_mflux(environ: Mapping[str, str]) -> DetectedMflux:
    """Look at the path and the download cache; starts nothing and asks nobody."""
    present = [known for known in COMMANDS if find_command(known[0].partition(" ")[0], environ)]
    ready = (command for command, repository in present if is_downloaded(repository, environ))
    return DetectedMflux(next(ready, None), installed=bool(present))


def find_command(command: str, environ: Mapping[str, str]) -> str | None:
    """Where a command lies: on the path, or beside this Python."""
    beside = os.path.dirname(sys.executable)
    found = shutil.which(command, path=os.pathsep.join((environ.get("PATH", os.defpath), beside)))
    return found and os.path.abspath(found)  # it is to run in another directory


def is_downloaded(repository: str, environ: Mapping[str, str]) -> bool:
    """Whether weights lie in the Hugging Face cache, laid out as documented, and none of them is half there."""
    model = model_cache(repository, environ)
    return any(model.glob("snapshots/*/**/*.safetensors")) and not any(model.glob("blobs/*.incomplete"))


def model_cache(repository: str, environ: Mapping[str, str]) -> Path:
    """Where the Hugging Face cache keeps a repository, whether it is there or not."""
    home = environ.get("HF_HOME") or str(Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface")
    cache = Path(environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    return cache / f"models--{repository.replace('/', '--')}"
