"""A seat's worker over time: when it is started, when it is not, and what is said of it after a job."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
import trio.testing

from actors.mflux.warm.child import WarmChild
from actors.mflux.warm.models import WARM_MODELS
from actors.mflux.warm.pool import Seat
from actors.mflux.warm.program import WarmProgram
from actors.mflux.warm.wire import Draw, Drawn, Idle, Leaving
from actors.reaper import ExitStatus
from protocol.errors import ImageFailed, ImageUnavailable
from protocol.mail import RenderMail, WorkerLeft
from protocol.restart import RestartPolicy
from tests.actors.mflux.warm.test_child import ORDER, READY, Worker, outcome_of

PROGRAM = WarmProgram(warm=WARM_MODELS["mflux-generate-qwen"])
OTHER = WarmProgram(warm=WARM_MODELS["mflux-generate-qwen"], model="/models/other")
RESTARTS = RestartPolicy(intensity=2, period_s=60.0, backoff_s=4.0)


class Longest(Random):
    """Each backoff is as long as it may be."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Workers:
    """All that a seat has started, each loaded at once; one that is dismissed ends with `status`."""

    def __init__(self) -> None:
        self.started: list[Worker] = []
        self.status: ExitStatus | None = ExitStatus(signal=15)
        self.loads: list[float] = []
        self.programs: list[WarmProgram] = []
        self.opened = trio.Event()  # the next one

    def loaded(self, program: WarmProgram, seconds: float) -> None:
        self.loads.append(seconds)

    @asynccontextmanager
    async def open(self, program: WarmProgram) -> AsyncIterator[WarmChild]:
        self.programs.append(program)
        worker = Worker()
        self.started.append(worker)
        worker.child.ready = READY
        self.opened.set()
        self.opened = trio.Event()
        try:
            yield worker.child
        finally:
            worker.terminal.status = worker.terminal.status or self.status
            worker.child.end()

    @property
    def last(self) -> Worker:
        return self.started[-1]


@asynccontextmanager
async def seat_for(workers: Workers, random: Random | None = None) -> AsyncIterator[Seat]:
    async with trio.open_nursery() as nursery:
        seat = Seat(PROGRAM, workers.open, RESTARTS, random or Random(1), workers.loaded)
        nursery.start_soon(seat.run)
        yield seat
        nursery.cancel_scope.cancel()


async def tell(letter: RenderMail) -> None:
    """Nobody listens."""


async def draw(
    seat: Seat, workers: Workers, play: Callable[[Worker, Draw], Awaitable[None]], program: WarmProgram = PROGRAM
) -> object:
    """What a job ends with whose worker, once it has begun, plays on like that."""
    return await outcome_of(lambda: seat.draw(program, ORDER, tell), lambda: _play(workers, play))


async def _play(workers: Workers, play: Callable[[Worker, Draw], Awaitable[None]]) -> None:
    await trio.sleep(RESTARTS.backoff_max_s)  # whatever backoff there is
    if workers.started and not workers.last.child.ended.is_set():
        await play(workers.last, await workers.last.begin())


async def complete(worker: Worker, order: Draw) -> None:
    await worker.finish(order, Drawn(job=order.job, seconds=1.0))
    await worker.say(Idle(rss_bytes=1))


async def crash(worker: Worker, order: Draw) -> None:
    await worker.die(ExitStatus(signal=9))


async def test_a_worker_is_started_when_wanted_and_kept_for_the_next_job(
    autojump_clock: trio.testing.MockClock,
) -> None:
    workers = Workers()
    async with seat_for(workers) as seat:
        await trio.sleep(100)
        assert workers.started == []
        assert await seat.settle(1) is None
        seat.want(PROGRAM)
        seat.want(PROGRAM)
        await trio.testing.wait_all_tasks_blocked()
        assert len(workers.started) == 1
        for job in (1, 2):
            assert await draw(seat, workers, complete) == Drawn(job=job, seconds=1.0)
            assert await seat.settle(1) == WorkerLeft(fate="idle")
        assert len(workers.started) == 1
        assert workers.loads == [READY.load_s], "each worker's loading is told once"


async def test_one_that_died_is_replaced_when_needed_and_not_without_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    workers = Workers()
    async with seat_for(workers) as seat:
        for deaths in range(1, RESTARTS.intensity + 2):
            failure = await draw(seat, workers, crash)
            assert isinstance(failure, ImageFailed)
            assert failure.retryable
            assert await seat.settle(1) == WorkerLeft(fate="exited", exit_code=-9)
            assert len(workers.started) == deaths
        assert isinstance(await draw(seat, workers, complete), ImageUnavailable)
        assert await seat.settle(1) is None
        await trio.sleep(RESTARTS.period_s)
        assert await draw(seat, workers, complete) == Drawn(job=1, seconds=1.0)


async def cancel_a_job(seat: Seat, workers: Workers) -> None:
    with trio.move_on_after(1):
        await seat.draw(PROGRAM, ORDER, tell)
    await workers.last.begin()


async def give_up(seat: Seat, workers: Workers) -> float:
    """Have a worker ended that does not drop its job; how long afterwards the next one is started."""
    await cancel_a_job(seat, workers)
    asked = trio.current_time()
    assert await seat.settle(4) == WorkerLeft(fate="exited", exit_code=-15)
    ended = trio.current_time()
    assert ended == asked + 4, "its end is told before the backoff"
    await workers.opened.wait()
    return trio.current_time() - ended


