"""Hatches that are to end with their watchers: the grace period begins when the last attachment is gone."""

from collections.abc import Callable

import trio

from gateway.live.ticker import Ticker, Timer


class _Leash:
    __slots__ = ("attachments", "deadline", "grace_s")

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self.attachments = 1
        self.deadline: Timer | None = None


class Leashes:
    """The sessions started with `on_disconnect: "cancel"`; `cut` is called when one has been unwatched for too long."""

    def __init__(self, ticker: Ticker, cut: Callable[[str], None]) -> None:
        self._ticker = ticker
        self._cut = cut
        self._leashes: dict[str, _Leash] = {}

    def tie(self, session: str, grace_s: float) -> None:
        """Begin to count, with one attachment: the start itself, to be `detached` when it is accepted."""
        self._leashes[session] = _Leash(grace_s)

    def untie(self, session: str) -> None:
        """The session has ended."""
        leash = self._leashes.pop(session, None)
        if leash is not None and leash.deadline is not None:
            leash.deadline.cancel()

    def attached(self, session: str) -> None:
        """One of its owner's attachments has begun."""
        leash = self._leashes.get(session)
        if leash is not None:
            leash.attachments += 1
            if leash.deadline is not None:
                leash.deadline.cancel()
                leash.deadline = None

    def detached(self, session: str) -> None:
        """One of its owner's attachments is gone."""
        leash = self._leashes.get(session)
        if leash is not None:
            leash.attachments -= 1
            if not leash.attachments:
                self._begin(session)

    def _begin(self, session: str) -> None:
        leash = self._leashes[session]
        leash.deadline = self._ticker.at(trio.current_time() + leash.grace_s, lambda: self._cut(session))
