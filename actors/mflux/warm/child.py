"""One warm worker from the gateway's side: its terminal and its reports, read by one task each, and its current job."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import msgspec
import trio

from actors.mflux.engine import Tell
from actors.mflux.oneshot import quotable
from actors.mflux.silence import TICK_S
from actors.mflux.warm.wire import (
    REPORT_BYTES,
    Draw,
    Drawn,
    Failed,
    FrameReader,
    Idle,
    Interrupted,
    Leaving,
    Message,
    Outcome,
    Ready,
    Report,
    Setup,
    Started,
    Stopped,
    Unloadable,
    frame,
    job_mark,
)
from actors.mflux.watch import BarWatch
from actors.pty import INTERRUPT_KEY, ExitStatus
from protocol.errors import ImageFailed, ImageUnavailable
from protocol.forecast import Forecast
from protocol.mail import RenderMail, RenderStaged
from protocol.stall import StallLimits

LETTERS: Final = 64  # that may wait for the job's owner before the worker has to
ORDER_S: Final = 1.0  # for writing an order into an empty pipe
MARK_S: Final = 1.0  # for a job's last output to follow its outcome
EXIT_S: Final = 3.0  # for an end of one of its outputs to become its exit

_Inbox = trio.MemoryReceiveChannel[RenderMail | Report]


class LeftBeforeJob(Exception):
    """The worker was gone before it began the job, so another may take it."""


class Terminal(Protocol):
    """What is needed of a PtyChild."""

    pid: int
    status: ExitStatus | None

    async def receive(self) -> bytes: ...
    async def send(self, data: bytes) -> None: ...


class WarmChild:
    """A worker process, for one job at a time; after a job it may be used again once `settle` has said so."""

    def __init__(
        self,
        pty: Terminal,
        orders: trio.abc.SendStream,
        reports: trio.abc.ReceiveStream,
        stalls: StallLimits = StallLimits(),  # noqa: B008 - frozen
    ) -> None:
        self.pid = pty.pid
        self.ready: Ready | None = None
        self.rss_bytes = 0  # as it last said
        self.leaving: str | None = None  # by its own decision, and why
        self.refusal: str | None = None  # why its model cannot be loaded
        self.dismissed = False  # by ours
        self.downloaded = False  # its model, before it was loaded
        self.ended = trio.Event()
        self._pty = pty
        self._orders = orders
        self._reports = reports
        self._stalls = stalls
        self._frames: FrameReader[Report] = FrameReader(Report, REPORT_BYTES)
        self._scope = trio.CancelScope()
        self._began = trio.current_time()
        self._watch = BarWatch(self._began)
        self._listener: trio.MemorySendChannel[RenderMail | Report] | None = None
        self._changed = trio.Event()
        self._jobs = 0
        self._drawing = False  # an order is out and has no outcome yet
        self._started = False
        self._asked = False  # to drop it
        self._tidied = True
        self._owed = 0  # interrupts on their way, which must not meet the next job
        self._marked = trio.Event()

    @property
    def status(self) -> ExitStatus | None:
        """How it ended; None if it has not."""
        return self._pty.status

    @property
    def occupied(self) -> bool:
        """A job is not over yet, or something of it is still to come."""
        return not self.ended.is_set() and (not self._tidied or self._owed > 0)

    async def run(self) -> None:
        """Read whatever it says, until it ends or is dismissed."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_terminal)
                nursery.start_soon(self._read_reports)

    def dismiss(self) -> None:
        """Give it up: whoever runs it stops it."""
        self.dismissed = True
        self._scope.cancel()

    def end(self) -> None:
        """Say that it has ended, or could not be made to."""
        self.ended.set()
        self._notify()
        if self._listener is not None:
            self._listener.close()

    async def load(self, tell: Tell, forecast: Forecast | None = None) -> Ready:
        """Wait until the model is loaded, telling how far it is; its loading is the forecast's first span.

        Raises ImageUnavailable if it cannot be loaded, ImageFailed if the worker dies or stalls over it.
        """
        if self.ready is not None:
            return self.ready
        async with self._listening() as inbox:
            if forecast is not None:
                self._watch.expect(forecast, self._began)
            await tell(RenderStaged(stage="loading", basis="indeterminate", message="Loading the model"))
            while self.ready is None:
                if self.refusal is not None:
                    raise ImageUnavailable(f"the model cannot be loaded: {self.refusal}")
                if self.ended.is_set():
                    raise ImageFailed(f"the image worker, loading its model, {self.last_words()}", retryable=True)
                item = await self._news(inbox, tell)
                if isinstance(item, RenderStaged):
                    await tell(item)
        return self.ready

    async def draw(self, order: Draw, tell: Tell, forecast: Forecast | None = None) -> Drawn:
        """Have a picture drawn, `order.job` being numbered here, and tell its stages and steps.

        Raises ImageFailed, or LeftBeforeJob. Cancelled, it leaves the job to `settle`.
        """
        self._jobs += 1
        order = msgspec.structs.replace(order, job=self._jobs)
        async with self._listening() as inbox:
            self._drawing, self._started, self._asked, self._tidied = True, False, False, False
            self._marked = trio.Event()
            self._watch = BarWatch(trio.current_time(), forecast, "encoding")
            await self.send(order)
            await tell(RenderStaged(stage="encoding", basis="indeterminate", message="Reading the prompt"))
            while True:
                match await self._news(inbox, tell):
                    case Drawn() as drawn:
                        return drawn
                    case Failed(kind=kind, message=message):
                        raise ImageFailed(f"mflux could not draw the picture: {kind}: {message}")
                    case Stopped():
                        raise ImageFailed("somebody interrupted the image worker", retryable=True)
                    case None if not self._started:
                        raise LeftBeforeJob
                    case None:
                        raise ImageFailed(f"the image worker {self.last_words()}", retryable=True)
                    case Message():
                        pass
                    case letter:
                        await tell(letter)

    async def settle(self, patience_s: float) -> None:
        """Wait until the worker has dropped its job, interrupted if need be, or has ended; at most `patience_s`."""
        with trio.move_on_after(patience_s):
            while self.occupied:
                changed = self._changed
                if self._drawing and self._started and not self._asked:
                    self._asked = True
                    self._owed += 1
                    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        await self._pty.send(INTERRUPT_KEY)
                await changed.wait()

    def last_words(self) -> str:
        """How it ended and what it said last, for an error's message."""
        status = self.status or ExitStatus()
        how = f"was killed by signal {status.signal}" if status.signal else f"ended with exit code {status.code}"
        said = quotable(self._watch.last_lines)
        return "; its last lines:\n".join((how, "\n".join(said))) if said else how

    async def send(self, order: Setup | Draw) -> None:
        """Write an order, whole or, for a worker that does not read, to its dismissal; the setup comes first."""
        with trio.move_on_after(ORDER_S, shield=True) as writing, contextlib.suppress(trio.BrokenResourceError):
            await self._orders.send_all(frame(order))
        if writing.cancelled_caught:
            self.dismiss()

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[_Inbox]:
        """Everything that is read from here on; it ends with the worker."""
        self._listener, inbox = trio.open_memory_channel[RenderMail | Report](LETTERS)
        if self.ended.is_set():
            self._listener.close()
        try:
            yield inbox
        finally:
            inbox.close()  # what is read from now on is dropped, which keeps the worker going
            self._listener = None

    async def _news(self, inbox: _Inbox, tell: Tell) -> RenderMail | Report | None:
        """The next item, or None at the end; tells what a silence before it means. Raises ImageFailed at a stall."""
        while True:
            with trio.move_on_after(TICK_S):
                return await _next(inbox)
            now = trio.current_time()
            for letter in self._watch.look(now):
                await tell(letter)
            if reproach := self._watch.stalled(self._stalls, now):
                if self.ready is None:
                    self.dismiss()  # there is no job that could be interrupted
                raise ImageFailed(f"the image worker {reproach}", retryable=True)

    async def _deliver(self, item: RenderMail | Report) -> None:
        if self._listener is not None:
            with contextlib.suppress(trio.BrokenResourceError):
                await self._listener.send(item)

    async def _read_terminal(self) -> None:
        while data := await self._pty.receive():
            letters = self._watch.feed(data, trio.current_time())
            for letter in letters:
                await self._deliver(letter)
            if self._drawing and job_mark(self._jobs) in self._watch.last_lines:
                self._marked.set()
        self._scope.deadline = trio.current_time() + EXIT_S

    async def _read_reports(self) -> None:
        with contextlib.suppress(ValueError, trio.BrokenResourceError):  # a worker that stammers has ended
            while data := await self._reports.receive_some():
                for report in self._frames.feed(bytes(data)):
                    await self._hear(report)
        self._scope.deadline = trio.current_time() + EXIT_S

    async def _hear(self, report: Report) -> None:
        match report:
            case Drawn(job=job) | Stopped(job=job) | Failed(job=job) if job != self._jobs or not self._drawing:
                return  # of a job that nobody waits for any more
            case Drawn() | Stopped() | Failed():
                await self._conclude(report)
            case Ready():
                self.ready, self.downloaded = report, self._watch.downloaded
            case Unloadable(message=message):
                self.leaving = self.refusal = message
            case Started():
                self._started = True
            case Interrupted():
                self._owed = max(0, self._owed - 1)
            case Idle(rss_bytes=rss_bytes):
                self.rss_bytes, self._tidied = rss_bytes, not self._drawing  # else said before it read the order
            case Leaving(reason=reason):
                self.leaving, self._tidied = reason, not self._drawing
        self._notify()
        await self._deliver(report)

    async def _conclude(self, outcome: Outcome) -> None:
        """The job is over once its last output has been read as well."""
        with trio.move_on_after(MARK_S):
            await self._marked.wait()
        self._drawing = False
        if isinstance(outcome, Stopped):
            self._owed = 0

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


async def _next(inbox: _Inbox) -> RenderMail | Report | None:
    """The next item; None at the end."""
    try:
        return await inbox.receive()
    except trio.EndOfChannel:
        return None
