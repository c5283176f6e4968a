"""What one client is owed of one session: snapshots, then events in order, then the latest progress and preview."""

from collections.abc import Callable
from math import inf
from typing import Final

from msgspec import UNSET, UnsetType

from protocol.codec import Codec
from protocol.commands import Id
from protocol.envelope import Envelope, Kind, join_deltas
from protocol.events import End, Error, Snapshot

MakeSnapshot = Callable[[str, Id | UnsetType, bool], Envelope]
"""Session, request id and wish for previews -> a snapshot of all that has been published up to now."""

DELTAS_APART: Final = 64  # deltas that wait as they came, before they are joined
OWED_BYTES: Final = 64  # what an owed snapshot counts for until it is built, besides its request id

_PROGRESS: Final = Kind.PROGRESS  # an enum's members cost more to look up than names of the module
_PREVIEW: Final = Kind.PREVIEW
_RELIABLE: Final = Kind.RELIABLE


class TooSlow(Exception):
    """Even answers and snapshots alone exceed the bound: this client cannot be waited for."""


class Frame:
    """The envelopes of one frame while they are gathered; `room` is bytes."""

    __slots__ = ("_longest", "_room", "envelopes")

    def __init__(self, room: int, longest: int) -> None:
        self.envelopes: list[Envelope] = []
        self._room = room
        self._longest = longest

    def take(self, envelope: Envelope, size: int) -> bool:
        """Whether the envelope is in the frame now; the first one always is. Raises TooSlow if it is too long ever."""
        if size > self._room and self.envelopes:
            return False
        if size > self._longest:
            raise TooSlow(f"a message of {size} bytes, more than {self._longest}")
        self.envelopes.append(envelope)
        self._room -= size
        return True

    def take_from(self, queue: list[Envelope], codec: Codec) -> int:
        """Move what fits from the front of `queue`; returns its bytes."""
        moved = size_sum = 0
        for envelope in queue:
            size = len(envelope.element(codec))
            if not self.take(envelope, size):
                break
            moved += 1
            size_sum += size
        del queue[:moved]
        return size_sum


