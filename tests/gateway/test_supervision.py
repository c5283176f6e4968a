"""Supervision as the gateway wires it: deadlines of stages, visible attempts, and nothing that survives its SIGKILL."""

import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from tests.helpers.children import hatchery
from tests.helpers.gateways import PERSONA, running_gateway
from tests.helpers.stubborn import all_gone, pinned
from tests.helpers.wire import Message, open_wire

REDRAW: dict[str, Any] = {"prompt": "a fox", "persona": msgspec.to_builtins(PERSONA)}
SILENT = "import time; time.sleep(600)"
STUCK_IN_STEPS = """
import sys, time
for step in range(5):
    sys.stderr.write(f"\\r{step * 10:3d}%|#         | {step}/10 [00:01<00:01,  1.00it/s]")
    sys.stderr.flush()
    time.sleep(0.05)
time.sleep(600)
"""
ESCAPES = """
import os, signal, subprocess, sys, time
for name in ("SIGHUP", "SIGTERM", "SIGINT"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
sleeper = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
escaped = subprocess.Popen(sleeper, start_new_session=True)
with open({pids!r} + ".part", "w") as file:
    file.write(f"{{os.getpid()}} {{escaped.pid}}")
os.rename({pids!r} + ".part", {pids!r})
time.sleep(600)
"""


def painter(tmp_path: Path, script: str) -> str:
    """A command that draws nothing."""
    path = tmp_path / "paint.py"
    path.write_text(script)
    return f"{sys.executable} -S {path}"


@pytest.mark.parametrize(
    ("script", "setting", "stage"),
    [(SILENT, "image__stall_silent_s", "loading"), (STUCK_IN_STEPS, "image__stall_step_s", "steps")],
    ids=["loading", "steps"],
)
async def test_a_stage_has_its_deadline_and_every_attempt_is_seen(
    tmp_path: Path, script: str, setting: str, stage: str
) -> None:
    settings: dict[str, Any] = {"image__engine": painter(tmp_path, script), setting: 0.6, "hatch__restarts": 1}
    with trio.fail_after(30):
        async with running_gateway(tmp_path / "data", **settings) as gateway, open_wire(gateway.url) as wire:
            accepted = await wire.ask("start", hatch=REDRAW)
            end = await wire.end(accepted["session"])
            snapshots: list[Message] = wire.of(accepted["session"], "snapshot")
    assert (end["outcome"], end["error"]["code"], end["receipt"]["worker"]) == ("failed", "image_failed", "exited")
    assert f"in stage {stage}" in end["error"]["message"]
    assert [(snapshot["epoch"], snapshot["attempt"]) for snapshot in snapshots] == [(1, 1), (2, 2)]


@pytest.mark.skipif(sys.platform != "linux", reason="a pidfd tells for certain which process has ended")
async def test_nothing_survives_the_kill_of_the_real_gateway(tmp_path: Path) -> None:
    """A painter that ignores the hang-up of its terminal, and a process of its that has left its session."""
    pids = tmp_path / "pids"
    command = painter(tmp_path, ESCAPES.format(pids=str(pids)))
    arguments = ("serve", "--port", "0", "--llm", "sim", "--image", command, "--data", tmp_path / "data")
    async with (
        hatchery(*arguments, cwd=tmp_path) as child,
        open_wire((await child.until("listens at")).split()[3]) as wire,
    ):
        await wire.ask("start", hatch=REDRAW)
        with trio.fail_after(20):
            while not pids.exists():  # noqa: ASYNC110 - another program writes it
                await trio.sleep(0.05)
        with pinned(*map(int, pids.read_text().split())) as pidfds:
            child.process.send_signal(signal.SIGKILL)
            await wire.closed()
            await all_gone(pidfds)
    with trio.fail_after(5):
        while (tmp_path / "data" / "jobs").exists():  # noqa: ASYNC110 - the guard removes it last
            await trio.sleep(0.05)