async def test_one_that_does_not_drop_its_job_in_time_is_ended_then_and_replaced_after_a_backoff(
    autojump_clock: trio.testing.MockClock,
) -> None:
    workers = Workers()
    async with seat_for(workers, Longest()) as seat:
        backoffs = [await give_up(seat, workers) for _ in range(4)]
        assert backoffs == [4, 8, RESTARTS.backoff_max_s, RESTARTS.backoff_max_s], "but without end, unlike the dying"
        assert await draw(seat, workers, complete) == Drawn(job=1, seconds=1.0)


async def test_a_picture_makes_up_for_the_failures_before_it(autojump_clock: trio.testing.MockClock) -> None:
    workers = Workers()
    async with seat_for(workers, Longest()) as seat:
        assert [await give_up(seat, workers) for _ in range(2)] == [4, 8]
        assert await draw(seat, workers, complete) == Drawn(job=1, seconds=1.0)
        assert await seat.settle(1) == WorkerLeft(fate="idle")
        assert await give_up(seat, workers) == 4


async def test_in_a_hurry_the_backoff_leads_to_no_worker(autojump_clock: trio.testing.MockClock) -> None:
    workers = Workers()
    async with seat_for(workers, Longest()) as seat:
        await cancel_a_job(seat, workers)
        await seat.settle(4)
        seat.hurry()
        await trio.sleep(100)
        assert len(workers.started) == 1
        with pytest.raises(ImageUnavailable, match="the gateway stops"):
            await seat.draw(PROGRAM, ORDER, tell)


@pytest.mark.parametrize("early", [False, True])
async def test_in_a_hurry_one_that_is_not_idle_is_ended_at_once_and_not_replaced(
    early: bool, autojump_clock: trio.testing.MockClock
) -> None:
    workers = Workers()
    async with seat_for(workers) as seat, trio.open_nursery() as nursery:
        await cancel_a_job(seat, workers)
        if early:
            seat.hurry()
        else:
            nursery.start_soon(_hurry_after, seat, 1.5)
        assert await seat.settle(20) == WorkerLeft(fate="exited", exit_code=-15)
        assert trio.current_time() == (1 if early else 2.5)
        await trio.sleep(100)
        assert len(workers.started) == 1


async def _hurry_after(seat: Seat, delay_s: float) -> None:
    await trio.sleep(delay_s)
    seat.hurry()


async def test_in_a_hurry_one_that_is_idle_keeps_its_good_name(autojump_clock: trio.testing.MockClock) -> None:
    workers = Workers()
    async with seat_for(workers) as seat:
        assert await draw(seat, workers, complete) == Drawn(job=1, seconds=1.0)
        seat.hurry()
        assert await seat.settle(20) == WorkerLeft(fate="idle")


async def test_one_that_cannot_be_ended_is_stuck_and_gets_no_company(autojump_clock: trio.testing.MockClock) -> None:
    workers = Workers()
    workers.status = None
    async with seat_for(workers) as seat:
        await cancel_a_job(seat, workers)
        assert await seat.settle(4) == WorkerLeft(fate="stuck")
        await trio.sleep(100)
        assert len(workers.started) == 1


async def test_one_that_leaves_as_a_job_comes_is_replaced_for_it(autojump_clock: trio.testing.MockClock) -> None:
    workers = Workers()
    async with seat_for(workers) as seat:
        seat.want(PROGRAM)
        await trio.testing.wait_all_tasks_blocked()

        async def script() -> None:
            first = workers.last
            await first.order()
            await first.say(Leaving(reason="nothing to do"))
            await first.die(ExitStatus(code=0))
            await trio.sleep(1)
            await complete(workers.last, await workers.last.begin())

        assert await outcome_of(lambda: seat.draw(PROGRAM, ORDER, tell), script) == Drawn(job=1, seconds=1.0)
        assert len(workers.started) == 2


async def test_one_that_has_loaded_another_model_goes_before_the_next_one_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    workers = Workers()
    async with seat_for(workers) as seat:
        for program in (PROGRAM, OTHER, OTHER, PROGRAM):
            assert isinstance(await draw(seat, workers, complete, program), Drawn)
            assert await seat.settle(1) == WorkerLeft(fate="idle")
            assert [seat.distance(each) for each in (program, PROGRAM if program is OTHER else OTHER)] == [0, 2]
        assert workers.programs == [PROGRAM, OTHER, PROGRAM]
        assert [worker.child.ended.is_set() for worker in workers.started] == [True, True, False]


async def test_one_on_its_way_with_another_model_is_not_taken_for_the_wanted_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    workers = Workers()
    async with seat_for(workers) as seat:
        seat.want(OTHER)
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(await draw(seat, workers, complete), Drawn)
        assert workers.programs == [OTHER, PROGRAM]


async def test_one_with_another_model_that_cannot_be_ended_gets_no_company(
    autojump_clock: trio.testing.MockClock,
) -> None:
    workers = Workers()
    async with seat_for(workers) as seat:
        assert isinstance(await draw(seat, workers, complete), Drawn)
        workers.status = None
        assert isinstance(await draw(seat, workers, complete, OTHER), ImageFailed)
        assert await seat.settle(1) == WorkerLeft(fate="stuck")
        await trio.sleep(100)
        assert len(workers.started) == 1


async def test_one_that_starts_while_its_stage_is_told_is_not_waited_for_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def tell_slowly(_letter: RenderMail) -> None:
        await trio.sleep(1)

    workers = Workers()
    async with seat_for(workers) as seat:
        with trio.fail_after(60):
            drawn = await outcome_of(lambda: seat.draw(PROGRAM, ORDER, tell_slowly), lambda: _play(workers, complete))
    assert drawn == Drawn(job=1, seconds=1.0)
