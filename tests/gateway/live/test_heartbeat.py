"""Heartbeats: who is silent is dropped, but not who was only not listened to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import cast

import trio
from trio.testing import MockClock

from gateway.live.heartbeat import CLOSE_NO_HEARTBEAT, Heartbeat
from gateway.live.ticker import Ticker
from gateway.net.websocket import WebSocket

INTERVAL_S = 20.0


class Peer:
    """A connection as a heartbeat sees it."""

    def __init__(self) -> None:
        self.last_heard = self.reading_since = trio.current_time()
        self.pings = 0
        self.code: int | None = None

    def ping(self) -> None:
        self.pings += 1

    def close(self, code: int, _reason: str) -> None:
        self.code = code

    def answer(self) -> None:
        self.last_heard = self.reading_since = trio.current_time()


class Clockwork:
    """A ticker that is wound by hand, and the timer that it gives."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def at(self, when: float, what: Callable[[], None]) -> "Clockwork":
        self.due.append((when, what))
        return self

    def cancel(self) -> None:
        self.due.clear()

    async def beat(self) -> None:
        """Let the time come for what is due next."""
        when, what = self.due.pop(0)
        await trio.sleep_until(when)
        what()


@contextmanager
def beating() -> Iterator[tuple[Peer, Clockwork]]:
    peer, clockwork = Peer(), Clockwork()
    with Heartbeat(cast("WebSocket", peer), cast("Ticker", clockwork), INTERVAL_S):
        yield peer, clockwork


async def test_a_silent_peer_is_dropped_an_interval_after_the_ping(autojump_clock: MockClock) -> None:
    with beating() as (peer, clockwork):
        await clockwork.beat()
        assert (peer.pings, peer.code, trio.current_time()) == (1, None, INTERVAL_S)
        await clockwork.beat()
        assert (peer.code, trio.current_time()) == (CLOSE_NO_HEARTBEAT, 2 * INTERVAL_S)
        assert not clockwork.due


async def test_a_peer_that_answers_stays(autojump_clock: MockClock) -> None:
    with beating() as (peer, clockwork):
        for _ in range(10):
            await clockwork.beat()
            peer.answer()
        assert (peer.pings, peer.code) == (10, None)
    assert not clockwork.due


async def test_a_peer_whose_answer_nobody_has_read_stays_until_it_could_be(autojump_clock: MockClock) -> None:
    """The dialogue handles a command that takes long; afterwards silence counts again."""
    with beating() as (peer, clockwork):
        peer.reading_since = inf
        for _ in range(5):
            await clockwork.beat()
        await trio.sleep(1)
        peer.reading_since = trio.current_time()
        await clockwork.beat()
        assert (peer.pings, peer.code) == (6, None)
        await clockwork.beat()
        assert peer.code == CLOSE_NO_HEARTBEAT
