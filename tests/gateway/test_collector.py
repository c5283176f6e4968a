"""A calm garbage collector: it leaves what start-up made alone, seldom looks at everything, and still finds garbage."""

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from websockets.frames import Opcode

from gateway.collector import calm_collector
from protocol.commands import HatchRequest, Hello, Ping, Start
from tests.helpers.gateways import running_gateway
from tests.helpers.sockets import HANDSHAKE, closing, masked


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def full_collections() -> Iterator[list[int]]:
    found: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            found.append(gc.get_count()[2])

    thresholds = gc.get_threshold()
    calm_collector()
    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_half_a_million_objects_that_stay_are_not_looked_at_again(full_collections: list[int]) -> None:
    assert gc.get_freeze_count() > 10_000
    kept: list[list[int]] = [[] for _ in range(500_000)]
    assert len(kept) == 500_000
    assert full_collections == []


def test_young_garbage_is_found(full_collections: list[int]) -> None:
    ring = weakref.ref(Ring())
    kept: list[list[int]] = [[] for _ in range(50_000)]
    assert kept
    assert ring() is None


@pytest.fixture
def collected() -> Iterator[Callable[[], Counter[str]]]:
    """Counts what only the collector finds, of this project and its WebSocket library, since the test began."""

    def collect() -> Counter[str]:
        gc.collect()
        kinds = (f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.garbage)
        return Counter(kind for kind in kinds if kind.startswith(("gateway.", "protocol.", "websockets.")))

    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield collect
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize("end", [b"", closing(1000), b"no frame"], ids=["gone", "goodbye", "broken"])
async def test_a_connection_leaves_nothing_to_the_collector(
    end: bytes, tmp_path: Path, collected: Callable[[], Counter[str]]
) -> None:
    async with running_gateway(tmp_path) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        stream = await trio.open_tcp_stream(host, int(port))
        async with stream:
            hello = masked(
                Opcode.TEXT,
                msgspec.json.encode([Hello(id=0), Start(id=1, hatch=HatchRequest(prompt="a shy dragon")), Ping(id=2)]),
            )
            await stream.send_all(
                HANDSHAKE.replace(b"Host: gateway", f"Host: {host}:{port}".encode()) + b"\r\n" + hello
            )
            heard = b""
            while b'"pong"' not in heard:
                heard += await stream.receive_some()
            with suppress(trio.BrokenResourceError):
                await stream.send_all(end)
        while gateway.services.hub.clients:
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert collected() == {}
