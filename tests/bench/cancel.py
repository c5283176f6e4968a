"""From the cancel's frame to the `end`, when the child is collected: one by one, many at once, and under load."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from gateway.config import SimConfig
from protocol.commands import Cancel
from protocol.events import End
from tests.bench import cost
from tests.bench.children import DEMO, TICKING, draw
from tests.bench.cost import quantile
from tests.bench.figure import Figure, show
from tests.bench.line import WRITTEN, Line
from tests.bench.server import Server, config, open_server

P50_MS, P99_MS, LAG_MS = 100.0, 500.0, 100.0  # bars
ONE_BY_ONE: Final = 30
AT_ONCE: Final = 200
SPAWNS: Final = 300
LOAD: Final = 2000  # sessions that are being written
LOAD_WRITER: Final = SimConfig(tokens=400, tokens_per_s=1.0, tokens_per_piece=1)
"""One event a second of each session of the load, for longer than anything here is waited for: once they are written,
they want the slots, and would have children that never end."""


def run() -> list[Figure]:
    """All parts, each with a gateway of its own."""
    figures: list[Figure] = []
    with _open(DEMO) as (server, line):
        figures += _latencies("demo renderer, one by one", _one_by_one(line))
        figures.append(_left_over(server))
    with _open(TICKING) as (server, line):
        figures += _latencies("tiny child, one by one", _one_by_one(line))
        figures += _latencies(f"{AT_ONCE} at once", _at_once(line))
        figures.append(_left_over(server))
    with _open(TICKING, load=LOAD) as (server, line):
        figures += _latencies(f"under {LOAD:,} sessions, one by one", _one_by_one(line))
    with _open(TICKING, load=LOAD) as (server, line):
        figures += _latencies(f"under {LOAD:,} sessions, {AT_ONCE} at once", _at_once(line))
        figures.append(_left_over(server))
    with _open(TICKING, load=LOAD) as (server, line):
        figures += _spawns(server, line)
    show("cancel: from the frame to the `end`", figures)
    return figures


@contextmanager
def _open(image: str, load: int = 0) -> Iterator[tuple[Server, Line]]:
    with tempfile.TemporaryDirectory() as data:
        settings = config(data, image=image, image_slots=SPAWNS, llm_slots=max(load, 1), sim=LOAD_WRITER)
        with open_server(settings) as server:
            line = Line(server.port)
            if load:
                line.start(WRITTEN, load)
            yield server, line
            line.close()


def _one_by_one(line: Line) -> list[float]:
    return [latency for _ in range(ONE_BY_ONE) for latency in _cancel(line, draw(line, 1))]


def _at_once(line: Line) -> list[float]:
    return _cancel(line, draw(line, AT_ONCE))


def _cancel(line: Line, sessions: Sequence[str]) -> list[float]:
    """Seconds from the frame with all cancels to each end."""
    waiting = set(sessions)
    latencies: list[float] = []
    began = time.monotonic()
    line.send(*(Cancel(id=session, session=session) for session in sessions))
    for message in line.hear_out():
        if isinstance(message, End) and message.session in waiting:
            if message.receipt.worker != "exited":
                raise RuntimeError(f"the receipt says {message.receipt}")
            waiting.remove(message.session)
            latencies.append(time.monotonic() - began)
            if not waiting:
                break
    return latencies


def _latencies(what: str, latencies: list[float]) -> list[Figure]:
    return [
        Figure(f"{what}: p50", quantile(latencies, 0.5) * 1000, "ms", P50_MS),
        Figure(f"{what}: p99", quantile(latencies, 0.99) * 1000, "ms", P99_MS),
    ]


def _left_over(server: Server) -> Figure:
    """Children of the gateway but the guard process, which stays."""
    return Figure("children left", len(cost.children(server.pid)) - 1, "", 0)


def _spawns(server: Server, line: Line) -> list[Figure]:
    """How late the loop is while children are started and others stream."""
    server.report()
    began = time.monotonic()
    draw(line, SPAWNS)
    took_s, report = time.monotonic() - began, server.report()
    what = f"{SPAWNS} spawns beside {LOAD:,} sessions"
    return [
        Figure(f"{what}: all draw after", took_s, "s"),
        Figure(f"{what}: loop lag p99", report.lag_p99_s * 1000, "ms", LAG_MS),
        Figure(f"{what}: loop lag max", report.lag_max_s * 1000, "ms"),
    ]
