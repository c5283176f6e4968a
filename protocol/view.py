"""A session as clients may see it: the fold of its entries, and the snapshots taken of it."""

from collections.abc import Callable
from typing import Any

import msgspec

from protocol.commands import Cursor, Id, StateName
from protocol.events import Artifact, End, PersonaReady, Preview, Progress, SessionItem, Snapshot, State, Text, Thinking
from protocol.journal import Entry, Epitaph, EpochBegun, SessionRecord
from protocol.maker import Maker
from protocol.persona import extend

Sign = Callable[[Artifact], Artifact]  # gives an artifact a fresh URL


class SessionView:
    """What is known of one session; `apply` every entry in order."""

    __slots__ = (
        "artifacts", "attempt", "end", "epoch", "offset", "persona", "preview", "progress", "reason", "record", "seq",
        "session", "state", "writer",
    )  # fmt: skip

    def __init__(self, record: SessionRecord) -> None:
        self.record = record
        self.session = record.session
        self.epoch = 1
        self.seq = 0
        self.offset = 0
        self.attempt = 1
        self.state: StateName = "queued" if record.hatch.persona is None else "waiting"
        self.reason: str | None = None  # of the latest `state`; an end leaves it, as the reason of a cancel
        self.persona: dict[str, Any] = {}
        self.writer: Maker | None = None
        self.progress: Progress | None = None
        self.preview: Preview | None = None
        self.artifacts: list[Artifact] = []
        self.end: End | None = None

    def apply(self, entry: Entry) -> None:
        """Take one more entry into account."""
        match entry:
            case Text():
                extend(self.persona, entry.path, entry.delta)
                self.offset = entry.offset + len(entry.delta)
            case Progress():
                self.progress = entry
            case Thinking():
                pass  # it leaves no trace
            case Preview():
                self.preview = entry
            case State():
                self.seq, self.state, self.reason = entry.seq, entry.state, entry.reason
            case PersonaReady():
                self.seq, self.persona, self.writer = entry.seq, msgspec.to_builtins(entry.persona), entry.writer
            case Artifact():
                self.seq = entry.seq
                self.artifacts.append(entry)
            case End():
                self.seq, self.state, self.end, self.preview = entry.seq, entry.outcome, entry, None
            case EpochBegun():
                self._begin_epoch(entry)

    def _begin_epoch(self, entry: EpochBegun) -> None:
        self.epoch, self.attempt, self.state, self.reason = entry.epoch, entry.attempt, entry.state, None
        self.offset = 0
        self.progress = self.preview = None
        if not entry.keeps_persona:
            self.persona, self.writer = {}, None

    def epitaph(self) -> Epitaph:
        """What stays known of it when it is kept no longer."""
        return Epitaph(
            session=self.session,
            owner=self.record.owner,
            epoch=self.epoch,
            seq=self.seq,
            offset=self.offset,
            state=self.state,
        )

    def is_current(self, cursor: Cursor) -> bool:
        """Whether a client at `cursor` has missed nothing."""
        return (cursor.epoch, cursor.seq, cursor.offset) == (self.epoch, self.seq, self.offset)

    def snapshot(self, sign: Sign, *, id: Id | None = None, previews: bool = False) -> Snapshot:  # noqa: A002 - as on the wire
        """The whole session as of now, with fresh artifact URLs; it answers request `id`, if there is one."""
        return Snapshot(
            id=msgspec.UNSET if id is None else id,
            session=self.session,
            epoch=self.epoch,
            seq=self.seq,
            offset=self.offset,
            state=self.state,
            attempt=self.attempt,
            prompt=self.record.hatch.prompt,
            persona={name: text if isinstance(text, str) else list(text) for name, text in self.persona.items()},
            progress=self.progress or msgspec.UNSET,
            preview=(self.preview if previews else None) or msgspec.UNSET,
            artifacts=[sign(artifact) for artifact in self.artifacts],
            writer=self.writer or msgspec.UNSET,
            end=self.end or msgspec.UNSET,
            reason=self.reason or msgspec.UNSET,
        )

    def item(self) -> SessionItem:
        """The session as one line of a listing."""
        return SessionItem(
            session=self.session,
            state=self.state,
            percent=self.progress.percent if self.progress else 100.0 if self.state == "done" else 0.0,
            created_at_ms=self.record.created_at_ms,
            prompt=self.record.hatch.prompt,
            agent=self.end.agent if self.end else None,
        )
