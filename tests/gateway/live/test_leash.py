from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from gateway.live.leash import Leashes
from gateway.live.ticker import Ticker

GRACE = 30.0


class Cuts:
    """The leashes under test, and the (time, session) of every cut."""

    def __init__(self, ticker: Ticker) -> None:
        self.made: list[tuple[float, str]] = []
        self.leashes = Leashes(ticker, lambda session: self.made.append((round(trio.current_time(), 3), session)))

    def accept(self, session: str, grace_s: float = GRACE) -> None:
        self.leashes.tie(session, grace_s)
        self.leashes.detached(session)


@asynccontextmanager
async def open_cuts() -> AsyncIterator[Cuts]:
    ticker = Ticker()
    async with trio.open_nursery() as nursery:
        await nursery.start(ticker.run)
        yield Cuts(ticker)
        nursery.cancel_scope.cancel()


async def test_never_watched_counts_from_accepted(autojump_clock: MockClock) -> None:
    async with open_cuts() as cuts:
        await trio.sleep(5)
        cuts.accept("s")
        await trio.sleep(100)
    assert cuts.made == [(35.0, "s")]


async def test_the_grace_begins_when_the_last_of_several_watchers_leaves(autojump_clock: MockClock) -> None:
    async with open_cuts() as cuts:
        cuts.accept("s")
        cuts.leashes.attached("s")
        cuts.leashes.attached("s")
        await trio.sleep(100)
        cuts.leashes.detached("s")
        await trio.sleep(100)
        assert cuts.made == []
        cuts.leashes.detached("s")
        await trio.sleep(100)
    assert cuts.made == [(230.0, "s")]


async def test_coming_back_in_time_stops_it_and_leaving_again_begins_it_afresh(autojump_clock: MockClock) -> None:
    async with open_cuts() as cuts:
        cuts.accept("s")
        await trio.sleep(GRACE - 1)
        cuts.leashes.attached("s")
        await trio.sleep(GRACE)
        cuts.leashes.detached("s")
        await trio.sleep(GRACE - 1)
        assert cuts.made == []
        await trio.sleep(2)
    assert cuts.made == [(89.0, "s")]


async def test_a_watcher_that_attached_before_the_start_was_accepted_counts(autojump_clock: MockClock) -> None:
    async with open_cuts() as cuts:
        cuts.leashes.tie("s", GRACE)
        cuts.leashes.attached("s")  # a follower
        cuts.leashes.detached("s")  # accepted
        cuts.leashes.attached("s")  # whoever started it
        cuts.leashes.detached("s")
        await trio.sleep(100)
        assert cuts.made == []
        cuts.leashes.detached("s")
        await trio.sleep(100)
    assert cuts.made == [(130.0, "s")]


async def test_without_grace_it_is_cut_at_once_but_not_before_the_starter_could_attach(
    autojump_clock: MockClock,
) -> None:
    async with open_cuts() as cuts:
        cuts.leashes.tie("s", 0)
        await trio.sleep(1)  # the start is under way
        cuts.leashes.detached("s")
        cuts.leashes.attached("s")
        await trio.sleep(10)
        assert cuts.made == []
        cuts.leashes.detached("s")
        await trio.sleep(1)
    assert cuts.made == [(11.0, "s")]


async def test_an_ended_session_is_not_cut(autojump_clock: MockClock) -> None:
    async with open_cuts() as cuts:
        cuts.accept("s")
        cuts.leashes.untie("s")
        cuts.leashes.attached("s")
        cuts.leashes.detached("s")
        await trio.sleep(100)
    assert cuts.made == []


async def test_sessions_without_a_leash_are_left_alone(autojump_clock: MockClock) -> None:
    async with open_cuts() as cuts:
        cuts.accept("s")
        cuts.leashes.attached("s")
        cuts.leashes.attached("free")
        cuts.leashes.detached("free")
        await trio.sleep(100)
    assert cuts.made == []
