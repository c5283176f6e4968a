"""A gateway of the tool's own: a child process with data of its own, gone with the run."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from gateway.load.profile import Profile

START_S: Final = 30.0
STOP_S: Final = 15.0
QUOTED_LINES: Final = 5
_READY: Final = re.compile(r"Hatchery listens at (\S+)")


class OwnGateway(msgspec.Struct, frozen=True):
    """Where it listens, and its process."""

    url: str
    pid: int


class NoGateway(Exception):
    """The child has not come up; the message holds its last words."""


@asynccontextmanager
async def open_own_gateway(profile: Profile, engines: str) -> AsyncIterator[OwnGateway]:
    """`hatchery serve` on a free port, with `engines` ("sim" or "demo") as the profile wants them; stopped at the end.

    `HATCHERY_*` variables hold for it too, except where the profile says otherwise. Raises NoGateway.
    """
    folder = Path(tempfile.mkdtemp(prefix="hatchery-load-"))
    try:
        environ = {**os.environ, **_settings(profile, engines, folder)}
        words = folder / "stderr"
        with words.open("wb") as stderr:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-c", "from gateway.cli import main; main()", "serve"],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C is for the tool, which then stops it
            )
        try:
            yield OwnGateway(await _ready(process, words), process.pid)
        finally:
            with trio.move_on_after(2 * STOP_S, shield=True):
                await _stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _settings(profile: Profile, engines: str, folder: Path) -> dict[str, str]:
    wanted = profile.engines
    slots = wanted.slots or (profile.places if engines == "sim" else os.cpu_count() or 1)
    settings: dict[str, object] = {
        "SERVER_HOST": "127.0.0.1",
        "SERVER_PORT": 0,
        "SERVER_DATA": folder / "data",
        "SERVER_DRAIN_S": 0,
        "SERVER_MAX_CONNECTIONS": 2 * profile.connections + 10,
        "ACCESS_TOKENS": "",
        "LLM_ENGINE": engines,
        "LLM_SLOTS": slots,
        "IMAGE_ENGINE": engines,
        "IMAGE_SLOTS": slots,
        "HATCH_RUNNING": 2 * profile.places + 10,
        "SIM_SEED": profile.seed,
        "SIM_TOKENS_PER_S": wanted.tokens_per_s,
        "SIM_TOKENS": wanted.tokens,
        "SIM_STEPS": wanted.steps,
        "SIM_STEP_S": wanted.step_s,
        "SIM_JITTER": wanted.jitter,
        "SIM_FAILURES": wanted.failures,
        "SIM_STAMPS": "true",
    }
    return {f"HATCHERY_{name}": str(value) for name, value in settings.items()}


async def _ready(process: trio.Process, words: Path) -> str:
    """The address that it tells once it listens."""
    said = b""
    with trio.move_on_after(START_S):
        assert process.stdout is not None
        async for chunk in process.stdout:
            said += chunk
            if found := _READY.search(said.decode(errors="replace")):
                return found[1]
    text = await trio.Path(words).read_text(encoding="utf-8", errors="replace")
    last = text.splitlines()[-QUOTED_LINES:]
    raise NoGateway("\n".join(["the gateway has not come up:", *last]))


async def _stop(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(STOP_S):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