class Attachment:
    """One session in one outbox; `bytes` is the encoded size of all that waits, 0 when nothing does.

    `queued` and `throttled` are the outbox's: the attachment waits to be drained, or for its next progress.
    """

    __slots__ = (
        "_codec",
        "_events",
        "_events_bytes",
        "_interval",
        "_owed",
        "_preview",
        "_previews",
        "_progress",
        "_progress_at",
        "bytes",
        "ended",
        "queued",
        "session",
        "throttled",
    )

    def __init__(self, session: str, codec: Codec) -> None:
        self.session = session
        self.bytes = 0
        self.ended = False  # the last message of the session has been taken
        self.queued = False
        self.throttled = False
        self._codec = codec
        self._owed: tuple[Id | UnsetType, ...] = ()  # no list: nearly always empty, and then it is no memory to look at
        self._events: list[Envelope] = []
        self._events_bytes = 0
        self._progress: Envelope | None = None
        self._preview: Envelope | None = None
        self._previews = False
        self._interval = 0.0
        self._progress_at = -inf

    @property
    def due_at(self) -> float | None:
        """When something of it can be sent: -inf for at once, seconds for progress that waits, None for nothing."""
        if self._events_bytes or self._owed or self._preview is not None:
            return -inf
        return None if self._progress is None else self._progress_at

    def wish(self, max_hz: float | None, previews: bool) -> None:
        """How much of progress and previews the client wants."""
        self._interval = 1 / max_hz if max_hz else 0.0
        self._progress_at = -inf
        self._previews = previews
        if not previews:
            self.drop_preview()

    def offer(self, envelope: Envelope) -> bool:
        """Owe an event, unless a snapshot is owed that will include it; whether it was taken up."""
        kind = envelope.kind
        if self._owed or (kind is _PREVIEW and not self._previews):
            return False
        size = len(envelope.element(self._codec))
        if kind is _PROGRESS:
            if self._progress is not None:
                self.drop_progress()
            self._progress = envelope
        elif kind is _PREVIEW:
            self.drop_preview()
            self._preview = envelope
        else:
            if kind is _RELIABLE:
                if isinstance(envelope.messages[-1], End):
                    self.drop_progress()
                    self.drop_preview()
            elif len(self._events) % DELTAS_APART == DELTAS_APART - 1:
                self._join()
            self._events.append(envelope)
            self._events_bytes += size
        self.bytes += size
        return True

    def _join(self) -> None:
        """Make one message of each run of deltas; together, as joining one by one would encode each of them again."""
        self._events = join_deltas(self._events)
        before, codec = self._events_bytes, self._codec
        self._events_bytes = sum([len(envelope.element(codec)) for envelope in self._events])
        self.bytes += self._events_bytes - before

    def owe(self, request_id: Id | UnsetType) -> None:
        """Replace all that waits by a snapshot: one for each request id, which also serves where none was asked for."""
        self.drop_progress()
        self.drop_preview()
        dropped, self._events = self._events, []
        self.bytes -= self._events_bytes
        self._events_bytes = 0
        for envelope in dropped:
            if isinstance(built := envelope.messages[-1], Snapshot | Error):
                self._owe(built.id)
        self._owe(request_id)

    def answer(self, make_snapshot: MakeSnapshot) -> list[Envelope]:
        """Drop all that waits but the snapshots that answer requests, which are returned."""
        self.owe(UNSET)
        requests = [self._settle() for _ in range(len(self._owed))]
        return [make_snapshot(self.session, id_, self._previews) for id_ in requests if id_ is not UNSET]

    def drop_progress(self) -> None:
        """Forget the progress that waits."""
        if self._progress is not None:
            self.bytes -= len(self._progress.element(self._codec))
            self._progress = None

    def drop_preview(self) -> None:
        """Forget the preview that waits."""
        if self._preview is not None:
            self.bytes -= len(self._preview.element(self._codec))
            self._preview = None

    def take(self, frame: Frame, now: float, make_snapshot: MakeSnapshot) -> bool:
        """Move what is due at `now` seconds into the frame; whether all of it fitted. Raises TooSlow."""
        while self._events_bytes or self._owed:
            if not self._take_events(frame, make_snapshot):
                return False
        progress = self._progress
        if progress is not None and self._progress_at <= now:
            size = len(progress.element(self._codec))
            if not frame.take(progress, size):
                return False
            self._progress = None
            self.bytes -= size
            if self._interval:
                self._progress_at = now + self._interval
        if self._preview is not None:
            if not frame.take(self._preview, len(self._preview.element(self._codec))):
                return False
            self.drop_preview()
        return True

    def _take_events(self, frame: Frame, make_snapshot: MakeSnapshot) -> bool:
        if not self._events:
            snapshot = make_snapshot(self.session, self._settle(), self._previews)
            self._events.append(snapshot)
            self._events_bytes = len(snapshot.element(self._codec))
            self.bytes += self._events_bytes
        elif len(self._events) > 1:
            self._join()
        last = self._events[-1].messages[-1]
        taken = frame.take_from(self._events, self._codec)
        self._events_bytes -= taken
        self.bytes -= taken
        if self._events:
            return False
        self.ended = isinstance(last, (End, Error)) or (isinstance(last, Snapshot) and last.end is not UNSET)
        return True

    def _owe(self, request_id: Id | UnsetType) -> None:
        if request_id is UNSET and self._owed:
            return
        if self._owed == (UNSET,):
            self._settle()
        self._owed += (request_id,)
        self.bytes += _owed_bytes(request_id)

    def _settle(self) -> Id | UnsetType:
        request_id, *others = self._owed
        self._owed = tuple(others)
        self.bytes -= _owed_bytes(request_id)
        return request_id


def _owed_bytes(request_id: Id | UnsetType) -> int:
    return OWED_BYTES + (len(request_id) if isinstance(request_id, str) else 0)
