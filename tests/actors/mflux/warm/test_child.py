"""A worker's side of the talk, scripted: whose outcome is whose, what Ctrl-C hits, and when a worker is free again."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from actors.mflux.warm.child import LeftBeforeJob, WarmChild
from actors.mflux.warm.wire import (
    ORDER_BYTES,
    Draw,
    Drawn,
    Failed,
    FrameReader,
    Idle,
    Interrupted,
    Leaving,
    Order,
    Ready,
    Report,
    Started,
    Stopped,
    Unloadable,
    frame,
    job_mark,
)
from actors.pty import INTERRUPT_KEY
from actors.reaper import ExitStatus
from protocol.errors import ImageFailed, ImageUnavailable
from protocol.forecast import Forecast, Span
from protocol.mail import RenderMail, RenderStaged, StepFinished
from protocol.stall import StallLimits

READY = Ready(load_s=2.0, model="tiny", version="0.24.0")
ORDER = Draw(job=0, prompt="an owl", output="/nowhere/picture.png", seed=7)


class ScriptedTerminal:
    """What the worker prints, and what is typed at it."""

    def __init__(self) -> None:
        self.pid = 42
        self.status: ExitStatus | None = None
        self.typed: list[bytes] = []
        self.printing, self._printed = trio.open_memory_channel[bytes](64)

    async def receive(self) -> bytes:
        try:
            return await self._printed.receive()
        except trio.EndOfChannel:
            return b""

    async def send(self, data: bytes) -> None:
        self.typed.append(data)


class Worker:
    """A worker whose every word is the test's, and its counterpart under test."""

    def __init__(self, stalls: StallLimits = StallLimits()) -> None:  # noqa: B008 - frozen
        self.terminal = ScriptedTerminal()
        orders, self._inbox = trio.testing.memory_stream_one_way_pair()
        self._outbox, reports = trio.testing.memory_stream_one_way_pair()
        self._frames: FrameReader[Order] = FrameReader(Order, ORDER_BYTES)
        self.child = WarmChild(self.terminal, orders, reports, stalls)
        self.letters: list[RenderMail] = []

    async def tell(self, letter: RenderMail) -> None:
        self.letters.append(letter)

    async def order(self) -> Draw:
        (order,) = self._frames.feed(bytes(await self._inbox.receive_some()))
        assert isinstance(order, Draw)
        return order

    async def say(self, *reports: Report) -> None:
        for report in reports:
            await self._outbox.send_all(frame(report))
        await trio.testing.wait_all_tasks_blocked()

    def print(self, text: str) -> None:
        self.terminal.printing.send_nowait(text.encode())

    async def begin(self) -> Draw:
        order = await self.order()
        await self.say(Started(job=order.job))
        return order

    async def finish(self, order: Draw, outcome: Report) -> None:
        self.print(f"\r\n{job_mark(order.job)}\r\n")
        await self.say(outcome)

    async def die(self, status: ExitStatus) -> None:
        self.terminal.status = status
        self.terminal.printing.close()
        await self._outbox.aclose()


@asynccontextmanager
async def loaded_worker(stalls: StallLimits = StallLimits()) -> AsyncIterator[Worker]:  # noqa: B008 - frozen
    worker = Worker(stalls)
    async with trio.open_nursery() as nursery:

        async def live() -> None:
            await worker.child.run()
            worker.child.end()

        nursery.start_soon(live)
        await worker.say(READY, Idle(rss_bytes=1))
        yield worker
        nursery.cancel_scope.cancel()


async def outcome_of(job: Callable[[], Awaitable[object]], script: Callable[[], Awaitable[None]]) -> object:
    """What a job returns or raises while the script plays."""
    result: list[object] = []

    async def run() -> None:
        try:
            result.append(await job())
        except (ImageFailed, ImageUnavailable, LeftBeforeJob) as error:
            result.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await script()
    return result[0]


