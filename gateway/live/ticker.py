"""One task for all that has to happen at a time: heartbeats, watchdogs and delays have no sleeping task each."""

import heapq
import itertools
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final

import structlog
import trio

_log = structlog.get_logger(__name__)

CALLS_A_PASS: Final = 64  # callbacks in a row before other tasks get their turn
KEPT_CANCELLED: Final = 64  # cancelled timers that may lie in the heap whatever its size


class Timer:
    """A callback that is due at a time; `cancel` is idempotent and does nothing once it has been called."""

    __slots__ = ("_callback", "_ticker")

    def __init__(self, ticker: "Ticker", callback: Callable[[], object]) -> None:
        self._ticker = ticker
        self._callback: Callable[[], object] | None = callback

    @property
    def pending(self) -> bool:
        """Whether it is still to be called."""
        return self._callback is not None

    def cancel(self) -> None:
        """Do not call it."""
        if self._callback is not None:
            self._callback = None
            self._ticker._forget_one()

    def _fire(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            try:
                callback()
            except Exception:
                _log.exception("timer_failed", callback=getattr(callback, "__qualname__", repr(callback)))


class Ticker:
    """Calls callbacks when they are due, by trio's clock; `run` sleeps for as long as nothing is."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._cancelled = 0
        self._sleep = trio.CancelScope()

    def at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call `callback`, which must not block, at `when`: seconds of trio's clock, the past for at once."""
        timer = Timer(self, callback)
        heapq.heappush(self._heap, (when, next(self._order), timer))
        self._sleep.deadline = min(self._sleep.deadline, when)
        return timer

    async def sleep(self, seconds: float) -> None:
        """Like trio.sleep while this runs, for a third of its cost: no cancel scope of its own is made and expires."""
        wake = partial(trio.lowlevel.reschedule, trio.lowlevel.current_task())
        timer = self.at(trio.current_time() + seconds, wake)

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            timer.cancel()
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; a callback that fails is logged."""
        task_status.started()
        while True:
            with trio.CancelScope(deadline=self._heap[0][0] if self._heap else inf) as self._sleep:
                await trio.sleep_forever()
            self._fire_due(trio.current_time())

    def _fire_due(self, now: float) -> None:
        for _ in range(CALLS_A_PASS):
            if not self._heap or self._heap[0][0] > now:
                return
            timer = heapq.heappop(self._heap)[2]
            self._cancelled -= not timer.pending
            timer._fire()

    def _forget_one(self) -> None:
        """Cancelled timers stay in the heap until they are due or outnumber the others."""
        self._cancelled += 1
        if self._cancelled > KEPT_CANCELLED + len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].pending]
            heapq.heapify(self._heap)
            self._cancelled = 0
