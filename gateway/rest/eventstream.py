"""Server-Sent Events (html.spec.whatwg.org/multipage/server-sent-events.html): one session over plain HTTP."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from math import inf
from typing import Final

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.live.answers import error_of
from gateway.live.hub import Hub, Watcher
from gateway.live.sessions import Sessions
from gateway.live.ticker import Ticker, Timer
from gateway.net.transport import PeerGone
from gateway.rest.eventcoding import EventEncoder, parse_event_id
from protocol.codec import Codec
from protocol.commands import Cursor
from protocol.errors import Unauthenticated
from protocol.view import SessionView

WRITE_BYTES: Final = 16 * 1024  # handed over at a time: a reader that takes them, however slowly, is not stuck
HEARTBEAT: Final = b":\n\n"  # a comment
_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]


class EventStreams:
    """`GET /v1/hatches/{session}/events`: all streams of one gateway, with one timer for the heartbeats of them all.

    `owner_of` tells who asks, `place_of` gives them a place among the connections for as long as the stream is open;
    both may raise. `lasts_s` tells for how many seconds more a request's login is good: a stream ends with it, after an
    `error` with `unauthenticated`, so that whoever reconnects is asked who they are.
    """

    def __init__(
        self,
        sessions: Sessions,
        hub: Hub,
        ticker: Ticker,
        *,
        heartbeat_s: float,
        owner_of: Callable[[Request], str],
        place_of: Callable[[Request], AbstractContextManager[None]],
        lasts_s: Callable[[Request], float],
    ) -> None:
        self._sessions = sessions
        self._hub = hub
        self._ticker = ticker
        self._heartbeat_s = heartbeat_s
        self._owner_of = owner_of
        self._place_of = place_of
        self._lasts_s = lasts_s
        self._open: dict[_Stream, None] = {}
        self._beating = False
        self._closed = trio.lowlevel.ParkingLot()

    def routes(self) -> list[Route]:
        """The endpoint, for a Starlette application."""
        return [Route("/v1/hatches/{session}/events", self.events, methods=["GET"])]

    async def events(self, request: Request) -> ASGIApp:
        """What happens in a session: after a snapshot, unless `Last-Event-ID` is current; ends after `end`."""
        owner = self._owner_of(request)
        view = await self._sessions.view(owner, request.path_params["session"])
        cursor = parse_event_id(request.headers.get("last-event-id", ""))
        return _Events(self, owner, view, cursor, self._place_of(request), partial(self._lasts_s, request))

    async def wait_closed(self) -> None:
        """Return when no stream is open: when all sessions have ended, once their readers have been told."""
        while self._open:
            await self._closed.park()

    async def serve(
        self,
        owner: str,
        view: SessionView,
        cursor: Cursor | None,
        lasts_s: Callable[[], float],
        receive: Receive,
        send: Send,
    ) -> None:
        """Be the body of a response that has begun. Raises PeerGone when it cannot be finished."""
        stream = _Stream(cursor)
        with self._hub.join(owner, Codec.JSON, stream) as watcher:
            self._hub.attach(watcher, view, owe_snapshot=cursor is None)
            with self._expiring(watcher, view.session, lasts_s), self._opened(stream):
                await stream.run(receive, send)

    @contextlib.contextmanager
    def _opened(self, stream: "_Stream") -> Iterator[None]:
        self._open[stream] = None
        self._beat_later()
        try:
            yield
        finally:
            del self._open[stream]
            self._closed.unpark_all()

    @contextlib.contextmanager
    def _expiring(self, watcher: Watcher, session: str, lasts_s: Callable[[], float]) -> Iterator[None]:
        """Show no more of the session once the reader's login is over, by a clock that may have been set meanwhile."""
        timer: Timer | None = None

        def check() -> None:
            nonlocal timer
            left_s = lasts_s()
            if left_s <= 0:
                self._hub.detach(watcher, session)
                self._hub.say(watcher, error_of(Unauthenticated("this login has expired: log in again"), None, session))
            elif left_s < inf:
                timer = self._ticker.at(trio.current_time() + left_s, check)

        check()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()

    def _beat_later(self) -> None:
        if self._open and not self._beating:
            self._beating = True
            self._ticker.at(trio.current_time() + self._heartbeat_s, self._beat)

    def _beat(self) -> None:
        self._beating = False
        for stream in self._open:
            stream.beat()
        self._beat_later()


class _Events:
    """The response; what the client has missed is judged and the client attached with no await in between."""

    def __init__(
        self,
        streams: EventStreams,
        owner: str,
        view: SessionView,
        cursor: Cursor | None,
        place: AbstractContextManager[None],
        lasts_s: Callable[[], float],
    ) -> None:
        self._streams = streams
        self._owner = owner
        self._view = view
        self._cursor = cursor
        self._place = place
        self._lasts_s = lasts_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._view.end is not None and self._is_current():
            await Response(status_code=204)(scope, receive, send)  # or a browser would reconnect for ever
            return
        with self._place:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body"})
                return
            cursor = self._cursor if self._is_current() else None
            await self._streams.serve(self._owner, self._view, cursor, self._lasts_s, receive, send)

    def _is_current(self) -> bool:
        return self._cursor is not None and self._view.is_current(self._cursor)


class _Stream:
    """One response on its way out, as the flusher sees it: a `flusher.Socket` whose frames become events."""

    def __init__(self, cursor: Cursor | None) -> None:
        self.deflate = False
        self.last_accepted = trio.current_time()
        self.on_writable: Callable[[], None] = _nobody_waits
        self._encoder = EventEncoder(cursor)
        self._pending = memoryview(b"")
        self._more = trio.Event()
        self._scope = trio.CancelScope()
        self._finished = False
        self._why = "the client has left"

    @property
    def backlog(self) -> int:
        """Bytes that have not been handed over yet."""
        return len(self._pending)

    def try_write(self, data: bytes) -> bool:
        """Take a frame, unless there is a backlog."""
        if self._pending:
            return False
        self._take(self._encoder.events(data))
        return True

    def close(self, code: int, reason: str = "") -> None:
        """Give the reader up: there is no other way to close a response than to break it off."""
        self._why = f"{code} {reason}"
        self._scope.cancel()

    def beat(self) -> None:
        """Show that the stream lives, if nothing else does."""
        if not self._pending:
            self._take(HEARTBEAT)

    async def run(self, receive: Receive, send: Send) -> None:
        """Send what is taken until the session's end. Raises PeerGone when that cannot be reached."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, receive)
            with self._scope, contextlib.suppress(PeerGone):
                await self._send_all(send)
            nursery.cancel_scope.cancel()
        if not self._finished:
            raise PeerGone(self._why)

    def _take(self, events: bytes) -> None:
        self._pending = memoryview(events)
        self.last_accepted = trio.current_time()
        self._more.set()

    async def _send_all(self, send: Send) -> None:
        while self._pending or not self._encoder.ended:
            await self._more.wait()
            self._more = trio.Event()
            while self._pending:
                await send(
                    {"type": "http.response.body", "body": bytes(self._pending[:WRITE_BYTES]), "more_body": True}
                )
                self._pending = self._pending[WRITE_BYTES:]
                self.last_accepted = trio.current_time()
            self.on_writable()
        await send({"type": "http.response.body"})
        self._finished = True

    async def _watch(self, receive: Receive) -> None:
        """Notice that the client hangs up."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._scope.cancel()


def _nobody_waits() -> None:
    """No link is open."""
