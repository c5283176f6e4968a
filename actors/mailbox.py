"""A bounded, typed mailbox: one owner receives, anyone posts; a full one refuses at once instead of growing."""

from collections import deque
from typing import Generic, TypeVar

import trio

M = TypeVar("M")


class MailboxFull(Exception):
    """The owner does not keep up; what to drop or whom to slow down is the poster's decision."""


class Mailbox(Generic[M]):
    """First in, first out; at most `capacity` messages wait."""

    __slots__ = ("_capacity", "_mail", "_receivers")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._mail: deque[M] = deque()
        self._receivers = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._mail)

    def post(self, mail: M) -> None:
        """Leave a message without waiting. Raises MailboxFull."""
        if len(self._mail) >= self._capacity:
            raise MailboxFull(f"{self._capacity} messages are waiting")
        self._mail.append(mail)
        self._receivers.unpark()

    async def receive(self) -> M:
        """The oldest message, waiting for one; a cancelled call loses nothing."""
        await trio.lowlevel.checkpoint()
        while not self._mail:
            await self._receivers.park()
        return self._mail.popleft()
