"""A seat: one render slot's worker, started when it is wanted, kept between hatches, replaced when it has failed."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from math import inf
from random import Random
from typing import Final

import structlog
import trio

from actors.mflux.engine import Tell
from actors.mflux.warm.child import LeftBeforeJob, WarmChild
from actors.mflux.warm.program import WarmProgram
from actors.mflux.warm.wire import Draw, Drawn
from protocol.errors import HatcheryError, ImageFailed, ImageUnavailable
from protocol.forecast import Forecast
from protocol.mail import RenderStaged, WorkerLeft
from protocol.restart import RestartPolicy, RestartWindow

STOP_S: Final = 10.0  # more than the ladder takes that stops a child
HIRES: Final = 2  # workers that may leave, one after the other, just as they are to begin a job

log = structlog.get_logger(__name__)


OpenChild = Callable[[WarmProgram], AbstractAsyncContextManager[WarmChild]]
OnLoaded = Callable[[WarmProgram, float], None]
"""Told how many seconds a worker took to load that."""


class Seat:
    """`run` owns the worker's process; whoever has the seat may `draw`, once at a time, and must then `settle`.

    There is one worker at a time: one that has loaded something else than is wanted goes before the next one comes.
    """

    def __init__(
        self,
        program: WarmProgram,
        open_child: OpenChild,
        restarts: RestartPolicy,
        random: Random,
        on_loaded: OnLoaded,
    ) -> None:
        self.child: WarmChild | None = None
        self._program = program  # for the next worker to load
        self._loaded = program  # by the present one
        self._open_child = open_child
        self._window = RestartWindow(restarts, random)
        self._longest_s = restarts.backoff_max_s
        self._wanted = trio.Event()
        self._changed = trio.Event()
        self._error: HatcheryError | None = None
        self._failed: WarmChild | None = None  # the last one, if it died or had to be given up
        self._parted: WarmChild | None = None  # ended for another model, which is no failure
        self._used: WarmChild | None = None
        self._on_loaded = on_loaded
        self._known: WarmChild | None = None  # its loading has been told
        self._patience = trio.CancelScope()  # of `settle`
        self._hurried = False

    @property
    def warm(self) -> bool:
        """There is a worker, or one is on its way."""
        return self._wanted.is_set()

    def distance(self, program: WarmProgram) -> int:
        """How far it is from having this loaded: 0 if it has or soon will, 2 if something else has to go for it."""
        if not self.warm:
            return 1
        return 0 if program == self._program else 2

    def want(self, program: WarmProgram) -> None:
        """Have a worker started that loads this, unless there is one."""
        self._program = program
        self._wanted.set()

    def hurry(self) -> None:
        """Wait for no worker that is not idle from now on, and start none in place of one that is ended."""
        self._hurried = True
        self._patience.cancel()

    async def run(self) -> None:
        """Keep workers coming for ever; cancelled, it ends the present one first."""
        while True:
            await self._wanted.wait()
            wanted_still = False
            try:
                await self._back_off()
                wanted_still = await self._employ()
            except HatcheryError as error:
                self._error = error
            if not wanted_still:
                self._wanted = trio.Event()
            self._notify()

    async def draw(
        self,
        program: WarmProgram,
        order: Draw,
        tell: Tell,
        loading: Forecast | None = None,
        drawing: Forecast | None = None,
    ) -> Drawn:
        """Have the picture drawn by a worker that has loaded this. Raises ImageUnavailable or ImageFailed."""
        self._used = None
        for _ in range(HIRES):
            child = self._used = await self._hire(program, tell)
            ready = await child.load(tell, loading)
            if child is not self._known and not child.downloaded:
                self._on_loaded(program, ready.load_s)
            self._known = child
            try:
                drawn = await child.draw(order, tell, drawing)
                self._window.forget()
                return drawn
            except LeftBeforeJob:
                await child.ended.wait()
        reason = self._used.leaving if self._used else None
        raise ImageFailed(f"{HIRES} image workers have left before they began: {reason or 'they died'}", retryable=True)

    async def settle(self, patience_s: float) -> WorkerLeft | None:
        """Make sure that nothing of the job still runs, and say what became of the worker; None if there was none.

        A worker that has not dropped the job within `patience_s`, or when told to hurry, is ended, and a new one
        started in the background, after a backoff, unless in a hurry.
        """
        child = self._used
        if child is None:
            return None
        with trio.move_on_after(0 if self._hurried else inf) as self._patience:
            await child.settle(patience_s)
            if child.leaving is not None:
                with trio.move_on_after(patience_s):
                    await child.ended.wait()
        if child.occupied or child.dismissed or (child.leaving is not None and not child.ended.is_set()):
            child.dismiss()
            with trio.move_on_after(STOP_S):
                await child.ended.wait()
        if not child.ended.is_set() and not child.dismissed:
            return WorkerLeft(fate="idle")
        if child.status is None:
            return WorkerLeft(fate="stuck")
        number = child.status.signal
        return WorkerLeft(fate="exited", exit_code=-number if number else child.status.code)

    async def _hire(self, program: WarmProgram, tell: Tell) -> WarmChild:
        self._error = None
        while True:
            changed, child = self._changed, self.child
            if child is not None and child.leaving is None and not child.ended.is_set():
                if program == self._loaded:
                    return child
                await self._part_with(child, program, tell)
            if self._error is not None:
                raise self._error
            self.want(program)
            await tell(RenderStaged(stage="loading", basis="indeterminate", message="Starting the image worker"))
            await changed.wait()

    async def _part_with(self, child: WarmChild, program: WarmProgram, tell: Tell) -> None:
        """End a worker that has loaded something else, for one that loads this. Raises ImageFailed if it stays."""
        self._program, self._used, self._parted = program, child, child
        await tell(RenderStaged(stage="loading", basis="indeterminate", message="Changing the model"))
        child.dismiss()
        with trio.move_on_after(STOP_S):
            await child.ended.wait()
        if child.status is None:
            raise ImageFailed("the image worker with another model cannot be stopped", retryable=True)

    async def _back_off(self) -> None:
        """Raises ImageUnavailable when too many have died, or none is to come any more.

        One that had to be given up was asked to stop by somebody, for which nobody else's picture is to fail.
        """
        if self._failed is not None:
            delay = self._window.next_delay(trio.current_time())
            if delay is None and not self._failed.dismissed:
                raise ImageUnavailable("the image worker keeps dying: see the gateway's log for its last lines")
            await trio.sleep(self._longest_s if delay is None else delay)
        if self._hurried:
            raise ImageUnavailable("the gateway stops: no image worker is started any more")

    async def _employ(self) -> bool:
        """One worker's life; whether another is to follow at once."""
        program = self._program
        try:
            async with self._open_child(program) as child:
                self.child, self._loaded = child, program
                self._notify()
                await child.run()
        finally:
            self.child = None
        self._failed = child if child.leaving is None and child is not self._parted else None
        if self._failed and not self._hurried:
            what = "image_worker_given_up" if child.dismissed else "image_worker_died"
            log.warning(what, pid=child.pid, last_words=child.last_words())
        if child.refusal is not None:
            log.warning("image_model_unloadable", reason=child.refusal)
        return child.dismissed and child.leaving is None and child.status is not None

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
