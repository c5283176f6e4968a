"""The client for scripts and notebooks: no event loop, one thread; it reads while somebody waits."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from random import Random, SystemRandom
from typing import Literal

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gateway.clients.address import Address, parse_address
from gateway.clients.files import fetch_sync
from gateway.clients.frames import MAX_FRAME_BYTES
from gateway.clients.policy import ABNORMAL, PATIENCE_S, WELCOME_S, Disconnected, Reconnect
from gateway.clients.question import Question
from gateway.clients.talk import Talk, start_command, wishes_of
from gateway.clients.track import HatchEvent, Track
from gateway.clients.view import View
from protocol.codec import Codec
from protocol.commands import Cancel, HatchRequest, Hello, List, StateName
from protocol.errors import HatcheryError
from protocol.events import Artifact, End, Ok, Sessions, Welcome


class SyncHatch:
    """One session. Iterate over its messages, up to `end`; `view` is what they amount to."""

    def __init__(self, track: Track, client: "SyncClient") -> None:
        self._track = track
        self._client = client

    @property
    def session(self) -> str:
        """The session's id."""
        assert self._track.session is not None
        return self._track.session

    @property
    def view(self) -> View:
        """All that is known of it, read or unread."""
        return self._track.view

    def __iter__(self) -> Iterator[HatchEvent]:
        """Each message once, until the session has ended; who falls far behind gets a snapshot instead.

        Raises HatcheryError when the session is gone, Disconnected when no connection can be had.
        """
        track = self._track
        while True:
            while track.inbox:
                yield track.inbox.popleft()
            if track.error is not None:
                raise track.error
            if track.over:
                return
            self._client.wait(lambda: bool(track.inbox) or track.over)

    def done(self) -> End:
        """How it ended, as soon as it has; messages not read by then are skipped. Raises as iterating does."""
        for _ in self:
            pass
        assert self.view.end is not None
        return self.view.end

    def cancel(self, reason: str | None = None) -> Ok:
        """Ask for an end. The answer is not yet the end: that comes when nothing of the hatch runs any more."""
        return self._client.cancel(session=self.session, reason=reason)


