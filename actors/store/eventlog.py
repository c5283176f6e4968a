"""The EventLog on SQLite: kept entries are durable before they are published, in the order in which they came."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import apsw
import msgspec
import trio

from actors.eventlog import Claim, Created, Existing, Listing, Publish, cursor_number
from actors.store import keys, rows
from actors.store.database import Database
from actors.store.keys import KeyClock, KeyLimits
from actors.store.live import Live, Portion
from actors.store.rows import Fleeting, Stored
from protocol.commands import StateName
from protocol.errors import HatcheryError, NotFound, Overloaded
from protocol.events import End, Reliable, SessionItem
from protocol.journal import Entry, Epitaph, Kept, Recovered, SessionRecord, doomed
from protocol.persona import Persona
from protocol.view import SessionView


class LogLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many ended sessions are kept, how many of them in memory, and how long an append waits for a sick disk.

    `hurry_s` takes the place of `patience_s` once the gateway stops: it is enough for one more attempt, and a session
    has two or three appends to go then.
    """

    retained: int = 10_000
    cached: int = 200
    patience_s: float = 30.0
    hurry_s: float = 1.5


class SqliteLog:
    """An EventLog whose sessions outlast the process; `open_sqlite_log` makes one.

    Everything a session says is published in the order in which it was appended: what is not kept waits for what is.
    In an outage of the disk `failed` and `cancelled` may be told before they are durable, which they become as soon as
    the disk takes them; `done` is always durable first. `on_outage` is called meanwhile, now and again.
    """

    def __init__(
        self,
        database: Database,
        publish: Publish,
        *,
        limits: LogLimits,
        key_limits: KeyLimits,
        key_clock: KeyClock,
        now_ms: Callable[[], int],
        unfinished: Sequence[Stored],
    ) -> None:
        self.on_outage: Callable[[], None] = lambda: None
        self._database = database
        self._database.on_outage = self._endure
        self._publish = publish
        self._limits = limits
        self._key_limits = key_limits
        self._key_clock = key_clock
        self._now_ms = now_ms
        self._unfinished = [_recovered(stored.view) for stored in unfinished]
        self._live = {stored.view.session: Live(stored.view, stored.number, stored.entries) for stored in unfinished}
        self._ended: OrderedDict[str, SessionView] = OrderedDict()
        self._patience_s = limits.patience_s
        self._waiting: set[trio.CancelScope] = set()

    def unfinished(self) -> list[Recovered]:
        """The sessions that an earlier process has left without an end, oldest first; they take entries like any."""
        return self._unfinished

    async def create(self, record: SessionRecord, claim: Claim | None = None) -> Created | Existing:
        """See EventLog."""
        live = self._live[record.session] = Live(SessionView(record), 0, 0)  # before anybody can find its key
        begin = partial(
            _begin,
            record=record,
            claim=claim,
            now=self._key_clock(),
            now_ms=self._now_ms(),
            limits=self._key_limits,
        )
        try:
            begun = await self._database.write(begin)
        except BaseException:
            del self._live[record.session]
            raise
        if isinstance(begun, str):
            del self._live[record.session]
            return Existing(await self.view(begun))
        live.number, doom = begun
        if doom is not None:
            live.place = 1
            self._say(live, [doomed(record.session, doom)])
        return Created(live.view, doom)

    async def claimed(self, owner: str, claim: Claim) -> SessionView | None:
        """See EventLog."""
        session = await self._database.read(
            partial(keys.repeat, owner=owner, claim=claim, now=self._key_clock(), limits=self._key_limits)
        )
        return None if session is None else await self.view(session)

    async def bury(self, owner: str, key: str, reason: str) -> str | None:
        """See EventLog; also raises Overloaded."""
        return await self._database.write(
            partial(keys.bury, owner=owner, key=key, reason=reason, now=self._key_clock(), limits=self._key_limits)
        )

    async def append(self, session: str, entries: Sequence[Entry]) -> None:
        """See EventLog; raises Overloaded if nothing can be written for a while: it is carried out when that works.

        Raises NotFound for a session that is not there or has ended.
        """
        live = self._live.get(session)
        if live is None or live.view.end is not None:
            raise NotFound("no such session, or it has ended")
        kept = live.foresee(entries)
        if not kept and not live.line:
            self._say(live, entries)
            return
        portion = Portion(entries, durable=not kept)
        if kept:
            self._submit(live, portion, kept)
        live.line.append(portion)
        await self._wait_for(portion)
        if not portion.settled.is_set():
            raise Overloaded("the store cannot be written for a while now", retry_after_ms=5000)
        if portion.error is not None:
            raise portion.error

    async def _wait_for(self, portion: Portion) -> None:
        """Until it is settled, or patience has ended."""
        with trio.move_on_after(self._patience_s, shield=True) as waiting:
            self._waiting.add(waiting)
            try:
                await portion.settled.wait()
            finally:
                self._waiting.discard(waiting)

    def hurry(self) -> None:
        """See EventLog."""
        self._patience_s = min(self._patience_s, self._limits.hurry_s)
        latest = trio.current_time() + self._patience_s
        for waiting in self._waiting:
            waiting.deadline = min(waiting.deadline, latest)

    def _submit(self, live: Live, portion: Portion, kept: list[Kept]) -> None:
        place, live.place = live.place, live.place + len(kept)
        work = partial(
            _keep,
            number=live.number,
            place=place,
            entries=kept,
            fleeting=Fleeting(live.offset, live.progress, live.written() if isinstance(kept[-1], End) else None),
            now_ms=self._now_ms(),
            retained=self._limits.retained,
        )

        def settle(pruned: list[str] | None, error: HatcheryError | None) -> None:
            live.unkept -= 1
            portion.durable, portion.error = True, error
            self._advance(live)
            self._retire(live)
            for session in pruned or ():
                self._ended.pop(session, None)

        live.unkept += 1
        self._database.submit(work, settle)

    def _endure(self, stuck: bool) -> None:
        """Where nothing at all can be written, tell what ends without a picture, and wait for nothing else."""
        if stuck:
            for live in [live for live in self._live.values() if live.lost]:
                for portion in live.line:
                    portion.durable = True
                self._advance(live)
            for waiting in self._waiting:
                waiting.cancel()
        self.on_outage()

    def _advance(self, live: Live) -> None:
        while live.line and live.line[0].durable:
            portion = live.line.popleft()
            if portion.error is None:
                try:
                    self._say(live, portion.entries)
                except Exception as error:  # it belongs to who appended, not to who writes
                    portion.error = error
            portion.settled.set()

    def _say(self, live: Live, entries: Sequence[Entry]) -> None:
        view = live.view
        for entry in entries:
            view.apply(entry)
        self._retire(live)
        self._publish(view, entries)

    def _retire(self, live: Live) -> None:
        """A session that has ended needs no place in memory once its end is durable."""
        if live.view.end is not None and not live.unkept and self._live.pop(live.view.session, None) is not None:
            self._cache(live.view)

    def _cache(self, view: SessionView) -> None:
        self._ended[view.session] = view
        self._ended.move_to_end(view.session)
        if len(self._ended) > self._limits.cached:
            self._ended.popitem(last=False)

    async def view(self, session: str) -> SessionView:
        """See EventLog."""
        if (live := self._live.get(session)) is not None:
            return live.view
        view = self._ended.get(session)
        if view is None:
            view = (await self._database.read(partial(rows.load_session, session=session))).view
        self._cache(view)
        return view

    async def epitaph(self, session: str) -> Epitaph | None:
        """See EventLog."""
        return await self._database.read(partial(rows.load_epitaph, session=session))

    async def tail(self, session: str, after_seq: int) -> list[Reliable]:
        """See EventLog."""
        published = (await self.view(session)).seq
        tail = await self._database.read(partial(rows.load_tail, session=session, after_seq=after_seq))
        return [event for event in tail if event.seq <= published]

    async def list(self, owner: str, *, states: frozenset[StateName] | None, limit: int, before: str | None) -> Listing:
        """See EventLog."""
        below = None if before is None else cursor_number(before)
        found = await self._database.read(
            partial(rows.load_items, owner=owner, states=states, limit=limit + 1, below=below)
        )
        page = found[:limit]
        told = [self._as_told(item) for _, item in page]
        items = told if states is None else [item for item in told if item.state in states]
        return Listing(items, str(page[-1][0]) if len(found) > limit else None)

    def _as_told(self, item: SessionItem) -> SessionItem:
        live = self._live.get(item.session)
        if live is None:
            return item
        told = live.view.item()
        return told if live.view.end is not None else msgspec.structs.replace(item, percent=told.percent)

    async def prune(self, *, beyond: int, before_ms: int) -> int:
        """Forget expired keys, ended sessions but the latest `beyond`, and all that ended before a time.

        Returns how many sessions that were.
        """
        await self._database.write(
            partial(keys.forget_expired, now=self._key_clock(), limits=self._key_limits),
        )
        pruned = await self._database.write(
            partial(rows.prune_sessions, beyond=beyond, before_ms=before_ms, remembered=self._limits.retained)
        )
        for session in pruned:
            self._ended.pop(session, None)
        return len(pruned)


