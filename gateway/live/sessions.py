"""Starting, finding and cancelling hatches: what a person may do, whichever way they ask."""

import hashlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from random import Random
from typing import Literal

import msgspec
import structlog
import trio

from actors.eventlog import Claim, Existing, Listing
from actors.hatch import Hatch, Workshop, open_hatch
from gateway.access.quota import Shares
from gateway.live.admission import HatchBounds, check_hatch
from gateway.live.hub import Hub, Watcher
from gateway.live.leash import Leashes
from gateway.live.ticker import Ticker
from protocol.commands import HatchRequest, StateName
from protocol.errors import Draining, Gone, HatcheryError, Invalid, NotFound, Overloaded, QuotaExceeded
from protocol.journal import Epitaph, Recovered, SessionRecord
from protocol.view import SessionView

log = structlog.get_logger(__name__)


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """A request to hatch, and what is to happen when nobody watches any more."""

    hatch: HatchRequest
    key: str | None = None
    on_disconnect: Literal["keep", "cancel"] = "keep"
    grace_s: float = 30.0


class Started(msgspec.Struct, frozen=True):
    """The session that a request led to; `existing` if an earlier request with the same key had started it."""

    view: SessionView
    existing: bool


class _Place:
    """One of the places for running hatches; a cancel that comes before its hatch is under way is kept for it."""

    __slots__ = ("doom", "hatch", "owner", "settled", "view")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.doom: str | None = None
        self.hatch: Hatch | None = None
        self.settled = trio.Event()  # the start has led to a hatch, or to none
        self.view: SessionView | None = None

    @property
    def waits(self) -> bool:
        """Whether it is for the hatch's turn that its owner waits."""
        return self.view is None or self.view.state in ("queued", "waiting")

    async def cancel(self, reason: str) -> None:
        """Returns when `cancelling` is published, or there is nothing to cancel."""
        if self.hatch is None:
            self.doom = self.doom or reason
            await self.settled.wait()
        else:
            await self.hatch.cancel(reason)

    async def settle(self) -> None:
        """The hatch is under way."""
        if self.hatch is not None and self.doom is not None:
            await self.hatch.cancel(self.doom)
        self.settled.set()


