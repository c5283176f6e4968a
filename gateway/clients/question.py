"""A command that waits for its answer, over however many connections that takes."""

from collections.abc import Callable

from protocol.commands import AnyCommand
from protocol.events import Accepted, Ok, Pong, Sessions, Snapshot

Reply = Accepted | Ok | Sessions | Pong | Snapshot


class Question:
    """A command and, once there is one, its answer or why there is none; `on_settled` is called then."""

    def __init__(self, command: AnyCommand, *, repeats: bool = True) -> None:
        self.command = command
        self.repeats = repeats  # over the next connection, if it has not been answered
        self.reply: Reply | None = None
        self.error: Exception | None = None
        self.on_settled: Callable[[], None] = _nobody_waits

    @property
    def settled(self) -> bool:
        """Whether nothing more will come."""
        return self.reply is not None or self.error is not None

    def settle(self, reply: Reply | None = None, error: Exception | None = None) -> None:
        """Take the answer."""
        self.reply, self.error = reply, error
        self.on_settled()


def _nobody_waits() -> None:
    """What is called until somebody waits."""
