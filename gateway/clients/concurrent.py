"""The client on trio: one task keeps the connection, any number of others hatch and watch over it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random, SystemRandom
from typing import Any, Final, Literal, TypeVar

import trio
import trio_websocket

from gateway.clients.address import Address, parse_address
from gateway.clients.connection import Connection, open_connection
from gateway.clients.files import fetch
from gateway.clients.policy import ABNORMAL, NO_HEARTBEAT, PATIENCE_S, WELCOME_S, Disconnected, Reconnect
from gateway.clients.question import Question
from gateway.clients.talk import Talk, start_command, wishes_of
from gateway.clients.track import HatchEvent, Track
from gateway.clients.view import View
from protocol.commands import Cancel, HatchRequest, Hello, List, StateName
from protocol.errors import HatcheryError
from protocol.events import Artifact, End, Ok, Sessions, Welcome

GOODBYE_S: Final = 2.0  # for the last commands, when the client is left

E = TypeVar("E", bound=Exception)
T = TypeVar("T")


class Hatch:
    """One session. Iterate over its messages, up to `end`; `view` is what they amount to."""

    def __init__(self, track: Track, client: "Client") -> None:
        self._track = track
        self._client = client
        self._news = trio.Event()
        track.on_news = self._wake

    @property
    def session(self) -> str:
        """The session's id."""
        assert self._track.session is not None
        return self._track.session

    @property
    def view(self) -> View:
        """All that is known of it, read or unread."""
        return self._track.view

    async def __aiter__(self) -> AsyncIterator[HatchEvent]:
        """Each message once, until the session has ended; who falls far behind gets a snapshot instead.

        Raises HatcheryError when the session is gone, Disconnected when no connection can be had.
        """
        inbox = self._track.inbox
        while True:
            while inbox:
                yield inbox.popleft()
            if self._track.error is not None:
                raise self._track.error
            if self._track.over:
                return
            if self._news.is_set():
                self._news = trio.Event()
            await self._news.wait()

    async def done(self) -> End:
        """How it ended, as soon as it has; messages not read by then are skipped. Raises as iterating does."""
        async for _ in self:
            pass
        assert self.view.end is not None
        return self.view.end

    async def cancel(self, reason: str | None = None) -> Ok:
        """Ask for an end. The answer is not yet the end: that comes when nothing of the hatch runs any more."""
        return await self._client.cancel(session=self.session, reason=reason)

    def _wake(self) -> None:
        self._news.set()


