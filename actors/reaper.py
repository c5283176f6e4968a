"""How a child's end is noticed and its status collected: by pidfd on Linux, by polling elsewhere."""

import os
import sys
from collections.abc import Awaitable, Callable

import msgspec
import trio

POLL_S = 0.02
COLLECTED_ELSEWHERE = 255  # asyncio's answer too, when somebody else has taken the status


class ExitStatus(msgspec.Struct, frozen=True):
    """How a process ended: exactly one of its exit code (0-255) and the number of the signal that killed it."""

    code: int | None = None
    signal: int | None = None


Reaper = Callable[[int, Callable[[], None]], Awaitable[ExitStatus]]
"""Waits until the child `pid` has ended, calls `kill_leftovers`, and collects the status."""


async def reap(pid: int, kill_leftovers: Callable[[], None]) -> ExitStatus:
    """Sleep until the kernel says so; poll where it has no pidfd to give (macOS, a sandbox, too many open files).

    Leftovers are killed before the status is collected: until then the zombie pins the number of its group.
    """
    if sys.platform != "linux":
        return await reap_by_polling(pid, kill_leftovers)
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return await reap_by_polling(pid, kill_leftovers)
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
    kill_leftovers()
    return await reap_by_polling(pid, lambda: None)


async def reap_by_polling(pid: int, kill_leftovers: Callable[[], None]) -> ExitStatus:
    """Ask every `POLL_S` seconds.

    Asking collects the status, so leftovers are killed just after it. That is safe without a checkpoint in between:
    as long as one member lives, the kernel does not hand out the number of its group again.
    """
    while True:
        try:
            ended, wait_status = os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222  # it does not block
        except ChildProcessError:
            return ExitStatus(code=COLLECTED_ELSEWHERE)
        if ended:
            kill_leftovers()
            exit_code = os.waitstatus_to_exitcode(wait_status)
            return ExitStatus(code=exit_code) if exit_code >= 0 else ExitStatus(signal=-exit_code)
        await trio.sleep(POLL_S)
