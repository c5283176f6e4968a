"""What the wire contract promises of one session, checked on all that one client was told of it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from protocol.events import (
    Accepted,
    Artifact,
    End,
    Error,
    Ok,
    PersonaReady,
    Progress,
    ServerMessage,
    Snapshot,
    State,
    Text,
)


class _Reader:
    """A client that believes only what is said to it, and asserts that it may."""

    def __init__(self) -> None:
        self.epoch = self.seq = self.offset = 0
        self.percent = 0.0
        self.persona: dict[str, Any] = {}
        self.complete = False
        self.ended = False
        self.before: ServerMessage | None = None

    def hear(self, message: ServerMessage) -> None:
        assert not self.ended, f"{message} after the end"
        match message:
            case Snapshot():
                self._start_from(message)
            case State(seq=seq) | PersonaReady(seq=seq) | Artifact(seq=seq) | End(seq=seq):
                assert self.epoch, f"{message} before a snapshot"
                assert seq == self.seq + 1
                self.seq = seq
            case Text():
                assert self.epoch, f"{message} before a snapshot"
                assert message.offset == self.offset
                self.offset += len(message.delta)
                _extend(self.persona, message.path, message.delta)
            case Progress():
                self._advance(message)
            case _:
                pass
        if isinstance(message, PersonaReady):
            persona = msgspec.to_builtins(message.persona)
            assert not self.offset or self.persona == persona
            self.complete = True
        if isinstance(message, End):
            self._finish(message)
        self.before = message

    def _start_from(self, snapshot: Snapshot) -> None:
        assert snapshot.seq >= self.seq
        assert (snapshot.epoch, snapshot.offset) >= (self.epoch, self.offset)
        if snapshot.epoch != self.epoch:
            self.percent = 0.0
        self.epoch, self.seq, self.offset = snapshot.epoch, snapshot.seq, snapshot.offset
        self.persona = snapshot.persona
        self.complete = snapshot.state not in ("queued", "writing")
        if isinstance(snapshot.progress, Progress):
            self.percent = max(self.percent, snapshot.progress.percent)
        if isinstance(snapshot.end, End):
            assert (snapshot.end.outcome == "done") is (self.percent == 100.0)
            self.ended = True

    def _advance(self, progress: Progress) -> None:
        assert progress.percent >= self.percent
        assert progress.percent < 33 or self.complete
        assert not isinstance(self.before, Progress) or self.before.percent < 100
        self.percent = progress.percent

    def _finish(self, end: End) -> None:
        self.ended = True
        assert (end.outcome == "done") is (self.percent == 100.0)
        if end.outcome == "done":
            assert isinstance(self.before, Progress)
        assert end.receipt.worker != "stuck"


def _extend(persona: dict[str, Any], path: str, delta: str) -> None:
    name, _, index = path[1:].partition("/")
    if not index:
        persona[name] = persona.get(name, "") + delta
        return
    items = persona.setdefault(name, [])
    assert int(index) in (len(items) - 1, len(items)), "array elements come in order"
    if int(index) == len(items):
        items.append("")
    items[-1] += delta


def check_messages(messages: Sequence[ServerMessage], session: str, *, ended: bool = True) -> None:
    """Assert the promises on all that one attachment, from its first message on, was told of `session`."""
    reader = _Reader()
    for message in messages:
        if getattr(message, "session", None) == session and not isinstance(message, Accepted | Ok | Error):
            reader.hear(message)
    assert reader.ended is ended
