"""The data directory of one gateway: locked, swept of what an earlier one left, guarded, and the event log in it."""

import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog

from actors.eventlog import EventLog, MemoryLog, Publish
from actors.guard import open_guard
from actors.mflux.history import History, MemoryHistory, StoredHistory
from actors.pty import Keeper
from actors.store.database import StoreLimits
from actors.store.eventlog import LogLimits
from actors.store.keys import KeyLimits
from actors.store.schema import UnusableStore
from actors.store.store import Store, StoreSettings, open_store
from actors.sweep import DataInUse, open_data_lock, sweep
from gateway.config import Config, ConfigError
from protocol.journal import Recovered

log = structlog.get_logger(__name__)

SECRET: Final = "secret"  # signs URLs, so that they outlive a restart
SECRET_BYTES: Final = 32


class Premises(msgspec.Struct, frozen=True):
    """Who keeps children from outliving the gateway, and the key that signs its URLs."""

    keeper: Keeper | None
    secret: bytes


class OpenLog(msgspec.Struct, frozen=True):
    """Where sessions and durations are kept, what an earlier gateway left unfinished, and whether it can be written."""

    eventlog: EventLog
    history: History
    unfinished: list[Recovered]
    healthy: Callable[[], bool]
    store: Store | None  # if they are kept on disk


@asynccontextmanager
async def open_premises(config: Config, open_files: int | None = None) -> AsyncIterator[Premises]:
    """Move in; nobody else may work on the same directory until the block ends.

    `open_files` is the limit of open files for children, where this process has raised its own.
    A gateway that keeps nothing on disk and has sim engines starts no process, so that it can run in virtual time.
    Raises ConfigError for a directory that is in use.
    """
    if not config.hatch.durable and config.image.engine == config.llm.engine == "sim":
        yield Premises(None, secrets.token_bytes(SECRET_BYTES))
        return
    async with AsyncExitStack() as stack:
        try:
            lock = await stack.enter_async_context(open_data_lock(config.data))
        except DataInUse as error:
            raise ConfigError(f"server.data: {error.message}") from error
        jobs = config.data / "jobs"
        swept = await sweep(lock, jobs)
        if swept.processes or swept.directories:
            log.warning("swept", processes=swept.processes, directories=swept.directories)
        guard = await stack.enter_async_context(
            open_guard(lock.gateway, jobs=jobs, held=(lock.fd,), open_files=open_files)
        )
        yield Premises(guard, _secret(config.data / SECRET))


@asynccontextmanager
async def open_log(config: Config, publish: Publish, now_s: Callable[[], float]) -> AsyncIterator[OpenLog]:
    """The log that `hatch.durable` asks for; `now_s` is the wall clock in seconds since 1970.

    Raises ConfigError for a store that cannot be used.
    """
    hatch = config.hatch
    if not hatch.durable:
        memory = MemoryLog(publish, retained=hatch.retained, key_s=hatch.key_s, tombstone_s=hatch.tombstone_s)
        yield OpenLog(memory, MemoryHistory(), [], lambda: True, None)
        return
    settings = StoreSettings(
        writes=StoreLimits(patience_s=hatch.unwritable_s),
        log=LogLimits(retained=hatch.retained, patience_s=2 * hatch.unwritable_s),  # a disk that hangs says nothing
        keys=KeyLimits(kept_s=hatch.key_s, tombstone_s=hatch.tombstone_s, capacity=hatch.retained),
        disk_bytes=hatch.disk_bytes,
        url_s=hatch.artifact_url_s,
    )
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(open_store(config.data, publish, settings=settings, now_s=now_s))
        except UnusableStore as error:
            raise ConfigError(f"server.data: {error}") from error
        history = StoredHistory(store.durations)
        yield OpenLog(store.log, history, store.log.unfinished(), lambda: store.healthy, store)


def _secret(path: Path) -> bytes:
    """The key of this data directory, made at first use, readable by its owner alone."""
    try:
        kept = path.read_bytes()
    except FileNotFoundError:
        return _new_secret(path)
    if len(kept) != SECRET_BYTES:
        raise ConfigError(f"server.data: {path} is damaged; remove it, and links that were shared end")
    return kept


def _new_secret(path: Path) -> bytes:
    """In place only when it is whole on disk: half of it would keep the next gateway from starting."""
    secret = secrets.token_bytes(SECRET_BYTES)
    part = path.with_name(f".{path.name}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return secret
