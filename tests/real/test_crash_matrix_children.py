"""Many hatches while their gateway's guard, LLM server or warm worker is killed, and then the gateway itself."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
import trio

from tests.helpers.children import Child, descendants
from tests.helpers.crash_checks import check_gateway, check_leftovers, persistent_clients
from tests.helpers.crashes import Site, stop
from tests.helpers.fakes import png
from tests.helpers.tiny_mflux import MFLUX_COMMAND, tiny_checkpoint
from tests.helpers.tiny_mlx_lm import SERVER_COMMAND, tiny_model

COMMON: Final = {
    "HATCHERY_HATCH_RESTARTS": "20",  # a hatch that is hit again and again is still to be done
    "HATCHERY_LLM_SLOTS": "4",
    "HATCHERY_SIM_TOKENS_PER_S": "2000",
    "HATCHERY_SIM_STEP_S": "0.4",
    "HF_HUB_OFFLINE": "1",
    "MLX_DISABLE_COMPILE": "1",
}
SIZE: Final[dict[str, Any]] = {"width": 64, "height": 64, "steps": 4}
PAINTER: Final = """
import os, sys, time
from pathlib import Path

args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
for step in range(5):
    print("\\r%3d%%|#         | %d/4 [00:01<00:01,  1.00s/it]" % (25 * step, step), end="", flush=True)
    time.sleep({step_s})
Path(args["--output"]).write_bytes((Path(__file__).parent / "png").read_bytes())
"""


def _guarded(directory: Path) -> Site:
    """Short-lived painters in four slots: what a guard is for."""
    (directory / "png").write_bytes(png(64, 64))
    painter = directory / "paint.py"
    painter.write_text(PAINTER.format(step_s=0.3))
    slots = {"HATCHERY_IMAGE_SLOTS": "4"}
    return Site(directory, COMMON | slots, "--llm", "sim", "--image", f"{sys.executable} -S {painter}")


def _written(directory: Path) -> Site:
    """The real `mlx_lm.server`, run by the gateway."""
    server = f"{SERVER_COMMAND} --model={tiny_model(directory / 'model')} --host=127.0.0.1"
    environ = COMMON | {"HF_HOME": str(directory / "none"), "HATCHERY_IMAGE_SLOTS": "8"}
    return Site(directory, environ, "--llm", server, "--image", "sim")


def _painted(directory: Path) -> Site:
    """A warm worker with the real mflux."""
    command = f"{MFLUX_COMMAND} --model {tiny_checkpoint(directory / 'checkpoint')}"
    return Site(directory, COMMON, "--llm", "sim", "--image", command)


VICTIMS: Final = {
    "guard": (_guarded, "actors.guard_process"),
    "LLM server": (_written, "mlx_lm.server"),
    "warm worker": (_painted, "actors.mflux.warm.worker"),
}


async def _crash(site: Site, words: str, *, seed: int, kills: int) -> None:
    """Kill the gateway's child with these words in its command at seeded moments, then the gateway itself."""
    random = Random(seed)
    clients = persistent_clients(site, 5, 10, image=SIZE)
    ledgers = [client.ledger for client in clients]
    killed: set[int] = set()
    async with trio.open_nursery() as gateways:
        async with trio.open_nursery() as people:
            child = await gateways.start(site.run)
            for client in clients:
                people.start_soon(client.run)
            while len(killed) < kills:
                await _living(child, words)
                await trio.sleep(random.uniform(0.1, 1.5))
                pid = await _living(child, words)
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            await trio.sleep(random.uniform(0.0, 0.5))  # the next one is at work, or not yet
            await stop(child, signal.SIGKILL)
            child = await gateways.start(site.run)
        assert any("snapshot" in ledger.resumed for ledger in ledgers), "all was over before the last kill"
        ends = [ledger.end(session) for ledger in ledgers for session in ledger.sessions.values()]
        assert [end.error for end in ends if end and end.outcome != "done"] == []
        assert len([end for end in ends if end]) == 50
        await check_gateway(site, ledgers)
        assert await stop(child, signal.SIGTERM) == 0
    await check_leftovers(site, ledgers)


async def _living(gateway: Child, words: str) -> int:
    """The process with these words in its command, as soon as there is one."""
    while True:
        for pid in await descendants(gateway.process.pid):
            listed = await trio.run_process(
                ["ps", "-ww", "-o", "stat=,command=", "-p", str(pid)], capture_stdout=True, check=False
            )
            status, _, command = listed.stdout.decode().partition(" ")
            if words in command and "Z" not in status:
                return pid
        await trio.sleep(0.05)  # polls: it is somebody else's child


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("place", "words"), VICTIMS.values(), ids=VICTIMS)
async def test_two_kills_of_what_works_for_fifty_hatches(
    tmp_path: Path, place: Callable[[Path], Site], words: str
) -> None:
    with trio.fail_after(200):
        await _crash(place(tmp_path), words, seed=1, kills=2)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("place", "words"), VICTIMS.values(), ids=VICTIMS)
async def test_twenty_kills_in_five_rounds(
    tmp_path: Path, place: Callable[[Path], Site], words: str, seed: int
) -> None:
    """Four kills a round: one more than five in five minutes, and an LLM server counts as broken."""
    with trio.fail_after(500):
        await _crash(place(tmp_path), words, seed=seed, kills=4)
