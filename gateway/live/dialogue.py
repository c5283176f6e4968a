"""One client's dialogue over its WebSocket: `hello` first, then commands in and answers out, until it closes."""

import contextlib
import itertools
import math
from collections.abc import Iterator
from typing import Final

import msgspec
import structlog
import trio
from websockets.frames import Opcode

from gateway.access.auth import Identity
from gateway.access.entrance import Entrance
from gateway.access.quota import Pace
from gateway.live.answers import error_of, ok_of, resumed_of
from gateway.live.heartbeat import Heartbeat
from gateway.live.hub import Hub, Watcher
from gateway.live.sessions import Beginning, Sessions
from gateway.live.ticker import Ticker
from gateway.net.frame import frame
from gateway.net.websocket import WebSocket, WebSocketClosed
from protocol.codec import Codec, Rejected, decode_frame
from protocol.commands import AnyCommand, Cancel, Hello, List, Ping, Start, Unwatch, Watch, WatchOptions
from protocol.envelope import frame_payload
from protocol.errors import (
    BadMessage,
    Forbidden,
    Gone,
    HatcheryError,
    Invalid,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Unauthenticated,
)
from protocol.events import Accepted, Limits, Ok, Pong, Welcome
from protocol.events import Sessions as SessionsPage
from protocol.journal import Epitaph
from protocol.outbox import TooSlow
from protocol.view import SessionView

log = structlog.get_logger(__name__)


