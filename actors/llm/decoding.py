"""The port between a dialect's bytes and an answer's chunks; what is behind it does no I/O."""

from collections.abc import Iterator
from typing import Protocol

from actors.llm.backend import Chunk


class Decoder(Protocol):
    """Turns the bytes of one answer, split anywhere, into chunks; `over` once the server has said its last word."""

    over: bool

    def feed(self, piece: bytes) -> Iterator[Chunk]:
        """What `piece` completes, in order; a failure is raised after everything that was written before it.

        Raises Overflow, Gibberish or SaidError.
        """


class Overflow(ValueError):
    """A line or an event beyond the bound."""


class Gibberish(ValueError):
    """Something that this dialect does not say."""


class SaidError(Exception):
    """A failure that the server reports inside its stream: its decoded words, and whether it is merely busy."""

    def __init__(self, body: object, *, busy: bool = False) -> None:
        super().__init__(body)
        self.body = body
        self.busy = busy
