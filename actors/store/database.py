"""One SQLite file: a writer that commits whatever has gathered in one transaction, and a reader beside it.

The queue lives on the event loop; one worker thread at a time has the writing connection, so nothing needs a lock.
A disk that takes no writes is tried again and again. When that has lasted too long, an outage, what is kept in line is
written on the room that was set aside for this, if that helps.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
import msgspec
import structlog
import trio

from actors.store.reserve import Reserve
from actors.store.schema import MIGRATIONS, UnusableStore, connect, migrate
from protocol.errors import HatcheryError, Internal, Overloaded

log = structlog.get_logger(__name__)

T = TypeVar("T")
Work = Callable[[apsw.Connection], T]
Settle = Callable[[Any, HatcheryError | None], None]  # result and error, one of them None
OnOutage = Callable[[bool], None]  # whether there are writes for which not even the reserve has helped

RESERVE: Final = ".reserve"  # what the name of the database is followed by

# What the world does to a store; every other error of SQLite is a bug or a damaged file.
_UNWRITABLE: Final = (
    apsw.FullError,
    apsw.IOError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.PermissionsError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.NoMemError,
)


class StoreLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much may wait for the disk, in writes, and how long after a failure the next attempt is made.

    After `patience_s` without a commit that works there is an outage, for which `reserve_bytes` are set aside.
    """

    queue: int = 2000
    retry_s: float = 1.0
    patience_s: float = 10.0
    reserve_bytes: int = 4 << 20


class _Job:
    __slots__ = ("error", "lasting", "result", "settle", "work")

    def __init__(self, work: Work[Any], settle: Settle, *, lasting: bool) -> None:
        self.work = work
        self.settle = settle
        self.lasting = lasting  # kept in line until it is committed
        self.result: Any = None
        self.error: HatcheryError | None = None


class Database:
    """Reads, and writes with group commit. `healthy` turns false when a commit fails, and true when one works again."""

    def __init__(
        self, writer: apsw.Connection, reader: apsw.Connection, reserve: Reserve, limits: StoreLimits, *, sick: bool
    ) -> None:
        self.on_outage: OnOutage = lambda _stuck: None  # told after each failed attempt
        self._writer = writer
        self._reader = reader
        self._reserve = reserve
        self._limits = limits
        self._sick_since = trio.current_time() if sick else None
        self._queue: list[_Job] = []
        self._news = trio.Event()
        self._closing = trio.Event()
        self._writing = trio.CapacityLimiter(1)
        self._reading = trio.CapacityLimiter(1)

    @property
    def healthy(self) -> bool:
        """Whether the latest attempt to write has worked."""
        return self._sick_since is None

    async def read(self, work: Work[T]) -> T:
        """Run `work` on the reading connection, in a thread, within one consistent view of the data."""
        return await trio.to_thread.run_sync(_consistently, self._reader, work, limiter=self._reading)

    async def write(self, work: Work[T]) -> T:
        """Run `work` within the next commit and return its result when that is durable.

        A cancelled call is carried out all the same. Raises what `work` raises as a HatcheryError, and Overloaded when
        too much is waiting or nothing can be written; then nothing was.
        """
        if len(self._queue) >= self._limits.queue:
            raise Overloaded("too much waits to be written: try again in a moment", retry_after_ms=1000)
        settled = trio.Event()
        job = _Job(work, lambda _result, _error: settled.set(), lasting=False)
        self._enqueue(job)
        with trio.CancelScope(shield=True):  # bounded: at the next attempt it is written or refused
            await settled.wait()
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def submit(self, work: Work[T], settle: Callable[[T | None, HatcheryError | None], None]) -> None:
        """Have `work` committed in the order of submission, and `settle` called then; tried until it can be written.

        The error is what `work` itself raised, or that the store was closed before anything could be written.
        """
        self._enqueue(_Job(work, settle, lasting=True))

    def offer(self, work: Work[object]) -> None:
        """Have `work` run within the next commit, if there is room and it can be written; nobody waits for it."""
        if len(self._queue) < self._limits.queue:
            self._enqueue(_Job(work, lambda _result, _error: None, lasting=False))

    def _enqueue(self, job: _Job) -> None:
        if self._closing.is_set():
            raise Internal("the store is closed")
        self._queue.append(job)
        self._news.set()

    async def run(self) -> None:
        """Write until `close`, and then once more what is left; not to be cancelled, since others rely on it."""
        with trio.CancelScope(shield=True):
            while self._queue or not self._closing.is_set():
                if self.healthy:
                    await self._news.wait()
                self._news = trio.Event()
                batch, self._queue = self._queue, []
                await self._attempt(batch)

    def close(self) -> None:
        """Have `run` end."""
        self._closing.set()
        self._news.set()

    async def _attempt(self, batch: list[_Job]) -> None:
        try:
            await trio.to_thread.run_sync(self._commit, batch, not self.healthy, limiter=self._writing)
        except (apsw.Error, OSError) as error:
            await self._suffer(batch, error)
            return
        if not self.healthy:
            log.info("store_writable")
        self._sick_since = None
        _settle(batch)

    async def _suffer(self, batch: list[_Job], error: Exception) -> None:
        """Refuse what can be refused; what lasts is written on the reserve, or is first in the next batch."""
        final = self._closing.is_set()
        now = trio.current_time()
        if self._sick_since is None:
            log.error("store_unwritable", error=str(error))
            self._sick_since = now
        outage = now >= self._sick_since + self._limits.patience_s
        lasting = [job for job in batch if job.lasting]
        refused = [job for job in batch if not job.lasting]
        if outage and await trio.to_thread.run_sync(self._commit_on_reserve, lasting, limiter=self._writing):
            _settle(lasting)
            lasting = []
        elif final:
            refused, lasting = batch, []
        self._queue[:0] = lasting
        for job in refused:
            job.error = _coded(error)
            job.settle(None, job.error)
        if outage:
            self.on_outage(bool(lasting))
        if not final:
            with trio.move_on_after(self._limits.retry_s):
                await self._closing.wait()

    def _commit_on_reserve(self, lasting: list[_Job]) -> bool:
        """Commit what cannot wait on the room that was set aside; whether that has helped."""
        if not lasting:
            return False
        try:
            self._reserve.spend()
            self._commit(lasting, False)
        except (apsw.Error, OSError):
            return False
        return True

    def _commit(self, batch: list[_Job], probe: bool) -> None:
        """All in one transaction; a job that fails by its own fault is undone alone. Raises apsw.Error or OSError."""
        writer = self._writer
        if probe:  # that there is room again, for more than what waits
            self._reserve.make()
        try:
            writer.execute("BEGIN IMMEDIATE")
            if probe:
                writer.execute("INSERT INTO probe VALUES (randomblob(65536)); DELETE FROM probe")
            for job in batch:
                _run_alone(writer, job)
            writer.execute("COMMIT")
        finally:
            if writer.in_transaction:
                writer.execute("ROLLBACK")


