"""The shared writer of what clients are owed: many messages to a frame, and one frame for many clients."""

import contextlib
from collections.abc import Callable, Iterator
from math import inf
from typing import Final, Protocol

import msgspec
import structlog
import trio
from websockets.frames import CloseCode, Opcode

from gateway.live.ticker import Ticker, Timer
from gateway.net.frame import frame
from protocol.codec import Codec
from protocol.envelope import Envelope, frame_payload
from protocol.outbox import Outbox, TooSlow

_log = structlog.get_logger(__name__)

CLOSE_TOO_SLOW: Final = 4000
LINKS_A_TURN: Final = 64  # links written in a row before other tasks get their turn

_JSON: Final = Codec.JSON  # an enum's members cost more to look up than names of the module
_TEXT: Final = Opcode.TEXT
_BINARY: Final = Opcode.BINARY


class FlusherLimits(msgspec.Struct, frozen=True):
    """How long events gather before they are written, and how long a client may take no byte; seconds."""

    tick_s: float = 0.03
    write_stall_s: float = 20.0


class Socket(Protocol):
    """What the flusher needs of a WebSocket."""

    deflate: bool
    last_accepted: float
    on_writable: Callable[[], None]

    @property
    def backlog(self) -> int:
        """Bytes that the peer has not taken yet; nothing more is written until `on_writable` is called."""
        ...

    def try_write(self, data: bytes) -> bool:
        """Write a whole frame without waiting; never raises."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Begin to close."""
        ...


class Link:
    """One client, as the flusher sees it: its outbox and its socket."""

    __slots__ = ("blocked", "open", "outbox", "socket", "timer")

    def __init__(self, outbox: Outbox, socket: Socket) -> None:
        self.outbox = outbox
        self.socket = socket
        self.open = True
        self.blocked = False  # behind a backlog
        self.timer: Timer | None = None  # for a stalled write, or for throttled progress