class Sessions:
    """All hatches of one gateway; owners see only their own."""

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        workshop: Workshop,
        hub: Hub,
        ticker: Ticker,
        bounds: HatchBounds,
        capacity: int,
        queued: int,
        shares: Shares,
        check_room: Callable[[str], Awaitable[None]],
        random: Random,
        now_ms: Callable[[], int],
    ) -> None:
        self.workshop = workshop
        self.bounds = bounds
        self._nursery = nursery
        self._hub = hub
        self._capacity = capacity
        self._queued = queued
        self._shares = shares
        self._check_room = check_room
        self._random = random
        self._now_ms = now_ms
        self._running: dict[str, _Place] = {}
        self._leashes = Leashes(ticker, self._cut)
        self._ended = trio.lowlevel.ParkingLot()
        self.draining = False
        hub.on_attached, hub.on_detached = self._leashes.attached, self._leashes.detached

    @property
    def running(self) -> int:
        """How many hatches have not ended."""
        return len(self._running)

    async def start(self, owner: str, beginning: Beginning, starter: Watcher | None = None) -> Started:
        """Start a hatch, or find the one that the same key has started; `starter` needs no announcement of it.

        Raises Invalid or TooLarge naming a field, KeyConflict, QuotaExceeded, Overloaded or Draining; then nothing was
        started.
        """
        claim = None if beginning.key is None else Claim(beginning.key, _digest(beginning.hatch))
        eventlog = self.workshop.eventlog
        try:
            await self._check(owner, beginning.hatch)
            await self._check_room(owner)
            self._admit(owner)
        except HatcheryError:  # a hatch that exists needs no room; `create` looks for it too, without a read of its own
            if claim is not None and (found := await eventlog.claimed(owner, claim)) is not None:
                return Started(found, existing=True)
            raise
        session = f"{self._random.getrandbits(80):020x}"
        hatch = self._with_seed(beginning.hatch)
        record = SessionRecord(
            session=session,
            owner=owner,
            hatch=hatch,
            created_at_ms=self._now_ms(),
            grace_s=beginning.grace_s if beginning.on_disconnect == "cancel" else None,
        )
        place = self._running[session] = _Place(owner)  # taken before anything is awaited
        try:
            created = await eventlog.create(record, claim)
        except BaseException:
            self._leave(session)
            raise
        if isinstance(created, Existing):
            self._leave(session)
            return Started(created.view, existing=True)
        place.view = created.view
        log.info("hatch_started", session=session, owner=owner)
        self._tie(record)
        self._hub.announce(created.view, starter)
        await self._go(record, place, doom=created.doom)
        return Started(created.view, existing=False)

    async def resume(self, unfinished: Sequence[Recovered]) -> None:
        """Go on with the hatches that an earlier process of the gateway has left; before anybody can ask for more.

        Returns when all have said so: nobody is shown a session as it was, which holds less than clients were told.
        """
        hatches = [hatch for so_far in unfinished if (hatch := await self._resume(so_far)) is not None]
        for hatch in hatches:
            await hatch.begun.wait()

    async def _resume(self, so_far: Recovered) -> Hatch | None:
        place = self._running[so_far.record.session] = _Place(so_far.record.owner)
        place.view = await self.workshop.eventlog.view(so_far.record.session)
        self._tie(so_far.record)
        await self._go(so_far.record, place, so_far)
        return place.hatch

    def _tie(self, record: SessionRecord) -> None:
        """Count attachments from here on, the start itself for one: before anybody is told of the session."""
        if record.grace_s is not None:
            self._leashes.tie(record.session, record.grace_s)

    async def _go(
        self, record: SessionRecord, place: _Place, so_far: Recovered | None = None, doom: str | None = None
    ) -> None:
        if doom is None:
            await self._nursery.start(self._run, record, place, so_far)
        else:  # all but its end is said, and that is to come after what the starter is answered
            self._nursery.start_soon(self._run, record, place, so_far, doom)
        self._leashes.detached(record.session)
        await place.settle()

    async def cancel(self, owner: str, *, session: str, reason: str) -> SessionView | Epitaph:
        """Cancel a hatch and return the session as it then is; late and repeated cancels change nothing.

        Raises NotFound, but never because it ended so long ago that it is no longer kept.
        """
        try:
            view = await self.view(owner, session)
        except Gone:
            epitaph = await self.workshop.eventlog.epitaph(session)
            if epitaph is None or epitaph.owner != owner:
                raise NotFound("no such session") from None
            return epitaph
        place = self._running.get(session)
        if place is not None:
            await place.cancel(reason)
        return view

    async def cancel_key(self, owner: str, *, key: str, reason: str) -> SessionView | Epitaph | None:
        """The same by key; None if nothing has started with it, which is remembered for a start still under way."""
        session = await self.workshop.eventlog.bury(owner, key, reason)
        if session is None:
            return None
        return await self.cancel(owner, session=session, reason=reason)

    async def view(self, owner: str, session: str) -> SessionView:
        """One session of this owner, as it is now. Raises NotFound or Gone."""
        view = await self.workshop.eventlog.view(session)
        if view.record.owner != owner:
            raise NotFound("no such session")
        return view

    async def list(self, owner: str, *, states: frozenset[StateName] | None, limit: int, before: str | None) -> Listing:
        """The owner's sessions, newest first. Raises Invalid for a cursor that is not one."""
        return await self.workshop.eventlog.list(owner, states=states, limit=limit, before=before)

    def give_up(self) -> None:
        """Have every running hatch fail, since nothing of it can be kept any more."""
        error = Overloaded("the gateway's disk takes no writes, it is full or read-only: start again when it does")
        for place in self._running.values():
            if place.hatch is not None:
                place.hatch.fail(error)

    async def drain(self) -> None:
        """Take no new hatches, and wait for the ends of those that run."""
        self.draining = True
        while self._running:
            await self._ended.park()

    async def stop(self) -> None:
        """Take no new hatches, cancel those that run, and wait for their ends, in a hurry."""
        self.draining = True
        self.workshop.image.hurry()
        self.workshop.eventlog.hurry()
        async with trio.open_nursery() as nursery:
            for place in self._running.values():
                nursery.start_soon(place.cancel, "the gateway stops")
        await self.drain()

    async def _check(self, owner: str, hatch: HatchRequest) -> None:
        """Whether it can be, for this owner and these engines."""
        check_hatch(hatch, self.bounds)
        await self.workshop.image.check(hatch.image)
        if hatch.image.input is None:
            return
        find_input, field = self.workshop.find_input, "hatch.image.input"
        if find_input is None:
            raise Invalid("this gateway keeps no uploads: hatch.durable is off", field=field)
        try:
            await find_input(owner, hatch.image.input)
        except NotFound as error:
            raise Invalid("you have no such upload: send the picture to /v1/uploads first", field=field) from error

    def _admit(self, owner: str) -> None:
        """Whether there is room for one more."""
        if self.draining:
            raise Draining("the gateway is stopping: start again in a moment", retry_after_ms=2000)
        self._check_places(owner)

    def _check_places(self, owner: str) -> None:
        """Raise Overloaded or QuotaExceeded when there are too many hatches, in all or of this owner."""
        everybody = self._running.values()
        if len(everybody) >= self._capacity:
            raise Overloaded(f"{self._capacity} hatches are running: try again in a while", retry_after_ms=5000)
        slots = self.workshop.llm_slots
        free = slots.capacity - slots.held  # who is about to have one of these does not wait
        if _waiting(everybody, self._queued + free):
            raise Overloaded(f"{self._queued} hatches wait for their turn: try again in a while", retry_after_ms=5000)
        share = self._shares.of(owner)
        if share.hatches is None and share.queued is None:
            return
        own = [place for place in everybody if place.owner == owner]
        if share.hatches is not None and len(own) >= share.hatches:
            raise QuotaExceeded(f"{share.hatches} of your hatches are running: wait for one, or cancel one")
        if share.queued is not None and _waiting(own, share.queued + free):
            raise QuotaExceeded(f"{share.queued} of your hatches wait for their turn: wait for one, or cancel one")

    async def _run(
        self,
        record: SessionRecord,
        place: _Place,
        so_far: Recovered | None,
        doom: str | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        structlog.contextvars.bind_contextvars(session=record.session)  # of this task and its actors
        seed = record.hatch.image.seed or 0
        try:
            async with open_hatch(record, seed, self.workshop, so_far, doom=doom) as place.hatch:
                task_status.started()
                await place.hatch.run()
        finally:
            self._leave(record.session)

    def _leave(self, session: str) -> None:
        self._running.pop(session).settled.set()
        self._leashes.untie(session)
        self._ended.unpark_all()

    def _with_seed(self, hatch: HatchRequest) -> HatchRequest:
        """The hatch as its record keeps it: begun again after a restart, it draws the same picture."""
        if hatch.image.seed is not None:
            return hatch
        image = msgspec.structs.replace(hatch.image, seed=self._random.getrandbits(32))
        return msgspec.structs.replace(hatch, image=image)

    def _cut(self, session: str) -> None:
        place = self._running.get(session)
        if place is not None:
            self._nursery.start_soon(place.cancel, "nobody watches any more")


def _waiting(places: Collection[_Place], most: int) -> bool:
    """Whether so many wait; where fewer are here at all, none of them is looked at."""
    return len(places) >= most and sum(place.waits for place in places) >= most


def _digest(hatch: HatchRequest) -> bytes:
    return hashlib.sha256(msgspec.json.encode(msgspec.structs.astuple(hatch))).digest()  # no field left out
