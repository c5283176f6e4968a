"""The EventLog port, and its in-memory form: what a session has said, in one order, kept before it is published."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import trio

from protocol.commands import StateName
from protocol.errors import Gone, Invalid, NotFound
from protocol.events import Artifact, End, PersonaReady, Reliable, SessionItem, State
from protocol.journal import Entry, Epitaph, SessionRecord, doomed
from protocol.keyring import Keyring
from protocol.view import SessionView

Publish = Callable[[SessionView, Sequence[Entry]], None]


class Listing(msgspec.Struct, frozen=True):
    """One page of sessions, newest first; `before` is the cursor of the next page, None on the last."""

    items: list[SessionItem]
    before: str | None


class Claim(msgspec.Struct, frozen=True):
    """An idempotency key of the session's owner, and what tells one hatch from another."""

    key: str
    digest: bytes


class Created(msgspec.Struct, frozen=True):
    """A new session; `doom` is the reason of a cancel by key that came before it, which it has said already."""

    view: SessionView
    doom: str | None


class Existing(msgspec.Struct, frozen=True):
    """The session that an earlier `create` with the same claim led to."""

    view: SessionView


class EventLog(Protocol):
    """Where sessions and keys are kept. A session's entries are published in the order in which they were appended."""

    async def create(self, record: SessionRecord, claim: Claim | None = None) -> Created | Existing:
        """Keep a new session and its claim in one step, or find the session of that claim.

        Nothing is published, but of a session whose cancel came before it that it is being cancelled, which is kept in
        the same step: no crash in between can lose it. A cancelled call is carried out all the same. Raises KeyConflict
        for a key that has started another hatch, Gone when its session was pruned, and Overloaded; then nothing was
        kept.
        """

    async def claimed(self, owner: str, claim: Claim) -> SessionView | None:
        """The session that an earlier `create` with this claim led to. Raises KeyConflict or Gone."""

    async def bury(self, owner: str, key: str, reason: str) -> str | None:
        """The id of the session that a key has started; if None, the reason is remembered for its start."""

    async def append(self, session: str, entries: Sequence[Entry]) -> None:
        """Keep what is to be kept of `entries` and publish them all, applied to the session's view, before returning.

        A cancelled call is carried out all the same.
        """

    def hurry(self) -> None:
        """The gateway stops: from now on wait only briefly for a log that cannot be written."""

    async def view(self, session: str) -> SessionView:
        """The session as published up to now. Raises NotFound, or Gone when it was pruned."""

    async def epitaph(self, session: str) -> Epitaph | None:
        """What stays known of a session for which `view` raises Gone, for as long as it does."""

    async def tail(self, session: str, after_seq: int) -> list[Reliable]:
        """The reliable messages after a cursor, in order. Raises NotFound or Gone."""

    async def list(self, owner: str, *, states: frozenset[StateName] | None, limit: int, before: str | None) -> Listing:
        """The owner's sessions, newest first. Raises Invalid for a cursor that is not one."""


class _Session:
    __slots__ = ("number", "reliable", "view")

    def __init__(self, number: int, record: SessionRecord) -> None:
        self.number = number
        self.view = SessionView(record)
        self.reliable: list[Reliable] = []


class MemoryLog:
    """An EventLog that lasts as long as its process and keeps the latest `retained` ended sessions and keys."""

    def __init__(self, publish: Publish, *, retained: int, key_s: float = 86_400.0, tombstone_s: float = 60.0) -> None:
        self._publish = publish
        self._retained = retained
        self._keyring = Keyring(kept_s=key_s, tombstone_s=tombstone_s, capacity=retained)
        self._sessions: dict[str, _Session] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._pruned: OrderedDict[str, Epitaph] = OrderedDict()
        self._created = 0

    async def create(self, record: SessionRecord, claim: Claim | None = None) -> Created | Existing:
        """See EventLog."""
        doom = None
        if claim is not None:
            if (existing := await self.claimed(record.owner, claim)) is not None:
                return Existing(existing)
            now = trio.current_time()
            self._keyring.claim(record.owner, claim.key, record.session, claim.digest, now)
            doom = self._keyring.exhume(record.owner, claim.key, now)
        self._created += 1
        kept = self._sessions[record.session] = _Session(self._created, record)
        if doom is not None:
            await self.append(record.session, [doomed(record.session, doom)])
        return Created(kept.view, doom)

    async def claimed(self, owner: str, claim: Claim) -> SessionView | None:
        """See EventLog."""
        session = self._keyring.repeat(owner, claim.key, claim.digest, trio.current_time())
        return None if session is None else self._find(session).view

    async def bury(self, owner: str, key: str, reason: str) -> str | None:
        """See EventLog."""
        now = trio.current_time()
        session = self._keyring.find(owner, key, now)
        if session is None:
            self._keyring.bury(owner, key, reason, now)
        return session

    async def append(self, session: str, entries: Sequence[Entry]) -> None:
        """See EventLog."""
        kept = self._sessions[session]
        for entry in entries:
            kept.view.apply(entry)
            if isinstance(entry, State | PersonaReady | Artifact | End):
                kept.reliable.append(entry)
        self._publish(kept.view, entries)
        if kept.view.end is not None:
            self._retire(session)

    def hurry(self) -> None:
        """See EventLog; memory can always be written."""

    async def view(self, session: str) -> SessionView:
        """See EventLog."""
        return self._find(session).view

    async def epitaph(self, session: str) -> Epitaph | None:
        """See EventLog."""
        return self._pruned.get(session)

    async def tail(self, session: str, after_seq: int) -> list[Reliable]:
        """See EventLog."""
        return [event for event in self._find(session).reliable if event.seq > after_seq]

    async def list(self, owner: str, *, states: frozenset[StateName] | None, limit: int, before: str | None) -> Listing:
        """See EventLog."""
        newest = self._created + 1 if before is None else cursor_number(before)
        items: list[SessionItem] = []
        last = newest
        for kept in reversed(self._sessions.values()):
            if kept.number >= newest or kept.view.record.owner != owner:
                continue
            if states is not None and kept.view.state not in states:
                continue
            if len(items) == limit:
                return Listing(items, str(last))
            items.append(kept.view.item())
            last = kept.number
        return Listing(items, None)

    def _find(self, session: str) -> _Session:
        kept = self._sessions.get(session)
        if kept is not None:
            return kept
        if session in self._pruned:
            raise Gone("this session has ended long ago and is no longer kept")
        raise NotFound("no such session")

    def _retire(self, session: str) -> None:
        self._ended[session] = None
        if len(self._ended) > self._retained:
            oldest, _ = self._ended.popitem(last=False)
            self._pruned[oldest] = self._sessions.pop(oldest).view.epitaph()
        if len(self._pruned) > self._retained:
            self._pruned.popitem(last=False)


def cursor_number(cursor: str) -> int:
    """The number that a listing's cursor stands for. Raises Invalid."""
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise Invalid("`before` is a cursor from an earlier listing", field="before")
    return int(cursor)
