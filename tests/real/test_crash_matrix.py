"""Many hatches while their gateway is killed and comes back: nothing is lost, repeated, or left running."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Final

import httpx2
import msgspec
import pytest
import trio

from actors.census import belonging, census
from actors.store.store import Store, StoreSettings, open_store
from protocol.events import Artifact, End, Reliable
from tests.helpers.contract import check_messages
from tests.helpers.crashes import Ledger, Persistent, Site, stop
from tests.helpers.wire import open_wire

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
        await _check_gateway(site, ledgers)
        assert await stop(child, signal.SIGTERM) == 0
    assert _left_running(site) == set()
    async with _open(site) as store:
        await _check_store(store, ledgers)


def _left_running(site: Site) -> set[int]:
    place = site.data.stat()
    return belonging(census(), f"{place.st_dev:x}-{place.st_ino:x}", {}, ())


async def _check_gateway(site: Site, ledgers: list[Ledger]) -> None:
    """One session a key, whoever asks again; and every picture that was ever shown is still there by its old URL."""
    async with open_wire(site.url) as wire, httpx2.AsyncClient(base_url=site.url, trust_env=False) as http:
        listed = await wire.ask("list", limit=1000)
        sessions = [session for ledger in ledgers for session in ledger.sessions.values()]
        assert sorted(item["session"] for item in listed["items"]) == sorted(sessions)
        for url in {
            artifact.url for ledger in ledgers for s in ledger.sessions.values() for artifact in ledger.artifacts(s)
        }:
            assert (await http.get(url)).status_code == 200


async def _check_store(store: Store, ledgers: list[Ledger]) -> None:
    """It is whole, and tells of every session what its client was told, event by event."""
    assert await store.check() == []
    assert store.log.unfinished() == []
    for ledger in ledgers:
        for session in ledger.sessions.values():
            check_messages(ledger.of(session), session)
            kept = await store.log.tail(session, 0)
            assert [message.seq for message in kept] == list(range(1, len(kept) + 1))
            assert [type(message) for message in kept].count(End) == 1
            by_seq = {message.seq: _plain(message) for message in kept}
            for message in ledger.reliable(session):
                assert _plain(message) == by_seq[message.seq]
            end = ledger.end(session)
            assert end is not None
            assert _plain(end) == by_seq[len(kept)]


def _plain(message: Reliable) -> Reliable:
    return msgspec.structs.replace(message, url="") if isinstance(message, Artifact) else message


@asynccontextmanager
async def _open(site: Site) -> AsyncIterator[Store]:
    settings = StoreSettings()
    async with open_store(site.data, lambda *_: None, settings=settings, now_s=lambda: 0.0) as store:
        yield store


def _clients(site: Site, count: int, hatches: int) -> list[Persistent]:
    return [
        Persistent(site, {f"{n}-{m}": {"prompt": f"the {m}th creature of person {n}"} for m in range(hatches)})
        for n in range(count)
    ]


@pytest.mark.parametrize("seed", [1])
async def test_two_kills_in_the_middle_of_fifty_hatches(tmp_path: Path, seed: int) -> None:
    site = Site(tmp_path, SIM, "--llm", "sim", "--image", "sim")
    with trio.fail_after(100):
        await _crash(site, _clients(site, 5, 10), seed=seed, kills=2, alive_s=(0.5, 2.0))


async def test_a_kill_while_children_draw(tmp_path: Path) -> None:
    site = Site(tmp_path, DEMO, "--llm", "demo", "--image", "demo")
    with trio.fail_after(100):
        await _crash(site, _clients(site, 1, 3), seed=2, kills=1, alive_s=(4.0, 5.0))


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
async def test_twenty_kills(tmp_path: Path, seed: int) -> None:
    site = Site(tmp_path, {**SIM, "HATCHERY_SIM_STEP_S": "0.2"}, "--llm", "sim", "--image", "sim")
    with trio.fail_after(800):
        await _crash(site, _clients(site, 10, 10), seed=seed, kills=20, alive_s=(0.1, 3.0))