class Flusher:
    """Drains the outboxes of marked links: urgent ones at once, the others a tick after the first mark."""

    def __init__(self, ticker: Ticker, limits: FlusherLimits) -> None:
        self._ticker = ticker
        self._limits = limits
        self._links: dict[Link, None] = {}
        self._now: dict[Link, None] = {}  # in order
        self._soon: dict[Link, None] = {}
        self._tick_at = inf
        self._sleep = trio.CancelScope()

    @contextlib.contextmanager
    def open_link(self, outbox: Outbox, socket: Socket) -> Iterator[Link]:
        """A link that is served until the block ends; sets `socket.on_writable`."""
        link = Link(outbox, socket)
        self._links[link] = None
        socket.on_writable = lambda: self._unblock(link)
        try:
            yield link
        finally:
            del self._links[link]
            link.open = False
            self._set_timer(link, None)
            socket.on_writable = _nobody_waits  # the link, which holds the socket

    def mark(self, link: Link) -> None:
        """Something has been put into the link's outbox."""
        outbox = link.outbox
        if not link.open or (link.blocked and not outbox.too_slow):
            return
        if outbox.urgent:
            self._hurry(link)
            return
        self._soon[link] = None
        if self._tick_at == inf:
            self._tick_at = trio.current_time() + self._limits.tick_s
            self._sleep.deadline = self._tick_at

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; sleeps while no link is marked."""
        task_status.started()
        while True:
            if self._now:
                await trio.lowlevel.checkpoint()
            else:
                with trio.CancelScope(deadline=self._tick_at) as self._sleep:
                    await trio.sleep_forever()
            await self._flush_all()

    async def flush(self, stall_s: float) -> None:
        """Write all that is owed, however slowly it is taken: the last words of a gateway that stops.

        Who takes no byte for `stall_s` seconds is waited for no more.
        """
        while True:
            while self._now or self._soon:
                self._tick_at = trio.current_time()
                await self._flush_all()
            stuck_before = trio.current_time() - stall_s
            if not any(_owes(link) and link.socket.last_accepted > stuck_before for link in self._links):
                return
            await trio.sleep(self._limits.tick_s)

    async def _flush_all(self) -> None:
        now = trio.current_time()
        links, self._now = self._now, {}
        if now >= self._tick_at:
            links |= self._soon
            self._soon = {}
            self._tick_at = inf
        frames = _LatestFrames()
        for count, link in enumerate(links, start=1):
            self._flush(link, frames, now)
            if count % LINKS_A_TURN == 0:
                await trio.lowlevel.checkpoint()

    def _flush(self, link: Link, frames: "_LatestFrames", now: float) -> None:
        """Write one frame; what is owed beyond it waits for its turn or its time.

        Behind a backlog it only looks whether the client is too slow.
        """
        outbox, socket = link.outbox, link.socket
        if not link.open or (link.blocked and not outbox.too_slow):
            return
        try:
            if not socket.backlog or outbox.too_slow:
                if envelopes := outbox.drain(now):
                    socket.try_write(frames.get(envelopes, outbox.codec, deflate=socket.deflate))
                self._plan(link, outbox.due(now), now)
        except TooSlow as error:
            self._give_up(link, CLOSE_TOO_SLOW, str(error))
        except Exception:
            _log.exception("flush_failed")
            self._give_up(link, CloseCode.INTERNAL_ERROR, "internal error")
        else:
            if socket.backlog:
                link.blocked = True
                self._watch_stall(link)

    def _plan(self, link: Link, due: float | None, now: float) -> None:
        """See to what is owed from `due` on."""
        if due is None:
            if link.timer is not None:
                self._set_timer(link, None)
        elif due > now:
            self._set_timer(link, due, self.mark)
        elif not link.socket.backlog:
            self._hurry(link)

    def _hurry(self, link: Link) -> None:
        self._now[link] = None
        self._sleep.cancel()

    def _unblock(self, link: Link) -> None:
        link.blocked = False
        self._set_timer(link, None)
        self._hurry(link)

    def _watch_stall(self, link: Link) -> None:
        """Close the link when its peer takes no byte for too long."""
        deadline = link.socket.last_accepted + self._limits.write_stall_s
        if deadline > trio.current_time():
            self._set_timer(link, deadline, self._watch_stall)
        else:
            self._give_up(link, CLOSE_TOO_SLOW, f"no byte taken for {self._limits.write_stall_s:g} s")

    def _give_up(self, link: Link, code: int, reason: str) -> None:
        link.open = False
        self._set_timer(link, None)
        link.socket.close(code, reason)

    def _set_timer(self, link: Link, when: float | None, callback: Callable[[Link], None] | None = None) -> None:
        if link.timer is not None:
            link.timer.cancel()
            link.timer = None
        if when is not None and callback is not None:
            link.timer = self._ticker.at(when, lambda: callback(link))


def _owes(link: Link) -> bool:
    """Whether there is more to write than progress that waits for its time."""
    return link.open and (bool(link.socket.backlog) or link.outbox.urgent)


def _nobody_waits() -> None:
    """What becomes of `on_writable`."""


class _LatestFrames:
    """The latest frame of each format: clients that are owed the same envelopes are marked, and served, in a row."""

    def __init__(self) -> None:
        self._latest: dict[tuple[Codec, bool], tuple[list[Envelope], bytes]] = {}

    def get(self, envelopes: list[Envelope], codec: Codec, *, deflate: bool) -> bytes:
        """The frame of these envelopes: the very same bytes as the latest one, if that has the same."""
        format_ = codec, deflate and len(envelopes) > 1  # what is compressed is a batch, never a lone event
        latest = self._latest.get(format_)
        if latest is not None and latest[0] == envelopes:
            return latest[1]
        opcode = _TEXT if codec is _JSON else _BINARY
        built = frame(opcode, frame_payload(envelopes, codec), deflate=format_[1])
        self._latest[format_] = envelopes, built
        return built
