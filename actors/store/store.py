"""The durable store of one gateway: what is in it, and how it is looked after."""

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
from actors.store.files import Finding, back_up, check_store, files_before, forget_unused, remove
from actors.store.keys import KeyLimits
from actors.store.lengths import Lengths
from actors.store.uploads import Uploads, prune_uploads

DATABASE: Final = "hatchery.sqlite3"
ARTIFACTS: Final = "artifacts"
YOUNG_S: Final = 3600.0  # a file adopted within this time may belong to a hatch that has not announced it yet


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All bounds of a store; so many `durations` are kept for each stage of the same work, `lengths` of each writer."""

    writes: StoreLimits = StoreLimits()
    log: LogLimits = LogLimits()
    keys: KeyLimits = KeyLimits()
    durations: int = 50
    lengths: int = 50


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
        self.uploads = Uploads(database, lambda: int(now_s() * 1000))
        self.durations = Durations(database, per_stage=settings.durations, now_ms=lambda: int(now_s() * 1000))
        self.lengths = Lengths(database, per_writer=settings.lengths)
        self._path = directory / DATABASE
        self._artifacts = directory / ARTIFACTS
        self._database = database
        self._now_s = now_s
        self._upkeep = trio.Lock()  # no file goes while it is looked at or copied

    @property
    def healthy(self) -> bool:
        """Whether the latest attempt to write has worked."""
        return self._database.healthy

    async def check(self) -> list[Finding]:
        """Everything that is not as it should be, after reading every page and every file."""
        async with self._upkeep:
            return await trio.to_thread.run_sync(check_store, self._path, self._artifacts)

    async def backup(self, target: Path) -> None:
        """Copy the store to a directory that can serve as a data directory. Raises OSError and apsw.Error."""
        async with self._upkeep:
            await trio.to_thread.run_sync(back_up, self._path, self._artifacts, target)

    async def prune(self, retention: Retention) -> Pruned:
        """Forget what is old, and then the files that nobody refers to any more. Raises Overloaded."""
        now = self._now_s()
        async with self._upkeep:
            sessions = await self.log.prune(
                beyond=retention.sessions, before_ms=int((now - retention.session_days * 86_400) * 1000)
            )
            uploads = await self._database.write(
                partial(prune_uploads, before_ms=int((now - retention.upload_days * 86_400) * 1000))
            )
            old = await trio.to_thread.run_sync(files_before, self._artifacts, now - YOUNG_S)
            unused = await self._database.write(partial(forget_unused, files=old))
            files = await trio.to_thread.run_sync(remove, unused, now - YOUNG_S)
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
