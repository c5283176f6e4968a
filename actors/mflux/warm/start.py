"""Starting a warm worker: the program on a terminal of its own, with a pipe for orders and one for reports."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from actors.mflux.warm.child import WarmChild
from actors.mflux.warm.wire import Setup
from actors.pty import Keeper, PtyChild, PtySpec, open_pty
from protocol.errors import ImageUnavailable
from protocol.stall import StallLimits


@asynccontextmanager
async def open_warm_child(
    setup: Setup,
    *,
    cwd: Path,
    env: Mapping[str, str],
    stalls: StallLimits,
    keeper: Keeper | None = None,
) -> AsyncIterator[WarmChild]:
    """Start a worker and have it load; it is to be `run` in the block, and has ended when this returns.

    Raises ImageUnavailable if it cannot be started.
    """
    child: WarmChild | None = None
    try:
        async with _started(cwd, env, keeper) as (pty, orders, reports):
            child = WarmChild(pty, orders, reports, stalls)
            await child.send(setup)
            yield child
    finally:
        if child is not None:
            child.end()


@asynccontextmanager
async def _started(
    cwd: Path, env: Mapping[str, str], keeper: Keeper | None
) -> AsyncIterator[tuple[PtyChild, trio.abc.SendStream, trio.abc.ReceiveStream]]:
    """The program on its terminal, and our ends of its pipes."""
    async with contextlib.AsyncExitStack() as ours:
        with contextlib.ExitStack() as theirs:
            inbox, orders_fd = _pipe()
            theirs.callback(os.close, inbox)
            orders = await ours.enter_async_context(trio.lowlevel.FdStream(orders_fd))
            reports_fd, outbox = _pipe()
            theirs.callback(os.close, outbox)
            reports = await ours.enter_async_context(trio.lowlevel.FdStream(reports_fd))
            argv = (sys.executable, "-m", "actors.mflux.warm.worker", str(inbox), str(outbox))
            spec = PtySpec(argv=argv, cwd=str(cwd), env=dict(env), pass_fds=(inbox, outbox))
            pty = await ours.enter_async_context(open_pty(spec, keeper=keeper))
        yield pty, orders, reports


def _pipe() -> tuple[int, int]:
    try:
        return os.pipe()
    except OSError as error:
        raise ImageUnavailable(f"The image worker could not be started: {error.strerror}.") from error
