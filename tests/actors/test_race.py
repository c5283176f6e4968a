"""Whoever ends first ends the others, and nobody's error comes in a group."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from actors.race import race


def runner(log: list[str], name: str, seconds: float, error: Exception | None = None) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            log.append(f"{name} cancelled")
            raise
        log.append(f"{name} ended")
        if error is not None:
            raise error

    return run


async def test_the_first_to_end_ends_the_others(autojump_clock: MockClock) -> None:
    log: list[str] = []
    await race(runner(log, "slow", 3.0), runner(log, "fast", 1.0))
    assert log == ["fast ended", "slow cancelled"]
    assert trio.current_time() == pytest.approx(1.0)


async def test_an_error_comes_as_it_is(autojump_clock: MockClock) -> None:
    log: list[str] = []
    with pytest.raises(ValueError, match="mine"):
        await race(runner(log, "slow", 3.0), runner(log, "fast", 1.0, ValueError("mine")))
    assert log == ["fast ended", "slow cancelled"]


async def test_a_cancellation_from_outside_reaches_all(autojump_clock: MockClock) -> None:
    log: list[str] = []
    with trio.move_on_after(1.0) as scope:
        await race(runner(log, "one", 3.0), runner(log, "other", 3.0))
    assert scope.cancelled_caught
    assert sorted(log) == ["one cancelled", "other cancelled"]
