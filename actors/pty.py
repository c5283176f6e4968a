"""One child on a pseudo-terminal: read it, write to it, stop it for certain, and leave nothing of it behind."""

import contextlib
import errno
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec
import trio

from actors.reaper import ExitStatus, Reaper, reap
from actors.spawn import HOLDS_SLAVE, PtySpec, Spawned, spawn

__all__ = [
    "FULL_LADDER",
    "INTERRUPT_KEY",
    "ONE_SHOT_LADDER",
    "ExitStatus",
    "Keeper",
    "Ladder",
    "PtyChild",
    "PtySpec",
    "Rung",
    "open_pty",
]

READ_BYTES = 65536
AFTER_EXIT_BYTES = 256 * 1024  # far more than a terminal buffers (Linux: 20 KiB), so only a leftover fills it
STOP_SLACK_S = 1.0  # the ladder bounds itself; this much later the scope around it gives up

INTERRUPT_KEY = b"\x03"


class Rung(msgspec.Struct, frozen=True):
    """One attempt to stop a child: keys typed on its terminal, or a signal to its group, and how long to wait."""

    send: bytes | signal.Signals
    patience_s: float


Ladder = tuple[Rung, ...]

ONE_SHOT_LADDER: Ladder = (Rung(signal.SIGTERM, 1.0), Rung(signal.SIGKILL, 5.0))
"""For a child whose output is thrown away anyway."""

FULL_LADDER: Ladder = (Rung(INTERRUPT_KEY, 2.0), Rung(signal.SIGINT, 2.0), *ONE_SHOT_LADDER)
"""For a child worth asking; the key misses one without ISIG or with a full input queue, hence SIGINT as well."""


class Keeper(Protocol):
    """Whoever ends the children that are left when this process is killed."""

    def mark(self, spec: PtySpec) -> PtySpec:
        """The child as all of this process are started: marked in its environment, in case it leaves its group."""

    def watch(self, pgid: int) -> None:
        """A child leads this group now."""

    def forget(self, pgid: int) -> None:
        """The child has been collected, and nothing is left of its group."""


