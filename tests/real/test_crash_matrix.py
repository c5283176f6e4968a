"""Many hatches while their gateway is killed and comes back: nothing is lost, repeated, or left running."""

import signal
from pathlib import Path
from random import Random
from typing import Final

import pytest
import trio

from tests.helpers.crash_checks import check_gateway, check_leftovers, persistent_clients
from tests.helpers.crashes import Persistent, Site, stop

SIM: Final = {
    "HATCHERY_LLM_SLOTS": "8",
    "HATCHERY_IMAGE_SLOTS": "4",
    "HATCHERY_SIM_TOKENS_PER_S": "300",
    "HATCHERY_SIM_STEP_S": "0.03",
    "HATCHERY_SIM_FAILURES": "0.05",
}


DEMO: Final = {"HATCHERY_IMAGE_SLOTS": "2"}


async def _crash(site: Site, clients: list[Persistent], *, seed: int, kills: int, alive_s: tuple[float, float]) -> None:
    """Run clients to their end against a gateway that is killed at seeded moments; then check all that can be."""
    random = Random(seed)
    ledgers = [client.ledger for client in clients]
    async with trio.open_nursery() as gateways:
        async with trio.open_nursery() as people:
            for client in clients:
                people.start_soon(client.run)
            for _ in range(kills):
                child = await gateways.start(site.run)
                await trio.sleep(random.uniform(*alive_s))
                await stop(child, signal.SIGKILL)
            child = await gateways.start(site.run)
        assert any("snapshot" in ledger.resumed for ledger in ledgers), "no kill came in the middle of a hatch"
        assert not any("gone" in ledger.resumed for ledger in ledgers)
        await check_gateway(site, ledgers)
        assert await stop(child, signal.SIGTERM) == 0
    await check_leftovers(site, ledgers)


@pytest.mark.parametrize("seed", [1])
async def test_two_kills_in_the_middle_of_fifty_hatches(tmp_path: Path, seed: int) -> None:
    site = Site(tmp_path, SIM, "--llm", "sim", "--image", "sim")
    with trio.fail_after(100):
        await _crash(site, persistent_clients(site, 5, 10), seed=seed, kills=2, alive_s=(0.5, 2.0))


async def test_a_kill_while_children_draw(tmp_path: Path) -> None:
    site = Site(tmp_path, DEMO, "--llm", "demo", "--image", "demo")
    with trio.fail_after(100):
        await _crash(site, persistent_clients(site, 1, 3), seed=2, kills=1, alive_s=(4.0, 5.0))


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
async def test_twenty_kills(tmp_path: Path, seed: int) -> None:
    site = Site(tmp_path, {**SIM, "HATCHERY_SIM_STEP_S": "0.2"}, "--llm", "sim", "--image", "sim")
    with trio.fail_after(800):
        await _crash(site, persistent_clients(site, 10, 10), seed=seed, kills=20, alive_s=(0.1, 3.0))