class Client:
    """A connection that lasts: it is opened again by itself, and everything goes on where it was."""

    def __init__(self, address: Address, talk: Talk, reconnect: Reconnect) -> None:
        self._address = address
        self._talk = talk
        self._reconnect = reconnect
        self._outgoing = trio.Event()
        self._keeping = trio.CancelScope()
        self._working = trio.CancelScope()  # what `close` interrupts, so that the rest can end in good order
        self._closed = False

    @property
    def welcome(self) -> Welcome | None:
        """What the gateway has said of itself; None while there is no connection."""
        return self._talk.welcome

    @asynccontextmanager
    async def hatch(
        self,
        hatch: str | HatchRequest,
        *,
        key: str | None = None,
        max_hz: float | None = None,
        previews: bool = False,
        on_disconnect: Literal["keep", "cancel"] = "keep",
        grace_s: float = 30.0,
        cancel_on_exit: bool = False,
    ) -> AsyncIterator[Hatch]:
        """Start a hatch, a prompt or a whole request; the block begins when it is accepted.

        Leaving the block early lets the hatch go on, unless `cancel_on_exit`. Raises HatcheryError when it is refused.
        """
        wishes = wishes_of(max_hz, previews)
        start = start_command(hatch, key=key, wishes=wishes, on_disconnect=on_disconnect, grace_s=grace_s)
        track, question = self._talk.start(start)
        try:
            async with self._following(track, question) as following:
                yield following
        finally:
            if cancel_on_exit and not track.over:
                with trio.move_on_after(GOODBYE_S, shield=True), suppress(HatcheryError, Disconnected):
                    await self._ask(self._talk.ask(Cancel(id=0, key=track.key, reason="left by the client")))

    @asynccontextmanager
    async def watch(self, session: str, *, max_hz: float | None = None, previews: bool = False) -> AsyncIterator[Hatch]:
        """Watch a session that exists, from a snapshot on. Raises HatcheryError when there is none."""
        track, question = self._talk.watch(session, wishes_of(max_hz, previews))
        async with self._following(track, question) as following:
            yield following

    async def list(
        self, *, states: list[StateName] | None = None, limit: int = 50, before: str | None = None
    ) -> Sessions:
        """One page of the caller's sessions, newest first; its `before` leads to the next one."""
        reply = await self._ask(self._talk.ask(List(id=0, states=states, limit=limit, before=before)))
        assert isinstance(reply, Sessions)
        return reply

    async def cancel(self, *, session: str | None = None, key: str | None = None, reason: str | None = None) -> Ok:
        """Cancel by session or by key; never too late, too early or once too often."""
        reply = await self._ask(self._talk.ask(Cancel(id=0, session=session, key=key, reason=reason)))
        assert isinstance(reply, Ok)
        return reply

    async def fetch(self, file: Artifact | str) -> bytes:
        """An artifact, or what a URL of the gateway's names. Raises HatcheryError, or httpx2.HTTPError."""
        return await fetch(self._address, file)

    @asynccontextmanager
    async def _following(self, track: Track, question: Question) -> AsyncIterator[Hatch]:
        hatch = Hatch(track, self)
        try:
            await self._ask(question)
            yield hatch
        finally:
            self._talk.leave(track)
            self._outgoing.set()

    async def _ask(self, question: Question) -> object:
        settled = trio.Event()
        question.on_settled = settled.set
        self._outgoing.set()
        if not question.settled:
            await settled.wait()
        if question.error is not None:
            raise question.error
        return question.reply

    async def keep(self, task_status: trio.TaskStatus[None]) -> None:  # noqa: ASYNC128 - it is passed on
        """Hold the connection, one after another, until `close`; started with the first welcome.

        From then on a cancellation from outside waits for `close`: whoever is cancelled may have a word to say yet.
        Raises Disconnected or HatcheryError if there is no first welcome.
        """
        with self._keeping:
            lost = await self._connect(task_status.started)
            if self._keeping.shield:
                lost = await self._come_again(lost)
            failure = self._talk.refused or lost
            self._talk.fail(failure)
            if not self._keeping.shield:
                raise failure

    async def _come_again(self, lost: Disconnected) -> Disconnected:
        """One connection after another, until there is no use any more: why the last one ended."""
        while not self._closed:
            try:
                delay_s = self._reconnect.delay_s(trio.current_time(), lost)
            except Disconnected:
                break
            await self._until_closed(trio.sleep, delay_s)
            if not self._closed:
                lost = await self._connect()
        return lost

    def close(self) -> None:
        """Hang up, within GOODBYE_S."""
        self._closed = True
        self._working.cancel()
        self._keeping.deadline = trio.current_time() + GOODBYE_S

    async def _connect(self, on_first: Callable[[], None] | None = None) -> Disconnected:
        """One connection, from its opening to its end: why it ended. `on_first` is called with the welcome."""
        lost = Disconnected(ABNORMAL, "")
        try:
            async with open_connection(self._address.origin) as connection:
                await self._greet(connection)
                self._keeping.shield = True
                if on_first is not None:
                    on_first()
                await self._until_closed(self._converse, connection)
        except* Disconnected as errors:
            lost = _first(errors, Disconnected)
        except* (OSError, trio_websocket.HandshakeError) as errors:
            error = _first(errors, Exception)
            lost = Disconnected(ABNORMAL, str(error) or type(error).__name__)
        return lost

    async def _until_closed(self, work: Callable[[T], Awaitable[None]], argument: T) -> None:
        with trio.CancelScope() as self._working:
            if not self._closed:
                await work(argument)

    async def _converse(self, connection: Connection) -> None:
        async with trio.open_nursery() as nursery:
            for work in (self._read, self._write, self._ping):
                nursery.start_soon(work, connection)

    async def _greet(self, connection: Connection) -> None:
        await connection.send_frame(self._talk.begin())
        with trio.move_on_after(WELCOME_S):
            while self._talk.welcome is None:
                self._talk.receive(await connection.receive_frame())
        if self._talk.welcome is None:
            raise Disconnected(ABNORMAL, "no welcome came")
        self._reconnect.welcome(trio.current_time())

    async def _read(self, connection: Connection) -> None:
        while True:
            self._talk.receive(await connection.receive_frame())
            if self._talk.going_away is not None:
                self._reconnect.go_away(self._talk.going_away)
            self._outgoing.set()  # what was missing may have to be asked for

    async def _write(self, connection: Connection) -> None:
        while True:
            self._outgoing = trio.Event()
            for frame in self._talk.to_send():
                await connection.send_frame(frame)
            await self._outgoing.wait()

    async def _ping(self, connection: Connection) -> None:
        assert self._talk.welcome is not None
        heartbeat_s = self._talk.welcome.heartbeat_ms / 1000
        while True:
            await trio.sleep(heartbeat_s)
            with trio.move_on_after(heartbeat_s) as patience:
                await connection.ping()
            if patience.cancelled_caught:
                raise Disconnected(NO_HEARTBEAT, "the gateway gave no sign of life")


def _first(group: BaseExceptionGroup[Any], kind: type[E]) -> E:
    """The first error in a group of groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, kind)
    return error


@asynccontextmanager
async def open_client(
    url: str,
    *,
    token: str | None = None,
    watch_token: str | None = None,
    name: str = "hatchery-python/1",
    patience_s: float = PATIENCE_S,
    random: Random | None = None,
) -> AsyncIterator[Client]:
    """A client of the gateway at `url` (http://… or https://…), welcomed when the block begins.

    A connection that is lost later is opened again, unless its close code forbids it or there has been none for
    `patience_s` seconds; then whatever waits raises. Raises Disconnected when there is no gateway, Unauthenticated
    or another HatcheryError when it refuses. What the block raises leaves it as it is, in no group.
    """
    hello = Hello(id=0, token=token, watch_token=watch_token, client=name)
    client = Client(parse_address(url, token), Talk(hello), Reconnect(random or SystemRandom(), patience_s))
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(client.keep)
            try:
                yield client
            finally:
                client.close()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from group.exceptions[0].__cause__  # noqa: ASYNC123 - the block's own
        raise
