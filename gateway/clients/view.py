"""A session as a client knows it: the fold of what it was told, which notices when something is missing."""

from typing import Any, Final

import msgspec
from msgspec import UNSET

from protocol.commands import Cursor, StateName
from protocol.events import (
    Artifact,
    End,
    PersonaReady,
    Preview,
    Progress,
    SessionEvent,
    Snapshot,
    State,
    Text,
    Thinking,
)
from protocol.persona import Persona, extend

WRITTEN: Final = frozenset({"waiting", "drawing", "done"})  # states that only a complete persona leads to
WRITTEN_PERCENT: Final = 33.0


class View:
    """What is known of one session; `persona` stays None until it is complete, `partial` grows from the start."""

    __slots__ = (
        "artifacts",
        "attempt",
        "cursor",
        "end",
        "partial",
        "persona",
        "preview",
        "progress",
        "prompt",
        "reason",
        "state",
    )

    def __init__(self) -> None:
        self.cursor: Cursor | None = None  # until the first snapshot
        self.state: StateName = "queued"
        self.reason: str | None = None  # of the latest `state`; an end leaves it, as the reason of a cancel
        self.attempt = 1
        self.prompt = ""
        self.partial: dict[str, Any] = {}
        self.persona: Persona | None = None
        self.progress: Progress | None = None
        self.preview: Preview | None = None
        self.artifacts: list[Artifact] = []
        self.end: End | None = None

    def take(self, message: Snapshot | SessionEvent) -> bool:
        """Fold one more message; False, and nothing is folded, if something before it is missing."""
        if isinstance(message, Snapshot):
            self._replace(message)
            return True
        if self.cursor is None or not _follows(self.cursor, message):
            return False
        match message:
            case Text():
                extend(self.partial, message.path, message.delta)
                self._move(offset=message.offset + len(message.delta))
            case Progress():
                self.progress = message
            case Preview():
                self.preview = message
            case Thinking():
                pass
            case State() | PersonaReady() | Artifact() | End():
                self._move(seq=message.seq)
                self._settle(message)
        return True

    def _move(self, **to: int) -> None:
        assert self.cursor is not None
        self.cursor = msgspec.structs.replace(self.cursor, **to)

    def _settle(self, message: State | PersonaReady | Artifact | End) -> None:
        match message:
            case State():
                self.state, self.reason = message.state, message.reason
            case PersonaReady():
                self.persona, self.partial = message.persona, msgspec.to_builtins(message.persona)
            case Artifact():
                self.artifacts = [*self.artifacts, message]
            case End():
                self.state, self.end, self.preview = message.outcome, message, None

    def _replace(self, snapshot: Snapshot) -> None:
        self.cursor = Cursor(epoch=snapshot.epoch, seq=snapshot.seq, offset=snapshot.offset)
        self.state, self.attempt, self.prompt = snapshot.state, snapshot.attempt, snapshot.prompt
        self.partial = {name: list(text) if isinstance(text, list) else text for name, text in snapshot.persona.items()}
        self.progress = None if snapshot.progress is UNSET else snapshot.progress
        self.preview = None if snapshot.preview is UNSET else snapshot.preview
        self.artifacts = list(snapshot.artifacts)
        self.end = None if snapshot.end is UNSET else snapshot.end
        self.reason = None if snapshot.reason is UNSET else snapshot.reason
        written = snapshot.state in WRITTEN or (self.progress and self.progress.percent >= WRITTEN_PERCENT)
        self.persona = msgspec.convert(snapshot.persona, Persona) if written else None


def _follows(cursor: Cursor, message: SessionEvent) -> bool:
    match message:
        case Text(offset=offset):
            return offset == cursor.offset
        case State(seq=seq) | PersonaReady(seq=seq) | Artifact(seq=seq) | End(seq=seq):
            return seq == cursor.seq + 1
        case _:
            return True
