"""A job's silence, noticed by a task of its own: a deadline for each read would cost a fifth of reading."""

from typing import Final

import trio

TICK_S: Final = 0.5  # between two looks at a silent job


class Silence:
    """Begins at `now`, a time of trio's clock in seconds, and again whenever it is `broken`."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._nap = trio.CancelScope()

    def broken(self, now: float) -> None:
        """Something was heard."""
        self._since = now
        if self._nap.deadline < now + TICK_S / 2:  # not each time, since moving a deadline costs more than looking
            self._nap.deadline = now + TICK_S

    async def lasts(self) -> float:
        """Wait until it has lasted for another `TICK_S` seconds; returns the time."""
        while (due := self._since + TICK_S) > trio.current_time():
            with trio.CancelScope(deadline=due) as self._nap:
                await trio.sleep_forever()
        self._since = trio.current_time()
        return self._since
