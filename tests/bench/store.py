"""How fast the durable store is on this machine, and how long a reliable event waits to be durable.

python -m tests.bench.store [DIRECTORY]
"""

import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from actors.eventlog import Claim
from actors.store.store import Store, StoreSettings, open_store
from protocol.events import State
from tests.actors.store.stores import hatched
from tests.helpers.fakes import Recorder, record_of

ENTRIES = 50  # of each session


async def measure(store: Store, sessions: int, round_: int) -> None:
    """Sessions that all append at once, each entry by itself and each waiting until it is durable."""
    waits: list[float] = []

    async def appends(session: str) -> None:
        await store.log.create(record_of(session))
        for seq in range(1, ENTRIES + 1):
            began = time.perf_counter()
            await store.log.append(session, [State(session=session, seq=seq, state="writing")])
            waits.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for number in range(sessions):
            nursery.start_soon(appends, f"r{round_}-{number}")
    rate = len(waits) / (time.perf_counter() - began)
    waits.sort()
    p50, p99 = waits[len(waits) // 2] * 1000, waits[len(waits) * 99 // 100] * 1000
    print(f"{sessions:5} sessions: {rate:8.0f} events/s; to durable p50 {p50:6.1f} ms, p99 {p99:6.1f} ms")


async def measure_whole(store: Store, sessions: int) -> None:
    """Whole hatches, with agents and pruning."""

    async def hatch(session: str) -> None:
        await store.log.create(record_of(session))
        for entries in hatched(session):
            await store.log.append(session, entries)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for number in range(sessions):
            nursery.start_soon(hatch, f"w{number}")
    print(f"{sessions:5} whole hatches: {sessions / (time.perf_counter() - began):8.0f} hatches/s")


async def measure_reads(store: Store) -> None:
    """Single reads, one after the other."""
    reads: dict[str, Callable[[], Awaitable[object]]] = {
        "claimed, unknown": lambda: store.log.claimed("ann", Claim("k", b"1")),
        "tail": lambda: store.log.tail("w1", 0),
        "list 50": lambda: store.log.list("ann", states=None, limit=50, before=None),
        "list 50 done": lambda: store.log.list("ann", states=frozenset({"done"}), limit=50, before=None),
        "search agents": lambda: store.agents.list("ann", query="ada owl", limit=50, before=None),
    }
    for name, read in reads.items():
        began = time.perf_counter()
        for _ in range(200):
            await read()
        print(f"{name:>16}: {(time.perf_counter() - began) * 5000:6.0f} µs")


async def bench(directory: Path) -> None:
    """Everything, in a fresh store below `directory`."""
    with tempfile.TemporaryDirectory(dir=directory) as fresh:
        settings = StoreSettings()
        async with open_store(Path(fresh), Recorder().publish, settings=settings, now_s=time.time) as store:
            for round_, sessions in enumerate((1, 10, 100, 1000)):
                await measure(store, sessions, round_)
            await measure_whole(store, 2000)
            await measure_reads(store)


if __name__ == "__main__":
    trio.run(bench, Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd())
