"""Fair slots: a bounded number of holders, turns by owner, and a slot that is free only when its holder has let go."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from protocol.errors import Overloaded

OnPosition = Callable[[int], Awaitable[None]]

EXACT: Final = 10  # places at the front of the line that are told one by one
COARSE: Final = 0.1  # further back, the share of its place that one must have moved to be told: n waiters cost n log n


class Slot:
    """One held slot; `quarantine` keeps it from ever being given out again."""

    __slots__ = ("quarantined",)

    def __init__(self) -> None:
        self.quarantined = False

    def quarantine(self) -> None:
        """Say that what ran here could not be ended, so nothing else may run here."""
        self.quarantined = True


class _Waiter:
    __slots__ = ("moved", "owner", "position", "told")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.position = -1  # turns until its own; 0: granted
        self.told = 0
        self.moved = trio.Event()

    def move_to(self, position: int) -> None:
        self.position = position
        if position != self.told and (position <= EXACT or abs(position - self.told) >= COARSE * self.told):
            self.wake()

    def wake(self) -> None:
        self.moved.set()
        self.moved = trio.Event()


class Slots:
    """`capacity` slots; owners take turns, each owner's own requests are served first come, first served."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        self.quarantined = 0
        self._queues: dict[str, deque[_Waiter]] = {}  # insertion order is the order of turns

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(map(len, self._queues.values()))

    @asynccontextmanager
    async def hold(self, owner: str, on_position: OnPosition) -> AsyncIterator[Slot]:
        """Wait for a slot, telling `on_position` (from 1) at first and when the place in the queue changes noticeably.

        Raises Overloaded when every slot is quarantined.
        """
        await self._acquire(owner, on_position)
        slot = Slot()
        try:
            yield slot
        finally:
            self.held -= 1
            if slot.quarantined:
                self.quarantined += 1
            self._grant()
            if self.quarantined >= self.capacity:
                for waiter in [waiter for queue in self._queues.values() for waiter in queue]:
                    waiter.wake()

    async def _acquire(self, owner: str, on_position: OnPosition) -> None:
        waiter = _Waiter(owner)
        self._enqueue(waiter)
        try:
            while waiter.position:
                if self.quarantined >= self.capacity:
                    raise Overloaded("nothing that was started here can be ended: restart the gateway, or the machine")
                moved, waiter.told = waiter.moved, waiter.position
                await on_position(waiter.position)
                await moved.wait()
        except BaseException:
            self._withdraw(waiter)
            raise

    def _enqueue(self, waiter: _Waiter) -> None:
        queue = self._queues.setdefault(waiter.owner, deque())
        queue.append(waiter)
        turn, rounds = list(self._queues).index(waiter.owner), len(queue)
        before = sum(min(len(other), rounds - (n > turn)) for n, other in enumerate(self._queues.values()))
        if self.held + self.quarantined >= self.capacity and before == self.waiting:
            waiter.move_to(before)  # the last of all: nobody else moves, however many there are
        else:
            self._grant()

    def _grant(self) -> None:
        while self._queues and self.held + self.quarantined < self.capacity:
            owner, queue = next(iter(self._queues.items()))
            waiter = queue.popleft()
            del self._queues[owner]  # back to the end of the line of owners
            if queue:
                self._queues[owner] = queue
            self.held += 1
            waiter.move_to(0)
        for position, waiter in enumerate(self._turns(), start=1):
            waiter.move_to(position)

    def _turns(self) -> Iterator[_Waiter]:
        """All who wait, in the order in which they are served: round by round, one of each owner."""
        lines = [iter(queue) for queue in self._queues.values()]
        while lines:
            still = []
            for line in lines:
                if (waiter := next(line, None)) is not None:
                    yield waiter
                    still.append(line)
            lines = still

    def _withdraw(self, waiter: _Waiter) -> None:
        if waiter.position == 0:
            self.held -= 1
        else:
            queue = self._queues[waiter.owner]
            queue.remove(waiter)
            if not queue:
                del self._queues[waiter.owner]
        self._grant()
