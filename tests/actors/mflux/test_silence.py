"""A silence is looked at every half second, and begins again with each word."""

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from actors.mflux.silence import TICK_S, Silence


async def test_a_silence_is_noticed_again_and_again(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    silence = Silence(began)
    assert [await silence.lasts() - began for _ in range(3)] == pytest.approx([TICK_S, 2 * TICK_S, 3 * TICK_S])


@pytest.mark.parametrize("pause_s", [0.02, 0.1, 0.3, 0.49])
async def test_it_counts_from_the_last_word(pause_s: float, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    silence = Silence(began)
    noticed: list[float] = []

    async def notice() -> None:
        noticed.append(await silence.lasts())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(notice)
        for _ in range(40):
            await trio.sleep(pause_s)
            silence.broken(trio.current_time())
        spoken = trio.current_time()
        assert not noticed
    assert noticed == [pytest.approx(spoken + TICK_S)]


async def test_a_talker_hardly_wakes_its_listener(autojump_clock: MockClock) -> None:
    silence = Silence(trio.current_time())
    wakes = 0

    class Counter(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            nonlocal wakes
            wakes += task is listener

    async with trio.open_nursery() as nursery:
        nursery.start_soon(silence.lasts)
        await trio.testing.wait_all_tasks_blocked()
        (listener,) = nursery.child_tasks
        trio.lowlevel.add_instrument(Counter())
        for _ in range(100):
            await trio.sleep(0.1)
            silence.broken(trio.current_time())
        assert wakes == 0
        nursery.cancel_scope.cancel()
