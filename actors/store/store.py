"""The durable store of one gateway: what is in it, and how it is looked after."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from actors.eventlog import Publish
from actors.store.agents import Agents
from actors.store.database import Database, StoreLimits, open_database
from actors.store.durations import Durations
from actors.store.eventlog import LogLimits, SqliteLog, open_sqlite_log
from actors.store.files import (
    Finding,
    back_up,
    check_store,
    files_before,
    find_unknown,
    find_unused,
    forget,
    remove,
    touch,
)
from actors.store.keys import KeyLimits
from actors.store.lengths import Lengths
from actors.store.uploads import Uploads, prune_uploads
from actors.store.usage import Room, check_disk

DATABASE: Final = "hatchery.sqlite3"
ARTIFACTS: Final = "artifacts"
ROOMY_BYTES: Final = 1 << 30  # with so much left nobody looks again for ROOMY_S seconds: it adds up all pictures
ROOMY_S: Final = 1.0
YOUNG_S: Final = 3600.0  # a file adopted within this time may belong to a hatch that has not announced it yet


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All bounds of a store.

    `durations` is how many are kept for each stage of the same work, `lengths` for each writer; `disk_bytes` what all
    pictures together may take, and `url_s` the seconds for which somebody may hold the URL of a file.
    """

    writes: StoreLimits = StoreLimits()
    log: LogLimits = LogLimits()
    keys: KeyLimits = KeyLimits()
    durations: int = 50
    lengths: int = 50
    disk_bytes: int = 100 * 1024**3
    url_s: float = 0.0


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """What `prune` leaves: the latest `sessions` that have ended, younger than so many days; and younger uploads."""

    sessions: int
    session_days: float
    upload_days: float


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """How many of each are gone."""

    sessions: int
    uploads: int
    files: int


class Store:
    """Sessions, keys, agents, uploads, durations and lengths in one database, and the files that they refer to."""

    def __init__(
        self, directory: Path, database: Database, log: SqliteLog, settings: StoreSettings, now_s: Callable[[], float]
    ) -> None:
        self.log = log
        self.agents = Agents(database)
        self.uploads = Uploads(database, lambda: int(now_s() * 1000), settings.disk_bytes)
        self.durations = Durations(database, per_stage=settings.durations, now_ms=lambda: int(now_s() * 1000))
        self.lengths = Lengths(database, per_writer=settings.lengths)
        self._path = directory / DATABASE
        self._artifacts = directory / ARTIFACTS
        self._database = database
        self._settings = settings
        self._now_s = now_s
        self._roomy_until = -math.inf  # of trio's clock: so long nobody looks again
        self._upkeep = trio.Lock()  # no file goes while it is looked at or copied

    @property
    def healthy(self) -> bool:
        """Whether the latest attempt to write has worked."""
        return self._database.healthy

    async def check_room(self, owner: str, room: Room) -> None:
        """Raise QuotaExceeded if there is no room for another picture of this owner, as of ROOMY_S ago at most."""
        now = trio.current_time()
        if room.bytes is None and now < self._roomy_until:
            return
        free = await self._database.read(partial(check_disk, owner=owner, room=room, whole=self._settings.disk_bytes))
        if free > ROOMY_BYTES:
            self._roomy_until = now + ROOMY_S

    async def check(self) -> list[Finding]:
        """Everything that is not as it should be, after reading every page and every file."""
        async with self._upkeep:
            return await trio.to_thread.run_sync(check_store, self._path, self._artifacts)

    async def backup(self, target: Path) -> None:
        """Copy the store to a directory that can serve as a data directory. Raises OSError and apsw.Error."""
        async with self._upkeep:
            await trio.to_thread.run_sync(back_up, self._path, self._artifacts, target)

    async def prune(self, retention: Retention) -> Pruned:
        """Forget what is old, and remove files to which nobody has referred, or can have held a URL, for long enough.

        A file's time of change tells when it was adopted, or when nobody referred to it any more. Raises Overloaded.
        """
        now = self._now_s()
        old_s = now - max(YOUNG_S, self._settings.url_s)
        async with self._upkeep:
            sessions = await self.log.prune(
                beyond=retention.sessions, before_ms=int((now - retention.session_days * 86_400) * 1000)
            )
            uploads = await self._database.write(
                partial(prune_uploads, before_ms=int((now - retention.upload_days * 86_400) * 1000))
            )
            unused = await self._database.read(find_unused)
            await trio.to_thread.run_sync(touch, self._artifacts, unused, now)
            await self._database.write(partial(forget, unused=unused))
            old = await trio.to_thread.run_sync(files_before, self._artifacts, old_s)
            unknown = await self._database.read(partial(find_unknown, files=old))
            files = await trio.to_thread.run_sync(remove, unknown, old_s)
        return Pruned(sessions=sessions, uploads=uploads, files=files)


@asynccontextmanager
async def open_store(
    directory: Path, publish: Publish, *, settings: StoreSettings, now_s: Callable[[], float]
) -> AsyncIterator[Store]:
    """The store in a data directory; `now_s` is the wall clock in seconds since 1970.

    Hatches are to be ended before the block is. Raises UnusableStore.
    """
    async with open_database(directory / DATABASE, settings.writes) as database:
        log = await open_sqlite_log(database, publish, limits=settings.log, key_limits=settings.keys, now_s=now_s)
        yield Store(directory, database, log, settings, now_s)
