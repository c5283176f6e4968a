"""Fan-out and push against other servers: events delivered per second of the server's CPU, in one run, interleaved.

python -m tests.bench.fanout [--rounds N] [--json FILE] [SHAPE ...]   (uv sync --group bench brings the peers)
"""

import argparse
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import IO, Final

import msgspec

from tests.bench.cost import TICKS, cpu_s, quantile
from tests.bench.crowd import Crowd
from tests.bench.shape import Shape

SHAPES: Final = (
    Shape(name="1 session, 1,000 watchers", sessions=1, connections=1000, hz=10, seconds=5),
    Shape(name="1,000 sessions, a watcher each", sessions=1000, connections=1000, hz=10, seconds=5),
    Shape(name="1,000 sessions on 50 connections", sessions=1000, connections=50, hz=10, seconds=5),
    Shape(name="push: 1 session", sessions=1, connections=1, push=100_000),
    Shape(name="push: 1,000 sessions", sessions=1000, connections=1, push=100_000),
)
PEERS: Final = ("hatchery", "uvicorn_uvloop", "socketio_uvicorn", "aiohttp_server", "hypercorn_trio", "source")
BASE: Final = "uvicorn_uvloop"
SOURCE: Final = "source"  # makes the events and sends none: the bound of every peer
CLOCK_S: Final = 1 / TICKS  # the resolution of CPU times
PATIENCE_S: Final = 60.0
QUIET_S: Final = 0.3  # without a byte after the last event was sent: what has not come was given up


class Run(msgspec.Struct, frozen=True):
    """One run of one peer: deliveries, the server's CPU seconds, the p99 age of an event in ms (0: not measured)."""

    peer: str
    shape: str
    delivered: int
    expected: int
    cpu_s: float
    wall_s: float
    reads: int
    megabytes: float
    age_p99_ms: float

    @property
    def per_cpu_s(self) -> float:
        """Events delivered per second of the server's CPU."""
        return self.delivered / self.cpu_s


def measure(peer: str, shape: Shape) -> Run:
    """Start the peer on one core, let the crowd watch from the other, and count."""
    command = [sys.executable, "-m", f"tests.bench.peers.{peer}", msgspec.json.encode(shape).decode()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        go, said = server.stdin, server.stdout
        assert go is not None
        assert said is not None
        try:
            os.sched_setaffinity(server.pid, {0})
            if peer == SOURCE:
                return _measure_source(server.pid, shape, go, said)
            crowd = Crowd(int(said.readline()), shape, socketio=peer.startswith("socketio"))
            watched = sum(len(shape.watched(number)) for number in range(shape.connections))
            _read_until(crowd, lambda: crowd.count.snapshots >= watched)
            cpu, wall = cpu_s(server.pid), time.monotonic()
            go.write(b"\n")
            go.flush()
            _read_until(crowd, lambda: crowd.count.delivered >= shape.deliveries or _has_line(said))
            while crowd.count.delivered < shape.deliveries and crowd.read(QUIET_S):
                pass
            run = Run(
                peer=peer,
                shape=shape.name,
                delivered=crowd.count.delivered,
                expected=shape.deliveries,
                cpu_s=cpu_s(server.pid) - cpu,
                wall_s=time.monotonic() - wall,
                reads=crowd.count.reads,
                megabytes=crowd.count.bytes / 1e6,
                age_p99_ms=quantile(crowd.count.ages, 0.99) * 1000,
            )
            crowd.close()
        finally:
            server.kill()
    return run


def _measure_source(pid: int, shape: Shape, go: IO[bytes], said: IO[bytes]) -> Run:
    """What making the events costs, as if all of them were delivered for nothing."""
    said.readline()
    cpu, wall = cpu_s(pid), time.monotonic()
    go.write(b"\n")
    go.flush()
    said.readline()
    return Run(
        peer=SOURCE,
        shape=shape.name,
        delivered=shape.deliveries,
        expected=shape.deliveries,
        cpu_s=max(cpu_s(pid) - cpu, CLOCK_S),
        wall_s=time.monotonic() - wall,
        reads=0,
        megabytes=0.0,
        age_p99_ms=0.0,
    )


def _has_line(stream: IO[bytes]) -> bool:
    return bool(select.select([stream], [], [], 0)[0])


def _read_until(crowd: Crowd, enough: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not enough():
        crowd.read(0.2)
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {PATIENCE_S:g} s only {vars(crowd.count) | {'ages': None}}")


def run(rounds: int = 3, peers: Sequence[str] = PEERS, shapes: Sequence[Shape] = SHAPES) -> list[Run]:
    """Run all peers in turn, several rounds, and print medians."""
    os.sched_setaffinity(0, {1})
    runs: list[Run] = []
    for shape in shapes:
        for _ in range(rounds):
            runs += [measure(peer, shape) for peer in peers]
        _print(shape, [run for run in runs if run.shape == shape.name])
    return runs


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peers", nargs="*", default=list(PEERS))
    parser.add_argument("shapes", nargs="*", help="numbers from 1; none: all")
    options = parser.parse_args()
    shapes = [SHAPES[int(number) - 1] for number in options.shapes]
    runs = run(options.rounds, options.peers, shapes or SHAPES)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(runs)))


def _print(shape: Shape, runs: list[Run]) -> None:
    print(f"\n{shape.name}: {shape.deliveries:,} deliveries")
    rates = {peer: median(run.per_cpu_s for run in runs if run.peer == peer) for peer in {run.peer for run in runs}}
    base = rates.get(BASE, 0.0)
    for peer, rate in sorted(rates.items(), key=lambda item: -item[1]):
        own = [run for run in runs if run.peer == peer]
        wall, age = median(run.wall_s for run in own), median(run.age_p99_ms for run in own)
        lost = max(run.expected - run.delivered for run in own)
        ratio = f"{rate / base:6.2f} x" if base else ""
        print(
            f"  {peer:18} {rate:10,.0f} events/CPU s {ratio}   {wall:6.2f} s   "
            f"{median(run.cpu_s for run in own):6.2f} s CPU   p99 age {age:7.1f} ms   lost {lost}   "
            f"{median(run.reads for run in own):,.0f} reads, {median(run.megabytes for run in own):.1f} MB"
        )


if __name__ == "__main__":
    main()