VERSION: Final = 1
CLOSE_RATE: Final = 4003
CLOSE_BAD_MESSAGES: Final = 4500
CLOSE_UNAUTHENTICATED: Final = 4501
CLOSE_NO_HELLO: Final = 4502
CLOSE_CONNECTIONS: Final = 4505
NOBODY: Final = ""  # who watches without being the owner of anything


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


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Who comes over a connection: its id, the address it is from, and who it is if the handshake has told."""

    connection: str
    address: str | None
    identity: Identity | None


async def converse(
    websocket: WebSocket, codec: Codec, visitor: Visitor, reception: Reception, entrance: Entrance
) -> None:
    """Serve one client until it, or the gateway, closes the connection; what is logged meanwhile carries its id."""
    with contextlib.suppress(WebSocketClosed), contextlib.ExitStack() as stack:
        stack.enter_context(structlog.contextvars.bound_contextvars(connection=visitor.connection))
        watcher = stack.enter_context(reception.hub.join(NOBODY, codec, websocket))
        dialogue = _Dialogue(websocket, codec, visitor, watcher, reception, entrance, stack)
        stack.enter_context(Heartbeat(websocket, reception.ticker, reception.limits.heartbeat_s))
        await dialogue.run()


class _Dialogue:
    def __init__(
        self,
        websocket: WebSocket,
        codec: Codec,
        visitor: Visitor,
        watcher: Watcher,
        reception: Reception,
        entrance: Entrance,
        places: contextlib.ExitStack,
    ) -> None:
        self._websocket = websocket
        self._codec = codec
        self._visitor = visitor
        self._watcher = watcher
        self._entrance = entrance
        self._pace = Pace(entrance.shares.default, trio.current_time())
        self._places = places  # taken at the turnstile, given back with the connection
        self._hub = reception.hub
        self._sessions = reception.sessions
        self._limits = reception.limits
        self._server = reception.server
        self._identity: Identity | None = None  # from `hello` on
        self._bad = 0

    async def run(self) -> None:
        """Raises WebSocketClosed in the end."""
        with trio.move_on_after(self._limits.hello_s) as patience:
            until = patience.deadline
            while True:
                for turn in _turns(decode_frame(await self._websocket.receive(), self._codec)):
                    patience.deadline = math.inf  # what has come in time may take its time: sessions to be looked up
                    await self._take_turn(turn)
                    if self._identity is not None:
                        until = trio.current_time() + self._entrance.access.lasts_s(self._identity)
                    patience.deadline = until
                    await trio.lowlevel.checkpoint()  # others' turn, and the flusher's: a frame may hold 1000 commands
                    self._websocket.check_open()
        if self._identity is None:
            self._hang_up(CLOSE_NO_HELLO, "no hello came")
        else:
            self._hang_up(CLOSE_UNAUTHENTICATED, "the login or the link has expired")

    async def _take_turn(self, turn: list[AnyCommand | Rejected]) -> None:
        if len(turn) == 1:
            await self._take(turn[0])
            return
        async with trio.open_nursery() as nursery:
            for command in turn:
                nursery.start_soon(self._take, command)

    async def _take(self, command: AnyCommand | Rejected) -> None:
        wait_s = self._pace.take(trio.current_time())
        if wait_s != 0:
            self._slow_down(command.id, wait_s)
            return
        if isinstance(command, Rejected):
            self._refuse(command)
            return
        if isinstance(command, Hello) is (self._identity is not None):
            self._refuse(Rejected(BadMessage("`hello` is the first message, and said once", field="type"), command.id))
            return
        try:
            await self._handle(command)
        except HatcheryError as error:
            session = getattr(command, "session", None)
            self._hub.say(self._watcher, error_of(error, command.id, session))
            if isinstance(command, Hello):
                self._turn_away(error)

    def _slow_down(self, id_: str | int | None, wait_s: float | None) -> None:
        wait_ms = None if wait_s is None else math.ceil(wait_s * 1000)
        error = RateLimited("too many messages: send fewer, or many in one command", retry_after_ms=wait_ms)
        self._hub.say(self._watcher, error_of(error, id_))
        if wait_s is None:
            log.info("too_many_messages")
            self._hang_up(CLOSE_RATE, "too many messages")

    def _turn_away(self, error: HatcheryError) -> None:
        match error:
            case Unauthenticated():
                self._hang_up(CLOSE_UNAUTHENTICATED, "unauthenticated")
            case RateLimited():
                self._hang_up(CLOSE_RATE, "too many wrong tokens")
            case QuotaExceeded():
                self._hang_up(CLOSE_CONNECTIONS, "too many connections")

    def _hang_up(self, code: int, reason: str) -> None:
        """Close the connection behind what the client is still owed, as far as it takes that in one frame."""
        opcode = Opcode.TEXT if self._codec is Codec.JSON else Opcode.BINARY
        with contextlib.suppress(TooSlow):
            if envelopes := self._watcher.outbox.drain(trio.current_time()):
                self._websocket.try_write(frame(opcode, frame_payload(envelopes, self._codec)))
        self._websocket.close(code, reason)

    def _refuse(self, rejected: Rejected) -> None:
        self._hub.say(self._watcher, error_of(rejected.error, rejected.id))
        self._bad += 1
        if self._bad > self._limits.bad_messages:
            log.info("too_many_bad_messages")
            self._hang_up(CLOSE_BAD_MESSAGES, "too many bad messages")

    @property
    def _user(self) -> str:
        """Whose sessions are meant."""
        assert self._identity is not None
        return self._identity.user

    def _check_guest(self, command: AnyCommand) -> None:
        """Raise Forbidden for what is not for those who came by a link."""
        guest = self._identity
        if guest is None or guest.session is None:
            return
        match command:
            case Ping() | Watch(session=guest.session) | Unwatch(session=guest.session):
                return
        raise Forbidden("this link is for watching one session, and for nothing else")

    async def _handle(self, command: AnyCommand) -> None:
        self._check_guest(command)
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
                view = await self._sessions.view(self._user, session)
                self._hub.detach(self._watcher, session)
                self._hub.say(self._watcher, ok_of(id_, view))
            case List():
                await self._list(command)
            case Ping(id=id_):
                self._hub.say(self._watcher, Pong(id=id_))

    async def _greet(self, hello: Hello) -> None:
        identity = self._entrance.greet(hello, self._visitor.identity, self._visitor.address)
        found = [(cursor, await self._find(identity, cursor.session)) for cursor in hello.resume]
        self._places.enter_context(self._entrance.place(identity, self._visitor.address))
        self._identity = identity
        self._pace = Pace(self._entrance.shares.of(identity.user), trio.current_time())
        self._pace.take(trio.current_time())  # this `hello`
        if identity.session is None:
            self._watcher.owner = identity.user
        resumed = [resumed_of(cursor, view) for cursor, view in found]  # with no await before they are attached
        welcome = Welcome(
            id=hello.id,
            connection=self._visitor.connection,
            server=self._server,
            version=VERSION,
            engines=self._sessions.workshop.engines,
            heartbeat_ms=round(self._limits.heartbeat_s * 1000),
            limits=self._limits.client,
            resumed=resumed,
            choices=self._sessions.workshop.image.choices,
        )
        self._hub.say(self._watcher, welcome)
        for (_, view), judged in zip(found, resumed, strict=True):
            if view is not None:
                self._hub.attach(self._watcher, view, owe_snapshot=judged.result == "snapshot")
        if hello.follow == "mine":
            self._hub.follow(self._watcher)

    async def _find(self, identity: Identity, session: str) -> SessionView | None:
        if identity.session not in (None, session):
            return None
        try:
            return await self._sessions.view(identity.user, session)
        except (NotFound, Gone):
            return None

    async def _start(self, start: Start) -> None:
        beginning = Beginning(
            hatch=start.hatch, key=start.key, on_disconnect=start.on_disconnect, grace_s=start.grace_s
        )
        started = await self._sessions.start(self._user, beginning, self._watcher)
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
        owner = self._user
        match cancel.session, cancel.key:
            case str(session), None:
                view: SessionView | Epitaph | None = await self._sessions.cancel(owner, session=session, reason=reason)
            case None, str(key):
                view = await self._sessions.cancel_key(owner, key=key, reason=reason)
            case _:
                raise Invalid("a cancel names either `session` or `key`", field="session")
        self._hub.say(self._watcher, Ok(id=cancel.id) if view is None else ok_of(cancel.id, view))

    async def _watch(self, watch: Watch) -> None:
        view = await self._sessions.view(self._user, watch.session)
        current = watch.from_ is not None and view.is_current(watch.from_)
        if current:
            self._hub.say(self._watcher, ok_of(watch.id, view))
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
        page = await self._sessions.list(self._user, states=states, limit=command.limit, before=command.before)
        self._hub.say(self._watcher, SessionsPage(id=command.id, items=page.items, before=page.before))


def _turns(commands: list[AnyCommand | Rejected]) -> Iterator[list[AnyCommand | Rejected]]:
    """One command after another; but cancels in a row together, since each waits until it is kept."""
    for cancels, together in itertools.groupby(commands, lambda command: isinstance(command, Cancel)):
        if cancels:
            yield list(together)
        else:
            yield from ([command] for command in together)