async def test_steps_are_told_before_the_outcome_even_if_the_terminal_lags(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with loaded_worker() as worker:

        async def script() -> None:
            order = await worker.begin()
            await worker.say(Drawn(job=order.job, seconds=1.0), Idle(rss_bytes=1))
            worker.print("\r 50%|##   | 1/2 [00:01<00:01,  1.00s/it]\r100%|#####| 2/2 [00:02<00:00,  1.00s/it]\r\n")
            worker.print(f"\r\n{job_mark(order.job)}\r\n")

        drawn = await outcome_of(lambda: worker.child.draw(ORDER, worker.tell), script)
        assert drawn == Drawn(job=1, seconds=1.0)
        assert [letter.step for letter in worker.letters if isinstance(letter, StepFinished)] == [2]
        await trio.testing.wait_all_tasks_blocked()
        assert not worker.child.occupied


async def test_a_stale_outcome_is_not_the_next_jobs(autojump_clock: trio.testing.MockClock) -> None:
    async with loaded_worker() as worker:

        async def first() -> None:
            order = await worker.begin()
            await worker.finish(order, Failed(job=order.job, kind="ValueError", message="no"))
            await worker.say(Idle(rss_bytes=1))

        failed = await outcome_of(lambda: worker.child.draw(ORDER, worker.tell), first)
        assert isinstance(failed, ImageFailed)
        assert not failed.retryable

        async def second() -> None:
            order = await worker.begin()
            await worker.finish(order, Drawn(job=order.job - 1, seconds=9.0))
            await worker.finish(order, Stopped(job=order.job - 1))
            await worker.finish(order, Drawn(job=order.job, seconds=2.0))

        assert await outcome_of(lambda: worker.child.draw(ORDER, worker.tell), second) == Drawn(job=2, seconds=2.0)


async def test_a_cancelled_job_is_interrupted_once_it_can_be_and_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with loaded_worker() as worker:
        with trio.move_on_after(1):
            await worker.child.draw(ORDER, worker.tell)
        order = await worker.order()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.child.settle, 10)
            await trio.sleep(1)
            assert worker.terminal.typed == [], "before the job has begun it would be lost"
            await worker.say(Started(job=order.job))
            assert worker.terminal.typed == [b"\x03"]
            await trio.sleep(3)
            await worker.finish(order, Stopped(job=order.job))
            assert worker.child.occupied, "stopped, but not yet ready for the next"
            await worker.say(Idle(rss_bytes=1))
        assert not worker.child.occupied
        assert trio.current_time() == 5, "and not a moment longer"
        assert worker.terminal.typed == [b"\x03"]


async def test_an_interrupt_that_came_too_late_must_have_landed_before_the_next_job(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with loaded_worker() as worker:
        with trio.move_on_after(1):
            await worker.child.draw(ORDER, worker.tell)
        order = await worker.begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.child.settle, 10)
            await trio.testing.wait_all_tasks_blocked()
            await worker.finish(order, Drawn(job=order.job, seconds=1.0))
            await worker.say(Idle(rss_bytes=1))
            assert worker.child.occupied, "Ctrl-C is still on its way"
            await worker.say(Interrupted())
        assert not worker.child.occupied
        assert worker.terminal.typed == [b"\x03"]


async def test_idleness_said_before_the_order_was_read_does_not_count(autojump_clock: trio.testing.MockClock) -> None:
    async with loaded_worker() as worker:
        with trio.move_on_after(1):
            await worker.child.draw(ORDER, worker.tell)
        await worker.say(Idle(rss_bytes=1))
        assert worker.child.occupied


async def test_patience_has_an_end(autojump_clock: trio.testing.MockClock) -> None:
    async with loaded_worker() as worker:
        with trio.move_on_after(1):
            await worker.child.draw(ORDER, worker.tell)
        await worker.begin()
        await worker.child.settle(4)
        assert worker.child.occupied
        assert trio.current_time() == 5


