"""One client's dialogue over its WebSocket: `hello` first, then commands in and answers out, until it closes."""

import contextlib
from math import inf
from typing import Final, TypeVar

import msgspec
import structlog
import trio

from gateway.hub import Hub, Watcher
from gateway.sessions import Beginning, Sessions
from gateway.ticker import Ticker
from gateway.websocket import WebSocket, WebSocketClosed
from protocol.codec import Codec, Rejected, decode_frame
from protocol.commands import AnyCommand, Cancel, Hello, List, Ping, ResumeCursor, Start, Unwatch, Watch, WatchOptions
from protocol.errors import BadMessage, Gone, HatcheryError, Invalid, NotFound
from protocol.events import Accepted, Error, Limits, Ok, Pong, Resumed, Welcome
from protocol.events import Sessions as SessionsPage
from protocol.view import SessionView

log = structlog.get_logger(__name__)

T = TypeVar("T")

VERSION: Final = 1
CLOSE_NO_HEARTBEAT: Final = 4001
CLOSE_BAD_MESSAGES: Final = 4500
CLOSE_NO_HELLO: Final = 4502


class DialogueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds to the `hello` and between heartbeats, and how many bad messages a client may send."""

    hello_s: float
    heartbeat_s: float
    bad_messages: int
    client: Limits


class Reception(msgspec.Struct, frozen=True, kw_only=True):
    """What all dialogues of a gateway share."""

    sessions: Sessions
    hub: Hub
    ticker: Ticker
    limits: DialogueLimits
    server: str  # its name and version, for `welcome`


async def converse(websocket: WebSocket, codec: Codec, connection: str, owner: str, reception: Reception) -> None:
    """Serve one client until it, or the gateway, closes the connection."""
    with contextlib.suppress(WebSocketClosed), reception.hub.join(owner, codec, websocket) as watcher:
        dialogue = _Dialogue(websocket, codec, connection, watcher, reception)
        with _Heartbeat(websocket, reception.ticker, reception.limits.heartbeat_s):
            await dialogue.run()


class _Dialogue:
    def __init__(
        self, websocket: WebSocket, codec: Codec, connection: str, watcher: Watcher, reception: Reception
    ) -> None:
        self._websocket = websocket
        self._codec = codec
        self._connection = connection
        self._watcher = watcher
        self._hub = reception.hub
        self._sessions = reception.sessions
        self._limits = reception.limits
        self._server = reception.server
        self._greeted = False
        self._bad = 0

    async def run(self) -> None:
        """Raises WebSocketClosed in the end."""
        with trio.move_on_after(self._limits.hello_s) as patience:
            while True:
                for command in decode_frame(await self._websocket.receive(), self._codec):
                    await self._take(command)
                    if self._greeted:
                        patience.deadline = inf
                    await trio.lowlevel.checkpoint()  # others' turn, and the flusher's: a frame may hold 1000 commands
                    if closed := self._websocket.closed:
                        raise closed
        self._websocket.close(CLOSE_NO_HELLO, "no hello came")

    async def _take(self, command: AnyCommand | Rejected) -> None:
        if isinstance(command, Rejected):
            self._refuse(command)
            return
        if isinstance(command, Hello) is self._greeted:
            self._refuse(Rejected(BadMessage("`hello` is the first message, and said once", field="type"), command.id))
            return
        try:
            await self._handle(command)
        except HatcheryError as error:
            session = getattr(command, "session", None)
            self._hub.say(self._watcher, _error(error, command.id, session))

    def _refuse(self, rejected: Rejected) -> None:
        self._hub.say(self._watcher, _error(rejected.error, rejected.id))
        self._bad += 1
        if self._bad > self._limits.bad_messages:
            log.info("too_many_bad_messages", connection=self._connection)
            self._websocket.close(CLOSE_BAD_MESSAGES, "too many bad messages")

    async def _handle(self, command: AnyCommand) -> None:
        match command:
            case Hello():
                await self._greet(command)
            case Start():
                await self._start(command)
            case Cancel():
                await self._cancel(command)
            case Watch():
                await self._watch(command)
            case Unwatch(id=id_, session=session):
                view = await self._sessions.view(self._watcher.owner, session)
                self._hub.detach(self._watcher, session)
                self._hub.say(self._watcher, _ok(id_, view))
            case List():
                await self._list(command)
            case Ping(id=id_):
                self._hub.say(self._watcher, Pong(id=id_))

    async def _greet(self, hello: Hello) -> None:
        found = [(cursor, await self._find(cursor.session)) for cursor in hello.resume]
        self._greeted = True
        resumed = [_judge(cursor, view) for cursor, view in found]  # with no await before they are attached
        welcome = Welcome(
            id=hello.id,
            connection=self._connection,
            server=self._server,
            version=VERSION,
            engines=self._sessions.workshop.engines,
            heartbeat_ms=round(self._limits.heartbeat_s * 1000),
            limits=self._limits.client,
            resumed=resumed,
        )
        self._hub.say(self._watcher, welcome)
        for (_, view), judged in zip(found, resumed, strict=True):
            if view is not None:
                self._hub.attach(self._watcher, view, owe_snapshot=judged.result == "snapshot")
        if hello.follow == "mine":
            self._hub.follow(self._watcher)

    async def _find(self, session: str) -> SessionView | None:
        try:
            return await self._sessions.view(self._watcher.owner, session)
        except (NotFound, Gone):
            return None

    async def _start(self, start: Start) -> None:
        beginning = Beginning(
            hatch=start.hatch, key=start.key, on_disconnect=start.on_disconnect, grace_s=start.grace_s
        )
        started = await self._sessions.start(self._watcher.owner, beginning, self._watcher)
        view = started.view
        accepted = Accepted(
            id=start.id, session=view.session, epoch=view.epoch, existing=started.existing, state=view.state
        )
        self._hub.say(self._watcher, accepted)
        if start.watch is not False:
            wishes = start.watch if isinstance(start.watch, WatchOptions) else WatchOptions()
            self._hub.attach(self._watcher, view, max_hz=wishes.max_hz, previews=wishes.previews)

    async def _cancel(self, cancel: Cancel) -> None:
        reason = cancel.reason or "asked by the client"
        owner = self._watcher.owner
        match cancel.session, cancel.key:
            case str(session), None:
                view: SessionView | None = await self._sessions.cancel(owner, session=session, reason=reason)
            case None, str(key):
                view = await self._sessions.cancel_key(owner, key=key, reason=reason)
            case _:
                raise Invalid("a cancel names either `session` or `key`", field="session")
        self._hub.say(self._watcher, Ok(id=cancel.id) if view is None else _ok(cancel.id, view))

    async def _watch(self, watch: Watch) -> None:
        view = await self._sessions.view(self._watcher.owner, watch.session)
        current = watch.from_ is not None and view.is_current(watch.from_)
        if current:
            self._hub.say(self._watcher, _ok(watch.id, view))
        self._hub.attach(
            self._watcher,
            view,
            max_hz=watch.max_hz,
            previews=watch.previews,
            owe_snapshot=not current,
            request_id=msgspec.UNSET if current else watch.id,
        )

    async def _list(self, command: List) -> None:
        states = None if command.states is None else frozenset(command.states)
        page = await self._sessions.list(self._watcher.owner, states=states, limit=command.limit, before=command.before)
        self._hub.say(self._watcher, SessionsPage(id=command.id, items=page.items, before=page.before))


class _Heartbeat:
    """Pings at an interval, and drops a connection that has shown no sign of life since the last ping."""

    def __init__(self, websocket: WebSocket, ticker: Ticker, interval_s: float) -> None:
        self._websocket = websocket
        self._ticker = ticker
        self._interval_s = interval_s
        self._pinged_at = -inf
        self._timer = ticker.at(trio.current_time() + interval_s, self._beat)

    def __enter__(self) -> None: ...

    def __exit__(self, *_exc: object) -> None:
        self._timer.cancel()

    def _beat(self) -> None:
        if self._websocket.last_heard < self._pinged_at:
            self._websocket.close(CLOSE_NO_HEARTBEAT, "no sign of life")
            return
        self._websocket.ping()
        self._pinged_at = trio.current_time()
        self._timer = self._ticker.at(self._pinged_at + self._interval_s, self._beat)


def _judge(cursor: ResumeCursor, view: SessionView | None) -> Resumed:
    if view is None:
        return Resumed(session=cursor.session, result="gone")
    return Resumed(session=cursor.session, result="current" if view.is_current(cursor) else "snapshot")


def _ok(id_: str | int, view: SessionView) -> Ok:
    return Ok(id=id_, session=view.session, epoch=view.epoch, seq=view.seq, offset=view.offset, state=view.state)


def _error(error: HatcheryError, id_: str | int | None, session: str | None = None) -> Error:
    return Error(
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        id=_or_unset(id_),
        session=_or_unset(session),
        field=_or_unset(error.field),
        retry_after_ms=_or_unset(error.retry_after_ms),
    )


def _or_unset(value: T | None) -> T | msgspec.UnsetType:
    return msgspec.UNSET if value is None else value