async def open_sqlite_log(
    database: Database,
    publish: Publish,
    *,
    limits: LogLimits,
    key_limits: KeyLimits,
    now_s: Callable[[], float],
) -> SqliteLog:
    """The log in a database, and all that has not ended in it in memory; `now_s` is the wall clock since 1970."""
    return SqliteLog(
        database,
        publish,
        limits=limits,
        key_limits=key_limits,
        key_clock=KeyClock(now_s(), await database.read(keys.latest_time), trio.current_time),
        now_ms=lambda: int(now_s() * 1000),
        unfinished=await database.read(rows.load_unfinished),
    )


def _recovered(view: SessionView) -> Recovered:
    return Recovered(
        record=view.record,
        state=view.state,
        epoch=view.epoch,
        attempt=view.attempt,
        seq=view.seq,
        persona=msgspec.convert(view.persona, Persona) if view.persona else None,
        artifacts=list(view.artifacts),
    )


def _begin(
    connection: apsw.Connection, record: SessionRecord, claim: Claim | None, now: float, now_ms: int, limits: KeyLimits
) -> str | tuple[int, str | None]:
    """The session of the claim, or the number of the new one and the reason of a cancel that came before it.

    Such a cancel is used up by its claim, so that the session is `cancelling` from the same moment on.
    """
    doom = None
    if claim is not None:
        existing = keys.repeat(connection, record.owner, claim, now, limits)
        if existing is not None:
            return existing
        doom = keys.claim_key(connection, record.owner, claim, record.session, now, limits)
    number = rows.insert_session(connection, record)
    if doom is not None:
        rows.insert_entries(connection, number, 0, [doomed(record.session, doom)], Fleeting(), now_ms)
    return number, doom


def _keep(
    connection: apsw.Connection,
    number: int,
    place: int,
    entries: Sequence[Kept],
    fleeting: Fleeting,
    now_ms: int,
    retained: int,
) -> list[str]:
    """Keep entries; returns the ids of sessions that had to give way."""
    rows.insert_entries(connection, number, place, entries, fleeting, now_ms)
    if not isinstance(entries[-1], End):
        return []
    return rows.prune_sessions(connection, beyond=retained, before_ms=None, remembered=retained)
