"""One gateway to a data directory, and nothing left of the one before: its lock, its processes, its job directories."""

import fcntl
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from actors.census import look
from actors.guard_process import GIVE_UP_S, end_gateways_processes
from protocol.errors import Invalid

LOCK_NAME: Final = "gateway.lock"
PATIENCE_S: Final = GIVE_UP_S + 5.0  # a killed gateway's guard holds the lock until it has cleaned up
POLL_S: Final = 0.05


class DataInUse(Invalid):
    """Another gateway, or the guard that cleans up after one, is at work on the data directory; `pid` is its number."""

    def __init__(self, data: Path, pid: int | None) -> None:
        self.pid = pid
        who = "a gateway" if pid is None else f"the gateway with process id {pid}"
        super().__init__(f"{data} is in use by {who}; stop it, or choose another folder", field="server.data")


class DataLock(msgspec.Struct, frozen=True):
    """The exclusive right to a data directory.

    `gateway` is the id of every gateway that works on this very directory, whatever path leads to it; `fd` is to be
    held by the guard as well.
    """

    gateway: str
    fd: int


class Swept(msgspec.Struct, frozen=True):
    """What an earlier gateway had left."""

    processes: int
    directories: int


@asynccontextmanager
async def open_data_lock(data: Path, *, patience_s: float = PATIENCE_S) -> AsyncIterator[DataLock]:
    """Make the data directory if it is missing, and hold its lock.

    Waits up to `patience_s` for the guard of a gateway that was killed, not for one that runs.
    Raises DataInUse, or OSError when the directory cannot be made or written.
    """
    fd = _open_lock_file(data)
    try:
        await _acquire(fd, data, patience_s)
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        yield DataLock(gateway=_gateway_id(data), fd=fd)
    finally:
        os.close(fd)  # the file stays: unlinked, it would let two in


def _open_lock_file(data: Path) -> int:
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(data / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)


def _gateway_id(data: Path) -> str:
    place = data.stat()
    return f"{place.st_dev:x}-{place.st_ino:x}"


async def _acquire(fd: int, data: Path, patience_s: float) -> None:
    deadline = trio.current_time() + patience_s
    while True:
        await trio.lowlevel.checkpoint()
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _holder(fd)
            holder = pid and look(pid)
            if (holder and not holder.zombie) or trio.current_time() >= deadline:
                raise DataInUse(data, pid) from None
        await trio.sleep(POLL_S)


def _holder(fd: int) -> int | None:
    """Who wrote its number last, if it has already."""
    written = os.pread(fd, 32, 0).strip()
    return int(written) if written.isdigit() else None


async def sweep(lock: DataLock, jobs: Path) -> Swept:
    """End the processes of earlier gateways on the locked directory and remove `jobs`, before the first job begins.

    Takes 0.1 s if there is nothing, and at most `GIVE_UP_S` besides the removal.
    """
    return await trio.to_thread.run_sync(_sweep, lock.gateway, jobs)


def _sweep(gateway: str, jobs: Path) -> Swept:
    ended = end_gateways_processes(gateway, {})
    stale = len(list(jobs.iterdir())) if jobs.is_dir() else 0
    shutil.rmtree(jobs, ignore_errors=True)
    return Swept(processes=len(ended), directories=stale)
