"""What the wire contract promises of one session, checked on what one client is told: messages in, violations out."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from protocol.commands import ResumeCursor
from protocol.events import (
    Artifact,
    End,
    Outcome,
    PersonaReady,
    Preview,
    Progress,
    SessionEvent,
    Snapshot,
    State,
    Text,
    Thinking,
)

Invariant = Literal[
    "one-end",  # exactly one for every session
    "after-end",  # and nothing after it
    "seq",  # of reliable messages: without gap or repeat
    "snapshot",  # first of an attachment and of an epoch, and never behind what was told
    "text-offset",  # counts the code points before it, and no text comes after the persona
    "text-path",  # leads to a string of the persona, elements in order
    "text-differs",  # the concatenated deltas are the persona
    "percent",  # never falls in an epoch, reaches 33 with the persona
    "hundred",  # comes with `done`, directly before it, in the same frame
    "work-after-cancel",  # nothing grows once it is being cancelled
    "receipt",  # says that nothing still runs
    "answer",  # exactly one for every request
    "unreadable",  # a frame is an array of messages
    "connection",  # is not closed by the gateway without a reason
    "audit",  # what the gateway says of a session at last is what its clients were told
    "memory",  # is bounded
]

PERSONA_DONE: Final = 33.0  # percent
_NOTHING: Final[tuple["Violation", ...]] = ()


class Violation(msgspec.Struct, frozen=True):
    """A broken promise: which one, of which session ("" for none), and what was seen."""

    invariant: Invariant
    session: str
    detail: str


class Testimony(msgspec.Struct, frozen=True, kw_only=True):
    """What one client knows of a session that has ended; `persona` is the SHA-256 of what it was shown."""

    session: str
    outcome: Outcome
    epoch: int
    seq: int
    offset: int
    persona: str


class Witness:
    """One client's attachment to one session, through all of its reconnects."""

    __slots__ = (
        "_complete",
        "_epoch",
        "_hundred",
        "_late_progress",
        "_offset",
        "_percent",
        "_persona",
        "_seq",
        "_stopping",
        "attached",
        "session",
        "testimony",
    )

    def __init__(self, session: str) -> None:
        self.session = session
        self.attached = False  # its snapshot has come since the connection was made
        self.testimony: Testimony | None = None
        self._epoch = self._seq = self._offset = 0
        self._percent = 0.0
        self._persona: dict[str, Any] = {}
        self._complete = False
        self._stopping = False
        self._late_progress = 0
        self._hundred = False

    @property
    def cursor(self) -> ResumeCursor:
        """How far this client has come."""
        return ResumeCursor(session=self.session, epoch=self._epoch, seq=self._seq, offset=self._offset)

    @property
    def percent(self) -> float:
        """What it was told last."""
        return self._percent

    def detached(self) -> None:
        """The connection is gone."""
        self.attached = self._hundred = False

    def hear(self, message: SessionEvent | Snapshot) -> Sequence[Violation]:
        """One message about the session, in the order of its coming."""
        if self.testimony is not None:
            invariant: Invariant = "one-end" if isinstance(message, End) else "after-end"
            return self._broken(invariant, f"{_name(message)} after the end")
        if isinstance(message, Snapshot):
            return self._take_snapshot(message)
        if not self.attached:
            return self._broken("snapshot", f"{_name(message)} before a snapshot")
        found: list[Violation] = []
        if self._hundred and not isinstance(message, End):
            self._hundred = False
            found += self._broken("hundred", f"{_name(message)} between 100 % and the end")
        if isinstance(message, Progress):
            found += self._take_progress(message)
        elif isinstance(message, Text):
            found += self._take_text(message)
        elif isinstance(message, Preview | Thinking):
            found += self._check_stopping(message)
        else:
            found += self._take_reliable(message)
        return found or _NOTHING

    def settle(self) -> Sequence[Violation]:
        """The frame is over; worth asking for after a progress of 100."""
        if not self._hundred:
            return _NOTHING
        self._hundred = False
        return self._broken("hundred", "100 % without `done` in the same frame")

    def _take_snapshot(self, snapshot: Snapshot) -> Sequence[Violation]:
        found: list[Violation] = []
        if snapshot.seq < self._seq or snapshot.epoch < self._epoch:
            was, is_ = f"{self._epoch}.{self._seq}", f"{snapshot.epoch}.{snapshot.seq}"
            found += self._broken("snapshot", f"at {is_}, after {was}")
        if snapshot.epoch == self._epoch:
            found += self._compare(snapshot)
        else:
            self._percent = 0.0
        self.attached = True
        self._epoch, self._seq, self._offset = snapshot.epoch, snapshot.seq, snapshot.offset
        self._persona = {
            name: list(text) if isinstance(text, list) else text for name, text in snapshot.persona.items()
        }
        percent = snapshot.progress.percent if isinstance(snapshot.progress, Progress) else 0.0
        self._complete = snapshot.state in ("waiting", "drawing", "done") or percent >= PERSONA_DONE
        self._stopping = self._stopping or snapshot.state == "cancelling"
        if percent:
            found += self._advance(percent)
        if isinstance(snapshot.end, End):
            found += self._finish(snapshot.end)
        return found or _NOTHING

    def _compare(self, snapshot: Snapshot) -> list[Violation]:
        """Text of the same epoch only grows."""
        if snapshot.offset < self._offset:
            return self._broken("snapshot", f"offset {snapshot.offset}, after {self._offset}")
        for field, text in self._persona.items():
            theirs = snapshot.persona.get(field, "" if isinstance(text, str) else [])
            grown = theirs == text if self._complete or snapshot.offset == self._offset else _extends(theirs, text)
            if not grown:
                return self._broken("text-differs", f"the snapshot's {field} is not what was told")
        return []

    def _take_reliable(self, message: State | PersonaReady | Artifact | End) -> list[Violation]:
        found: list[Violation] = []
        if message.seq != self._seq + 1:
            found += self._broken("seq", f"{_name(message)} has {message.seq}, after {self._seq}")
        self._seq = max(self._seq, message.seq)
        if isinstance(message, End):
            found += self._finish(message)
        elif isinstance(message, State) and message.state == "cancelling":
            self._stopping = True
        else:
            found += self._check_stopping(message)
            if isinstance(message, PersonaReady):
                found += self._take_persona(message)
        return found

    def _take_persona(self, message: PersonaReady) -> list[Violation]:
        persona = msgspec.to_builtins(message.persona)
        differs = bool(self._offset) and persona != self._persona
        self._persona, self._complete = persona, True
        return self._broken("text-differs", "the persona is not the text that was told") if differs else []

    def _take_text(self, text: Text) -> list[Violation]:
        found = self._check_stopping(text)
        if self._complete:
            found += self._broken("text-offset", "text after the persona")
        elif text.offset != self._offset:
            found += self._broken("text-offset", f"{text.offset} in place of {self._offset}")
        self._offset = text.offset + len(text.delta)
        if not _grow(self._persona, text.path, text.delta):
            found += self._broken("text-path", f"{text.path} out of order")
        return found

    def _take_progress(self, progress: Progress) -> list[Violation]:
        found: list[Violation] = []
        if self._stopping and progress.percent < 100:
            self._late_progress += 1
            if self._late_progress > 1:  # one may have waited, and events overtake it
                found += self._broken("work-after-cancel", f"progress {progress.percent} % ({progress.stage})")
        found += self._advance(progress.percent)
        self._hundred = progress.percent >= 100
        return found

    def _advance(self, percent: float) -> list[Violation]:
        found: list[Violation] = []
        if percent < self._percent:
            found += self._broken("percent", f"{percent} after {self._percent}")
        if percent >= PERSONA_DONE and not self._complete:
            found += self._broken("percent", f"{percent} before the persona")
        self._percent = percent
        return found

    def _finish(self, end: End) -> list[Violation]:
        found: list[Violation] = []
        if (end.outcome == "done") is not (self._percent >= 100):
            found += self._broken("hundred", f"{end.outcome} at {self._percent} %")
        receipt = end.receipt
        if receipt.worker == "stuck" or receipt.steps_done > max(receipt.steps, 0):
            found += self._broken("receipt", f"worker {receipt.worker}, step {receipt.steps_done} of {receipt.steps}")
        self._hundred = False
        self.testimony = Testimony(
            session=self.session,
            outcome=end.outcome,
            epoch=self._epoch,
            seq=self._seq,
            offset=self._offset,
            persona=fingerprint(self._persona),
        )
        self._persona = {}
        return found

    def _check_stopping(self, message: SessionEvent) -> list[Violation]:
        return self._broken("work-after-cancel", _name(message)) if self._stopping else []

    def _broken(self, invariant: Invariant, detail: str) -> list[Violation]:
        return [Violation(invariant, self.session, detail)]