class SyncClient:
    """A connection that lasts: it is opened again by itself, and everything goes on where it was. For one thread."""

    def __init__(self, address: Address, talk: Talk, reconnect: Reconnect) -> None:
        self._address = address
        self._talk = talk
        self._reconnect = reconnect
        self._socket: ClientConnection | None = None
        self._open = ExitStack()

    @property
    def welcome(self) -> Welcome | None:
        """What the gateway has said of itself; None while there is no connection."""
        return self._talk.welcome

    @contextmanager
    def hatch(
        self,
        hatch: str | HatchRequest,
        *,
        key: str | None = None,
        max_hz: float | None = None,
        previews: bool = False,
        on_disconnect: Literal["keep", "cancel"] = "keep",
        grace_s: float = 30.0,
        cancel_on_exit: bool = False,
    ) -> Iterator[SyncHatch]:
        """Start a hatch, a prompt or a whole request; the block begins when it is accepted.

        Leaving the block early lets the hatch go on, unless `cancel_on_exit`. Raises HatcheryError when it is refused.
        """
        wishes = wishes_of(max_hz, previews)
        start = start_command(hatch, key=key, wishes=wishes, on_disconnect=on_disconnect, grace_s=grace_s)
        track, question = self._talk.start(start)
        try:
            with self._following(track, question) as following:
                yield following
        finally:
            if cancel_on_exit and not track.over:
                with suppress(HatcheryError, Disconnected):
                    self._ask(self._talk.ask(Cancel(id=0, key=track.key, reason="left by the client")))

    @contextmanager
    def watch(self, session: str, *, max_hz: float | None = None, previews: bool = False) -> Iterator[SyncHatch]:
        """Watch a session that exists, from a snapshot on. Raises HatcheryError when there is none."""
        track, question = self._talk.watch(session, wishes_of(max_hz, previews))
        with self._following(track, question) as following:
            yield following

    def list(self, *, states: list[StateName] | None = None, limit: int = 50, before: str | None = None) -> Sessions:
        """One page of the caller's sessions, newest first; its `before` leads to the next one."""
        reply = self._ask(self._talk.ask(List(id=0, states=states, limit=limit, before=before)))
        assert isinstance(reply, Sessions)
        return reply

    def cancel(self, *, session: str | None = None, key: str | None = None, reason: str | None = None) -> Ok:
        """Cancel by session or by key; never too late, too early or once too often."""
        reply = self._ask(self._talk.ask(Cancel(id=0, session=session, key=key, reason=reason)))
        assert isinstance(reply, Ok)
        return reply

    def fetch(self, file: Artifact | str) -> bytes:
        """An artifact, or what a URL of the gateway's names. Raises HatcheryError, or httpx2.HTTPError."""
        return fetch_sync(self._address, file)

    def wait(self, until: Callable[[], bool]) -> None:
        """Read and write until something is so. Raises Disconnected when no connection can be had."""
        while not until():
            try:
                self._step()
            except Disconnected as lost:
                self._come_again(lost)

    def open(self) -> None:
        """Connect and be welcome. Raises Disconnected."""
        try:
            connecting = connect(
                self._address.socket,
                subprotocols=[Subprotocol(Codec.JSON.value)],
                compression=None,
                max_size=MAX_FRAME_BYTES,
                proxy=None,
                open_timeout=WELCOME_S,
            )
            self._socket = self._open.enter_context(connecting)
        except (OSError, InvalidHandshake) as error:  # TimeoutError is an OSError
            raise Disconnected(ABNORMAL, str(error)) from error
        try:
            self._socket.send(self._talk.begin())
            while self._talk.welcome is None:
                self._talk.receive(self._socket.recv(timeout=WELCOME_S))
        except ConnectionClosed as closed:
            raise _disconnected(closed) from closed
        except TimeoutError as error:
            raise Disconnected(ABNORMAL, "no welcome came") from error
        self._reconnect.welcome(time.monotonic())

    def close(self) -> None:
        """Hang up."""
        self._open.close()

    def _step(self) -> None:
        """Send what is to be sent, and take one frame. Raises Disconnected."""
        assert self._socket is not None
        try:
            for frame in self._talk.to_send():
                self._socket.send(frame)
            self._talk.receive(self._socket.recv())
        except ConnectionClosed as closed:
            raise _disconnected(closed) from closed
        if self._talk.going_away is not None:
            self._reconnect.go_away(self._talk.going_away)

    def _come_again(self, lost: Disconnected) -> None:
        while True:
            self.close()
            try:
                time.sleep(self._reconnect.delay_s(time.monotonic(), lost))
            except Disconnected as error:
                self._talk.fail(self._talk.refused or error)
                return
            try:
                self.open()
            except Disconnected as again:
                lost = again
            else:
                return

    @contextmanager
    def _following(self, track: Track, question: Question) -> Iterator[SyncHatch]:
        try:
            self._ask(question)
            yield SyncHatch(track, self)
        finally:
            self._talk.leave(track)

    def _ask(self, question: Question) -> object:
        self.wait(lambda: question.settled)
        if question.error is not None:
            raise question.error
        return question.reply


@contextmanager
def connect_sync(
    url: str,
    *,
    token: str | None = None,
    watch_token: str | None = None,
    name: str = "hatchery-python/1",
    patience_s: float = PATIENCE_S,
    random: Random | None = None,
) -> Iterator[SyncClient]:
    """A client of the gateway at `url` (http://… or https://…), welcomed when the block begins.

    A connection that is lost later is opened again, unless its close code forbids it or there has been none for
    `patience_s` seconds; then whatever waits raises. Raises Disconnected when there is no gateway, Unauthenticated
    or another HatcheryError when it refuses.
    """
    hello = Hello(id=0, token=token, watch_token=watch_token, client=name)
    talk = Talk(hello)
    client = SyncClient(parse_address(url, token), talk, Reconnect(random or SystemRandom(), patience_s))
    try:
        try:
            client.open()
        except Disconnected as lost:
            raise talk.refused or lost from lost
        yield client
    finally:
        client.close()


def _disconnected(closed: ConnectionClosed) -> Disconnected:
    said = closed.rcvd
    return Disconnected(ABNORMAL, "") if said is None else Disconnected(said.code, said.reason)
