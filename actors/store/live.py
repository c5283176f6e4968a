"""A session that has not ended, as the log holds it in memory, and the line of what it has yet to publish."""

import copy
from collections import deque
from collections.abc import Sequence
from typing import Any

import trio

from protocol.events import End, Preview, Progress, Text, Thinking
from protocol.journal import Entry, EpochBegun, Kept
from protocol.view import SessionView


class Portion:
    """What one append says; it is published when it is durable and all before it are published."""

    __slots__ = ("durable", "entries", "error", "settled")

    def __init__(self, entries: Sequence[Entry], *, durable: bool) -> None:
        self.entries = entries
        self.durable = durable
        self.error: Exception | None = None
        self.settled = trio.Event()


class Live:
    """A session that has not ended: its view, and what is on its way to it, folded ahead as far as its end needs it."""

    __slots__ = ("line", "number", "offset", "place", "progress", "unkept", "view")

    def __init__(self, view: SessionView, number: int, place: int) -> None:
        self.view = view
        self.number = number
        self.place = place
        self.line: deque[Portion] = deque()
        self.unkept = 0  # portions that are still to be made durable, told or not
        self.progress: Progress | None = None
        self.offset = 0

    def foresee(self, entries: Sequence[Entry]) -> list[Kept]:
        """Take notice of what is appended; returns what of it is kept."""
        kept: list[Kept] = []
        for entry in entries:
            match entry:
                case Text():
                    self.offset = entry.offset + len(entry.delta)
                case Progress():
                    self.progress = entry
                case Thinking() | Preview():
                    pass
                case EpochBegun():
                    self.offset, self.progress = 0, None
                    kept.append(entry)
                case _:
                    kept.append(entry)
        return kept

    @property
    def lost(self) -> bool:
        """Whether what is in line leads to an end without a picture: then it need not be durable to be told."""
        last = self.line[-1].entries[-1] if self.line else None
        return isinstance(last, End) and last.outcome != "done"

    def written(self) -> dict[str, Any]:
        """The persona as it will be when all that is in line has been published."""
        ahead = SessionView(self.view.record)
        ahead.persona = copy.deepcopy(self.view.persona)
        for portion in self.line:
            for entry in portion.entries:
                ahead.apply(entry)
        return ahead.persona
