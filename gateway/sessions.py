"""Starting, finding and cancelling hatches: what a person may do, whichever way they ask."""

import hashlib
from collections.abc import Callable
from random import Random
from typing import Literal

import msgspec
import structlog
import trio

from actors.eventlog import Listing
from actors.hatch import Hatch, Workshop, open_hatch
from gateway.admission import HatchBounds, check_hatch
from gateway.hub import Hub, Watcher
from gateway.leash import Leashes
from gateway.ticker import Ticker
from protocol.commands import HatchRequest, StateName
from protocol.errors import Draining, NotFound, Overloaded
from protocol.journal import SessionRecord
from protocol.keyring import Keyring
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

    __slots__ = ("doom", "hatch")

    def __init__(self, doom: str | None) -> None:
        self.doom = doom
        self.hatch: Hatch | None = None

    async def cancel(self, reason: str) -> None:
        if self.hatch is None:
            self.doom = self.doom or reason
        else:
            await self.hatch.cancel(reason)


class Sessions:
    """All hatches of one gateway; owners see only their own."""

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        workshop: Workshop,
        hub: Hub,
        keyring: Keyring,
        ticker: Ticker,
        bounds: HatchBounds,
        capacity: int,
        random: Random,
        now_ms: Callable[[], int],
    ) -> None:
        self.workshop = workshop
        self.bounds = bounds
        self._nursery = nursery
        self._hub = hub
        self._keyring = keyring
        self._capacity = capacity
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

        Raises Invalid or TooLarge naming a field, KeyConflict, Overloaded or Draining; then nothing was started.
        """
        now = trio.current_time()
        key, hatch = beginning.key, beginning.hatch
        digest = hashlib.sha256(msgspec.json.encode(msgspec.structs.astuple(hatch))).digest()  # no field left out
        if key is not None and (existing := self._keyring.repeat(owner, key, digest, now)) is not None:
            return Started(await self.workshop.eventlog.view(existing), existing=True)
        self._admit(hatch)
        session = f"{self._random.getrandbits(80):020x}"
        buried = None
        if key is not None:
            self._keyring.claim(owner, key, session, digest, now)
            buried = self._keyring.exhume(owner, key, now)
        record = SessionRecord(session=session, owner=owner, hatch=hatch, created_at_ms=self._now_ms())
        view = await self.workshop.eventlog.create(record)
        log.info("hatch_started", session=session, owner=owner)
        place = self._running[session] = _Place(buried)
        if beginning.on_disconnect == "cancel":
            self._leashes.tie(session, beginning.grace_s)
        self._hub.announce(view, starter)
        await self._nursery.start(self._run, record, place)
        self._leashes.detached(session)
        if place.doom is not None:
            await place.cancel(place.doom)
        return Started(view, existing=False)

    async def cancel(self, owner: str, *, session: str, reason: str) -> SessionView:
        """Cancel a hatch and return the session as it then is; late and repeated cancels change nothing.

        Raises NotFound or Gone.
        """
        view = await self.view(owner, session)
        place = self._running.get(session)
        if place is not None:
            await place.cancel(reason)
        return view

    async def cancel_key(self, owner: str, *, key: str, reason: str) -> SessionView | None:
        """The same by key; None if nothing has started with it, which is remembered for a start still under way."""
        now = trio.current_time()
        session = self._keyring.find(owner, key, now)
        if session is None:
            self._keyring.bury(owner, key, reason, now)
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

    async def stop(self) -> None:
        """Take no new hatches, cancel those that run, and wait for their ends."""
        self.draining = True
        for place in list(self._running.values()):
            await place.cancel("the gateway stops")
        while self._running:
            await self._ended.park()

    def _admit(self, hatch: HatchRequest) -> None:
        if self.draining:
            raise Draining("the gateway is stopping: start again in a moment", retry_after_ms=2000)
        check_hatch(hatch, self.bounds)
        self.workshop.image.check(hatch.image)
        if len(self._running) >= self._capacity:
            raise Overloaded(f"{self._capacity} hatches are running: try again in a while", retry_after_ms=5000)

    async def _run(self, record: SessionRecord, place: _Place, task_status: trio.TaskStatus[None]) -> None:
        seed = record.hatch.image.seed
        if seed is None:
            seed = self._random.getrandbits(32)
        try:
            async with open_hatch(record, seed, self.workshop) as place.hatch:
                task_status.started()
                await place.hatch.run()
        finally:
            del self._running[record.session]
            self._leashes.untie(record.session)
            self._ended.unpark_all()

    def _cut(self, session: str) -> None:
        place = self._running.get(session)
        if place is not None:
            self._nursery.start_soon(place.cancel, "nobody watches any more")
