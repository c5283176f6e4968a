"""A gateway as `hatchery serve` runs it, which also says, asked by a line on stdin, how late its event loop has been.

It is started with its configuration as JSON, and keeps the longest pause of the garbage collector as well.
"""

import gc
import os
import sys
import time
from typing import Final, Literal

import msgspec
import trio

from gateway.config import Config
from gateway.serve import serve_until_signal
from gateway.telemetry import configure_logging
from tests.bench.cost import quantile

SAMPLE_S: Final = 0.01


class Report(msgspec.Struct, frozen=True):
    """Since the last report: how late the loop was and how long collections took; seconds."""

    lag_p50_s: float
    lag_p99_s: float
    lag_max_s: float
    gc_max_s: float
    gc_total_s: float


class _Collections:
    """CPU time of garbage collections, which all of them is pause; `note` is one of `gc.callbacks`."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self._began = 0.0

    def note(self, phase: Literal["start", "stop"], _info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.pauses.append(time.thread_time() - self._began)


async def _sample_lag(lags: list[float]) -> None:
    while True:
        due = trio.current_time() + SAMPLE_S
        await trio.sleep_until(due)
        lags.append(trio.current_time() - due)


async def _report_when_asked(lags: list[float], collections: _Collections) -> None:
    while await trio.to_thread.run_sync(os.read, 0, 1, abandon_on_cancel=True):
        report = Report(
            lag_p50_s=quantile(lags, 0.5),
            lag_p99_s=quantile(lags, 0.99),
            lag_max_s=max(lags, default=0.0),
            gc_max_s=max(collections.pauses, default=0.0),
            gc_total_s=sum(collections.pauses),
        )
        os.write(1, msgspec.json.encode(report) + b"\n")
        lags.clear()
        collections.pauses.clear()


async def _serve(config: Config) -> None:
    lags: list[float] = []
    collections = _Collections()
    gc.callbacks.append(collections.note)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_sample_lag, lags)
        nursery.start_soon(_report_when_asked, lags, collections)
        await serve_until_signal(config)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    configure_logging(verbose=True)
    trio.run(_serve, msgspec.json.decode(sys.argv[1], type=Config))
