import pytest
import structlog
import trio
import trio.testing

from gateway.live.ticker import CALLS_A_PASS, KEPT_CANCELLED, Ticker


class Wakes(trio.abc.Instrument):
    """Counts how often the scheduler had anything to do."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


@pytest.fixture
async def ticker(nursery: trio.Nursery) -> Ticker:
    ticker = Ticker()
    await nursery.start(ticker.run)
    return ticker


async def test_callbacks_come_in_time_and_in_order(ticker: Ticker, autojump_clock: trio.testing.MockClock) -> None:
    seen: list[tuple[str, float]] = []

    def note(name: str) -> None:
        seen.append((name, trio.current_time()))

    start = trio.current_time()
    ticker.at(start + 3, lambda: note("c"))
    ticker.at(start + 1, lambda: note("a"))
    ticker.at(start + 3, lambda: note("d"))
    ticker.at(start + 2, lambda: note("b"))
    await trio.sleep(10)
    assert seen == [("a", start + 1), ("b", start + 2), ("c", start + 3), ("d", start + 3)]


async def test_what_is_overdue_comes_at_once(ticker: Ticker, mock_clock: trio.testing.MockClock) -> None:
    called = trio.Event()
    ticker.at(trio.current_time() - 5, called.set)
    await called.wait()


async def test_what_was_due_before_it_ran_is_called(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    ticker = Ticker()
    called = trio.Event()
    ticker.at(trio.current_time() + 1, called.set)
    await nursery.start(ticker.run)
    await called.wait()


async def test_a_cancelled_timer_is_not_called(ticker: Ticker, autojump_clock: trio.testing.MockClock) -> None:
    called: list[int] = []
    timer = ticker.at(trio.current_time() + 1, lambda: called.append(1))
    ticker.at(trio.current_time() + 1, lambda: called.append(2))
    assert timer.pending
    timer.cancel()
    timer.cancel()
    assert not timer.pending
    await trio.sleep(5)
    assert called == [2]


async def test_cancelling_what_was_called_does_nothing(ticker: Ticker, autojump_clock: trio.testing.MockClock) -> None:
    called: list[int] = []
    timer = ticker.at(trio.current_time(), lambda: called.append(1))
    await trio.sleep(1)
    assert not timer.pending
    timer.cancel()
    assert called == [1]


async def test_a_callback_may_set_the_next_timer(ticker: Ticker, autojump_clock: trio.testing.MockClock) -> None:
    times: list[float] = []

    def beat() -> None:
        times.append(trio.current_time())
        ticker.at(trio.current_time() + 2, beat)

    start = trio.current_time()
    beat()
    await trio.sleep(7)
    assert times == [start, start + 2, start + 4, start + 6]


async def test_a_failing_callback_is_logged_and_ends_nothing(
    ticker: Ticker, autojump_clock: trio.testing.MockClock
) -> None:
    called = trio.Event()
    with structlog.testing.capture_logs() as logs:
        ticker.at(trio.current_time() + 1, lambda: 1 / 0)
        ticker.at(trio.current_time() + 1, called.set)
        await called.wait()
    (entry,) = logs
    assert (entry["event"], entry["log_level"]) == ("timer_failed", "error")


async def test_it_sleeps_while_nothing_is_due(ticker: Ticker, autojump_clock: trio.testing.MockClock) -> None:
    ticker.at(trio.current_time() + 10_000, lambda: None)
    await trio.testing.wait_all_tasks_blocked()
    wakes = Wakes()
    trio.lowlevel.add_instrument(wakes)
    await trio.sleep(9_000)
    trio.lowlevel.remove_instrument(wakes)
    assert wakes.count <= 2  # this task alone


async def test_many_at_once_leave_turns_to_others(ticker: Ticker, mock_clock: trio.testing.MockClock) -> None:
    called: list[int] = []
    turns: list[int] = []
    total = 3 * CALLS_A_PASS
    for number in range(total):
        ticker.at(trio.current_time(), lambda number=number: called.append(number))  # type: ignore[misc]
    while len(called) < total:
        await trio.lowlevel.checkpoint()
        turns.append(len(called))
    assert called == list(range(total))
    assert max(later - earlier for earlier, later in zip([0, *turns], turns, strict=False)) <= 2 * CALLS_A_PASS


async def test_cancelled_timers_do_not_pile_up(ticker: Ticker, autojump_clock: trio.testing.MockClock) -> None:
    called = trio.Event()
    ticker.at(trio.current_time() + 1, called.set)
    for _ in range(10_000):
        ticker.at(trio.current_time() + 1000, lambda: None).cancel()
    assert len(ticker._heap) <= 2 * KEPT_CANCELLED + 2
    await called.wait()


async def test_sleepers_wake_in_time_and_a_cancelled_one_at_once(
    ticker: Ticker, autojump_clock: trio.testing.MockClock
) -> None:
    woken: list[float] = []
    start = trio.current_time()

    async def sleep(seconds: float) -> None:
        await ticker.sleep(seconds)
        woken.append(trio.current_time() - start)

    async with trio.open_nursery() as nursery:
        for seconds in (3, 0, 1):
            nursery.start_soon(sleep, seconds)
        with trio.move_on_after(2) as patience:
            await ticker.sleep(1000)
        assert patience.cancelled_caught
        assert trio.current_time() == start + 2
    assert woken == [0, 1, 3]
