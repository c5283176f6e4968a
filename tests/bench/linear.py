"""Whether an event costs more among very many sessions than among few: the same events a second, of more sessions."""

import os
from statistics import median
from typing import Final

from tests.bench.fanout import Run, measure
from tests.bench.figure import Figure, show
from tests.bench.server import CLIENT_CORE
from tests.bench.shape import Shape

ROUNDS: Final = 3
RATIO: Final = 1.5  # bar
SECONDS: Final = 10.0
FEW: Final = Shape(name="100 sessions", sessions=100, connections=50, hz=10, seconds=SECONDS)
MANY: Final = Shape(name="10,000 sessions", sessions=10_000, connections=50, hz=0.1, seconds=SECONDS)


def run() -> list[Figure]:
    """Rounds that alternate; the sessions are driven by one task, so that no engine's timers are counted."""
    os.sched_setaffinity(0, {CLIENT_CORE})
    runs = [measure("hatchery", shape) for _ in range(ROUNDS) for shape in (FEW, MANY)]
    few, many = (_cpu_us([run for run in runs if run.shape == shape.name]) for shape in (FEW, MANY))
    figures = [
        Figure(f"CPU per event, {FEW.name}", few, "µs"),
        Figure(f"CPU per event, {MANY.name}", many, "µs"),
        Figure("ratio", many / few, "x", RATIO),
    ]
    show(f"linear: {FEW.deliveries / SECONDS:,.0f} events/s", figures)
    return figures


def _cpu_us(runs: list[Run]) -> float:
    return median(run.cpu_s / run.delivered for run in runs) * 1e6