async def test_a_worker_that_is_never_read_by_a_job_is_read_all_the_same(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with loaded_worker() as worker:
        with trio.move_on_after(1):
            await worker.child.draw(ORDER, worker.tell)
        for step in range(1000):
            await worker.terminal.printing.send(f"\r {step // 10:3d}%|# | {step}/1000 [00:01<00:01]".encode())


@pytest.mark.parametrize("began", [False, True])
async def test_a_death_is_the_jobs_failure_only_if_it_had_begun(
    autojump_clock: trio.testing.MockClock, began: bool
) -> None:
    async with loaded_worker() as worker:

        async def script() -> None:
            if began:
                await worker.begin()
            worker.print("Metal: out of memory\r\n")
            await trio.testing.wait_all_tasks_blocked()
            await worker.die(ExitStatus(signal=9))

        error = await outcome_of(lambda: worker.child.draw(ORDER, worker.tell), script)
        if began:
            assert isinstance(error, ImageFailed)
            assert error.retryable
            assert "signal 9" in error.message
            assert "Metal: out of memory" in error.message
        else:
            assert isinstance(error, LeftBeforeJob)


async def test_loading_is_estimated_from_the_last_time_and_its_failure_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    worker = Worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.child.run)

        async def script() -> None:
            await trio.sleep(1.2)
            await worker.say(Unloadable(message="no such model"))

        error = await outcome_of(lambda: worker.child.load(worker.tell, Forecast({Span.LOAD: [2.0, 4.0]}, 4)), script)
        nursery.cancel_scope.cancel()
    assert isinstance(error, ImageUnavailable)
    assert "no such model" in error.message
    told = [(letter.basis, letter.fraction) for letter in worker.letters if isinstance(letter, RenderStaged)]
    assert told == [
        ("indeterminate", None),
        ("estimated", pytest.approx(0.5 / 3 * 0.95)),
        ("estimated", pytest.approx(1 / 3 * 0.95)),
    ]


async def test_a_silent_job_is_estimated_from_the_past(autojump_clock: trio.testing.MockClock) -> None:
    past = {Span.LOAD: [2.0], Span.FIRST_STEP: [1.0], Span.STEP: [1.0], Span.DECODE: [1.0]}
    async with loaded_worker() as worker:

        async def script() -> None:
            order = await worker.begin()
            await trio.sleep(1.2)
            await worker.finish(order, Drawn(job=order.job, seconds=1.0))

        await outcome_of(lambda: worker.child.draw(ORDER, worker.tell, Forecast(past, 2)), script)
    told = [(letter.stage, letter.basis, letter.eta_s) for letter in worker.letters if isinstance(letter, RenderStaged)]
    assert told == [
        ("encoding", "indeterminate", None),
        ("encoding", "estimated", (4.5, 4.5)),
        ("encoding", "estimated", (4.0, 4.0)),
    ]


async def test_a_job_that_is_silent_for_too_long_is_given_up_and_its_worker_asked_to_drop_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with loaded_worker(StallLimits(silent_s=20.0)) as worker:

        async def script() -> None:
            await worker.begin()
            await trio.sleep(30)

        error = await outcome_of(lambda: worker.child.draw(ORDER, worker.tell), script)
        assert isinstance(error, ImageFailed)
        assert error.retryable
        assert "said nothing for 20 s in stage encoding" in error.message
        await worker.child.settle(1.0)
        assert worker.terminal.typed == [INTERRUPT_KEY]


async def test_a_model_that_loads_for_ever_costs_its_worker(autojump_clock: trio.testing.MockClock) -> None:
    worker = Worker(StallLimits(silent_s=20.0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.child.run)

        async def script() -> None:
            await trio.sleep(30)

        error = await outcome_of(lambda: worker.child.load(worker.tell), script)
    assert isinstance(error, ImageFailed)
    assert "in stage loading" in error.message
    assert worker.child.dismissed


async def test_a_worker_that_leaves_says_so(autojump_clock: trio.testing.MockClock) -> None:
    async with loaded_worker() as worker:

        async def script() -> None:
            order = await worker.begin()
            await worker.finish(order, Drawn(job=order.job, seconds=1.0))
            await worker.say(Leaving(reason="1 job is done"))

        await outcome_of(lambda: worker.child.draw(ORDER, worker.tell), script)
        assert worker.child.leaving == "1 job is done"
        assert not worker.child.occupied
