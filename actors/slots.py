"""Fair slots: a bounded number of holders, turns by owner, and a slot that is free only when its holder has let go."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from protocol.errors import Overloaded

OnPosition = Callable[[int], Awaitable[None]]


class Slot:
    """One held slot; `quarantine` keeps it from ever being given out again."""

    __slots__ = ("quarantined",)

    def __init__(self) -> None:
        self.quarantined = False

    def quarantine(self) -> None:
        """Say that what ran here could not be ended, so nothing else may run here."""
        self.quarantined = True


class _Waiter:
    __slots__ = ("moved", "owner", "position")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.position = -1  # turns until its own; 0: granted
        self.moved = trio.Event()

    def move_to(self, position: int) -> None:
        if position != self.position:
            self.position = position
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
        """Wait for a slot, telling `on_position` (from 1) at first and whenever the place in the queue changes.

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
        self._queues.setdefault(owner, deque()).append(waiter)
        self._grant()
        try:
            while waiter.position:
                if self.quarantined >= self.capacity:
                    raise Overloaded("nothing that was started here can be ended: restart the gateway, or the machine")
                moved = waiter.moved
                await on_position(waiter.position)
                await moved.wait()
        except BaseException:
            self._withdraw(waiter)
            raise

    def _grant(self) -> None:
        while self._queues and self.held + self.quarantined < self.capacity:
            owner, queue = next(iter(self._queues.items()))
            waiter = queue.popleft()
            del self._queues[owner]  # back to the end of the line of owners
            if queue:
                self._queues[owner] = queue
            self.held += 1
            waiter.move_to(0)
        queues = enumerate(self._queues.values())
        turns = sorted((round_, turn, waiter) for turn, queue in queues for round_, waiter in enumerate(queue))
        for position, (_, _, waiter) in enumerate(turns, start=1):
            waiter.move_to(position)

    def _withdraw(self, waiter: _Waiter) -> None:
        if waiter.position == 0:
            self.held -= 1
        else:
            queue = self._queues[waiter.owner]
            queue.remove(waiter)
            if not queue:
                del self._queues[waiter.owner]
        self._grant()
