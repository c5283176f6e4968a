"""Very many sessions, most of them waiting, and very many idle connections: how fast they begin, and what they keep."""

import resource
import tempfile
import time
from typing import Final

from tests.bench.figure import Figure, show
from tests.bench.line import WRITTEN, Line
from tests.bench.server import Server, config, open_server

SESSIONS: Final = (1000, 10_000)
CONNECTIONS: Final = (1000, 5000)
SPARE_FILES: Final = 200
KIB: Final = 1024
SESSION_KIB, CONNECTION_KIB, PAUSE_MS = 64.0, 40.0, 100.0  # bars


def run() -> list[Figure]:
    """Each size with a gateway of its own."""
    figures = [figure for count in SESSIONS for figure in _sessions(count)]
    possible = _raise_open_files() - SPARE_FILES
    for count in CONNECTIONS:
        if count > possible:
            print(f"the hard limit of open files allows {possible:,} connections of {count:,}")
        figures += _connections(min(count, possible))
    show("sessions: many at a time", figures)
    return figures


def _sessions(count: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as data, open_server(config(data)) as server:
        line = Line(server.port)
        line.start(WRITTEN, 10)  # what is made at first use is no session's
        resident, cpu_s, began = server.resident_bytes, server.cpu_s, time.monotonic()
        server.report()
        line.start(WRITTEN, count)
        wall_s, cpu_s = time.monotonic() - began, server.cpu_s - cpu_s
        kept = server.resident_bytes - resident
        what = f"{count:,} sessions"
        figures = [
            Figure(f"{what}: started", count / wall_s, "1/s"),
            Figure(f"{what}: CPU of a start", cpu_s / count * 1e6, "µs"),
            Figure(f"{what}: memory of one", kept / count / KIB, "KiB", SESSION_KIB),
            *_pauses(what, server),
        ]
        line.close()
    return figures


def _connections(count: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as data, open_server(config(data)) as server:
        lines = [_greeted(server.port)]
        resident, began = server.resident_bytes, time.monotonic()
        server.report()
        lines += [_greeted(server.port) for _ in range(count)]
        wall_s, kept = time.monotonic() - began, server.resident_bytes - resident
        what = f"{count:,} idle connections"
        figures = [
            Figure(f"{what}: opened", count / wall_s, "1/s"),
            Figure(f"{what}: memory of one", kept / count / KIB, "KiB", CONNECTION_KIB),
            *_pauses(what, server),
        ]
        for line in lines:
            line.close()
    return figures


def _greeted(port: int) -> Line:
    line = Line(port)
    for _welcome in line.hear_out():
        break
    return line


def _pauses(what: str, server: Server) -> list[Figure]:
    report = server.report()
    return [
        Figure(f"{what}: longest garbage collection", report.gc_max_s * 1000, "ms", PAUSE_MS),
        Figure(f"{what}: all garbage collections", report.gc_total_s * 1000, "ms"),
        Figure(f"{what}: loop lag p99", report.lag_p99_s * 1000, "ms"),
        Figure(f"{what}: loop lag max", report.lag_max_s * 1000, "ms"),
    ]


def _raise_open_files() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