def _settle(batch: list[_Job]) -> None:
    for job in batch:
        job.settle(job.result, job.error)


def _run_alone(writer: apsw.Connection, job: _Job) -> None:
    writer.execute("SAVEPOINT job")
    try:
        job.error, job.result = None, job.work(writer)
    except _UNWRITABLE:
        raise
    except Exception as error:
        if not writer.in_transaction:  # SQLite has undone everything
            raise
        job.error = _coded(error)
        writer.execute("ROLLBACK TO job")
    writer.execute("RELEASE job")


def _consistently(reader: apsw.Connection, work: Work[T]) -> T:
    reader.execute("BEGIN")
    try:
        return work(reader)
    finally:
        reader.execute("COMMIT")


def _coded(error: Exception) -> HatcheryError:
    if isinstance(error, HatcheryError):
        return error
    if isinstance(error, (*_UNWRITABLE, OSError)):
        return Overloaded(f"the store cannot be written now: {error}", retry_after_ms=5000)
    internal = Internal("the store failed")
    internal.__cause__ = error
    return internal


@asynccontextmanager
async def open_database(path: Path, limits: StoreLimits) -> AsyncIterator[Database]:
    """The database at `path`, made or brought up to date; what was submitted is written when the block ends.

    Whoever opens it holds the lock of its data directory: a second gateway would begin its running hatches again.
    Raises UnusableStore, in words fit for the person who runs the gateway.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = await trio.to_thread.run_sync(_prepared, path)
    reader = connect(path, read_only=True)
    reserve = Reserve(path.with_name(path.name + RESERVE), limits.reserve_bytes)
    database = Database(writer, reader, reserve, limits, sick=not await trio.to_thread.run_sync(_set_aside, reserve))
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.run)
            try:
                yield database
            finally:
                database.close()
    finally:
        with trio.CancelScope(shield=True):  # bounded: a last checkpoint
            await trio.to_thread.run_sync(partial(_close, reader, writer))


def _prepared(path: Path) -> apsw.Connection:
    try:
        writer = connect(path)
        try:
            migrate(writer, MIGRATIONS)
        except BaseException:
            writer.close()
            raise
    except apsw.Error as error:
        raise UnusableStore(f"{path} cannot be opened: {error}") from error
    return writer


def _set_aside(reserve: Reserve) -> bool:
    """Whether there is room to begin with."""
    try:
        reserve.make()
    except OSError as error:
        log.error("store_unwritable", error=str(error))
        return False
    return True


def _close(*connections: apsw.Connection) -> None:
    for connection in connections:
        connection.close()