def audit(testimony: Testimony, snapshot: Snapshot) -> list[Violation]:
    """Whether the gateway, asked at last, says of a session what this client was told."""
    found: list[str] = []
    if not isinstance(snapshot.end, End) or snapshot.end.outcome != testimony.outcome:
        said = "no end" if not isinstance(snapshot.end, End) else snapshot.end.outcome
        found.append(f"{said} in place of {testimony.outcome}")
    if snapshot.seq != testimony.seq:
        found.append(f"seq {snapshot.seq} in place of {testimony.seq}")
    if (snapshot.epoch, snapshot.offset) != (testimony.epoch, testimony.offset):
        found.append(f"text at {snapshot.epoch}.{snapshot.offset} in place of {testimony.epoch}.{testimony.offset}")
    if fingerprint(snapshot.persona) != testimony.persona:
        found.append("another persona")
    if testimony.outcome == "done" and not snapshot.artifacts:
        found.append("no artifact")
    return [Violation("audit", testimony.session, detail) for detail in found]


def fingerprint(persona: dict[str, Any]) -> str:
    """The SHA-256 of a persona, whole or in part, whatever the order of its fields."""
    return hashlib.sha256(msgspec.json.encode(persona, order="sorted")).hexdigest()


def _extends(theirs: Any, ours: Any) -> bool:
    """Whether a string, or a list of strings, has only grown."""
    if isinstance(ours, str):
        return isinstance(theirs, str) and theirs.startswith(ours)
    if not isinstance(theirs, list) or len(theirs) < len(ours):
        return False
    return theirs[: len(ours) - 1] == ours[:-1] and (not ours or theirs[len(ours) - 1].startswith(ours[-1]))


def _grow(persona: dict[str, Any], path: str, delta: str) -> bool:
    """Extend the string at a JSON Pointer; whether that is one that may grow now."""
    name, _, index = path[1:].partition("/")
    if not index:
        before = persona.get(name, "")
        if not isinstance(before, str):
            return False
        persona[name] = before + delta
        return True
    items = persona.setdefault(name, [])
    if not isinstance(items, list) or not index.isdecimal() or int(index) not in (len(items) - 1, len(items)):
        return False
    if int(index) == len(items):
        items.append("")
    items[-1] += delta
    return True


def _name(message: SessionEvent | Snapshot) -> str:
    return str(message.__struct_config__.tag)
