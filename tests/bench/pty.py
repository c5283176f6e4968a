"""Many children at a time: how old an update is when a client has it, and what it costs the gateway."""

import tempfile
import time
from typing import Final

from protocol.events import Progress
from tests.bench.children import TICKING, draw
from tests.bench.cost import quantile
from tests.bench.figure import Figure, show
from tests.bench.line import Line
from tests.bench.server import config, open_server
from tests.bench.ticking_child import HZ, TICKS_PER_S

CHILDREN: Final = 300
SECONDS: Final = 10.0
CPU_US: Final = 80.0  # bar: gateway CPU per update
OVER_TICK_MS: Final = 100.0  # bar: p99 age beyond the flusher's tick


def run() -> list[Figure]:
    """From the child's write to the client's frame."""
    with tempfile.TemporaryDirectory() as data:
        settings = config(data, image=TICKING, image_slots=CHILDREN)
        with open_server(settings) as server:
            line = Line(server.port)
            draw(line, CHILDREN)
            server.report()
            cpu_s, began = server.cpu_s, time.monotonic()
            ages = [
                time.monotonic() - message.step / TICKS_PER_S
                for message in line.hear(began + SECONDS)
                if isinstance(message, Progress) and message.step
            ]
            cpu_s, wall_s = server.cpu_s - cpu_s, time.monotonic() - began
            lag_p99_s = server.report().lag_p99_s
            line.close()
    tick_ms = settings.wire.tick_ms
    figures = [
        Figure("updates received", len(ages) / wall_s, "1/s"),
        Figure("gateway CPU per update", cpu_s / len(ages) * 1e6, "µs", CPU_US),
        Figure("age p50", quantile(ages, 0.5) * 1000, "ms"),
        Figure(f"age p99, tick of {tick_ms:g} ms included", quantile(ages, 0.99) * 1000, "ms", tick_ms + OVER_TICK_MS),
        Figure("loop lag p99", lag_p99_s * 1000, "ms"),
    ]
    show(f"pty: {CHILDREN} children x {HZ} updates/s", figures)
    return figures