class PtyChild:
    """A running child and the master side of its terminal; `receive` and `send` are for one task each."""

    def __init__(self, spawned: Spawned) -> None:
        self.pid = spawned.pid
        self.status: ExitStatus | None = None
        self._master: int | None = spawned.master
        self._slave = spawned.slave
        self._exited = trio.Event()
        self._receiving = trio.Lock()  # `stop` discards output, perhaps beside a task that receives
        self._after_exit_bytes = AFTER_EXIT_BYTES
        self._killed_in_vain = False

    @property
    def stuck(self) -> bool:
        """Not even SIGKILL has ended it in time, as in an uninterruptible system call; `wait` tells when it has."""
        return self._killed_in_vain and self.status is None

    async def receive(self) -> bytes:
        """The next raw bytes of both outputs, at most 64 KiB, or b"" at the end.

        The end is the last slave's closing or the child's exit, even if a process that it left behind holds the
        terminal open. Raises trio.ClosedResourceError once the scope has been left.
        """
        try:
            self._receiving.acquire_nowait()  # `acquire` would give up this turn, for nothing almost always
        except trio.WouldBlock:
            await self._receiving.acquire()
        try:
            while True:
                master = await self._ready(trio.lowlevel.wait_readable)
                chunk = _read(master)
                if self.status is None:
                    if chunk is not None:
                        return chunk
                elif chunk is None or self._after_exit_bytes <= 0:
                    return b""
                else:
                    self._after_exit_bytes -= len(chunk)
                    return chunk
        finally:
            self._receiving.release()

    async def send(self, data: bytes) -> None:
        """Type raw bytes on the terminal; a line over 4095 bytes is cut by it while it is in canonical mode.

        Raises trio.BrokenResourceError if the child has ended, trio.ClosedResourceError once the scope has been left.
        """
        left = memoryview(data)
        while left:
            master = await self._ready(trio.lowlevel.wait_writable)
            if self.status is not None:
                raise trio.BrokenResourceError("the child has ended")
            try:
                left = left[os.write(master, left) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError("the child has closed its terminal") from error

    async def wait(self) -> ExitStatus:
        """Wait until the child has ended; what it has printed by then can still be received."""
        await self._exited.wait()
        assert self.status is not None
        return self.status

    async def stop(self, ladder: Ladder = ONE_SHOT_LADDER) -> ExitStatus | None:
        """Climb the ladder until the child has ended; None if it lives on after the last rung.

        Output is discarded meanwhile, since a child that blocks on a full terminal can neither obey nor, on macOS,
        exit. Cancelled, it stops where it is: leaving the scope does the rest.
        """
        for rung in ladder:
            if self.status is not None:
                break
            self._apply(rung)
            with trio.move_on_after(rung.patience_s):
                while await self.receive():
                    pass
                await self.wait()
            if rung.send == signal.SIGKILL:
                self._killed_in_vain = self.status is None
        return self.status

    def _apply(self, rung: Rung) -> None:
        match rung.send:
            case signal.Signals() as number:
                self._signal_group(number)
                self._signal_group(signal.SIGCONT)  # a stopped process hears nothing until it is continued
            case keys:
                if self._master is not None:
                    with contextlib.suppress(OSError):  # a full input queue, or no slave any more: the next rung
                        os.write(self._master, keys)

    def _signal_group(self, number: signal.Signals) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM if only zombies are left
                os.killpg(self.pid, number)

    async def _watch(self, reaper: Reaper, keeper: Keeper | None) -> None:
        self.status = await reaper(self.pid, lambda: self._signal_group(signal.SIGKILL))
        if keeper is not None:
            keeper.forget(self.pid)
        self._exited.set()
        if self._master is not None:
            trio.lowlevel.notify_closing(self._master)  # it stays open, but nobody is to wait for it any more

    async def _ready(self, wait: Callable[[int], Awaitable[None]]) -> int:
        """The master, when it can be read or written, or when the child has ended, whatever the terminal says."""
        if self.status is None and self._master is not None:
            try:
                await wait(self._master)
            except trio.ClosedResourceError:
                if self._master is None:
                    raise  # `_close` has said so; else `_watch`, that the child has ended
        else:
            await trio.lowlevel.checkpoint()
        if self._master is None:
            raise trio.ClosedResourceError
        return self._master

    def _close(self) -> None:
        """Close the terminal, which hangs up on whoever still listens."""
        for fd in (self._master, self._slave):
            if fd is not None:
                trio.lowlevel.notify_closing(fd)
                os.close(fd)
        self._master = self._slave = None


def _read(master: int) -> bytes | None:
    """One read: bytes, b"" at the end of a terminal without slaves, None if there is nothing at present."""
    try:
        return os.read(master, READ_BYTES)  # BSD and macOS end with b""
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno != errno.EIO:  # Linux ends with it
            raise
        return b""


@asynccontextmanager
async def open_pty(
    spec: PtySpec,
    *,
    ladder: Ladder = ONE_SHOT_LADDER,
    keeper: Keeper | None = None,
    reaper: Reaper = reap,
    hold_slave: bool = HOLDS_SLAVE,
) -> AsyncIterator[PtyChild]:
    """Run a program on a terminal of its own; however the scope is left, the child is stopped and collected first.

    A `keeper` is told of the child until it is collected, for the day when this process is killed.
    Leaving takes at most the ladder's patience; then the child is `stuck`, and collected whenever it does end. Wait for
    a child whose exit code matters: it may still run when its output has ended, and leaving would stop it.
    Raises ImageUnavailable if it cannot be started, ValueError for a ladder that does not end with SIGKILL.
    """
    if not ladder or ladder[-1].send != signal.SIGKILL:
        raise ValueError("a ladder ends with SIGKILL")
    await trio.lowlevel.checkpoint()
    child = PtyChild(spawn(keeper.mark(spec) if keeper else spec, hold_slave=hold_slave))
    if keeper is not None:
        keeper.watch(child.pid)
    # A system task, because a stuck child outlives this scope, and to keep exception groups out of it.
    trio.lowlevel.spawn_system_task(child._watch, reaper, keeper)
    try:
        yield child
    finally:
        patience_s = sum(rung.patience_s for rung in ladder) + STOP_SLACK_S
        with trio.move_on_after(patience_s, shield=True):
            await child.stop(ladder)
        child._close()
