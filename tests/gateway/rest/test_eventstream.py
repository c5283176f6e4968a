"""Server-Sent Events over real sockets: what a session says, resumed without hole or repeat."""

import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import h11
import httpx2
import msgspec
import pytest
import trio

from gateway.access.entrance import open_entrance
from gateway.app import create_app
from gateway.config import Config
from gateway.live.sessions import Beginning
from gateway.rest.eventstream import EventStreams
from gateway.services import Services
from protocol.commands import HatchRequest
from protocol.events import End, Error, Event, Progress, ServerMessage, Snapshot, Text
from tests.helpers.contract import check_messages
from tests.helpers.gateways import PERSONA, running_services
from tests.helpers.problems import check_problem
from tests.helpers.serving import serving

FAST: dict[str, Any] = {"sim__tokens_per_s": 4000, "sim__step_s": 0.01, "wire__tick_ms": 5}
BRISK: dict[str, Any] = {"sim__tokens_per_s": 400, "sim__step_s": 0.03, "wire__tick_ms": 1}
SLOW: dict[str, Any] = {"sim__tokens_per_s": 1, "sim__step_s": 60}
DECODER = msgspec.json.Decoder(ServerMessage)
OWL = HatchRequest(prompt="an owl")
REDRAW = HatchRequest(prompt="an owl", persona=PERSONA)


class Site:
    """A gateway's event streams on a port, and a client of theirs."""

    def __init__(self, services: Services, streams: EventStreams, http: httpx2.AsyncClient, port: int) -> None:
        self.services = services
        self.streams = streams
        self.http = http
        self.port = port

    async def start(self, hatch: HatchRequest = OWL, **options: Any) -> str:
        """Start a hatch and return its session."""
        return (await self.services.sessions.start("ann", Beginning(hatch=hatch, **options))).view.session

    @asynccontextmanager
    async def open(self, session: str, last: str | None = None) -> AsyncIterator["Reader"]:
        """A stream that has begun; leaving the block hangs up."""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            reader = Reader(stream)
            headers = [("Host", f"127.0.0.1:{self.port}"), *([] if last is None else [("Last-Event-ID", last)])]
            response = await reader.ask(h11.Request(method="GET", target=_path(session), headers=headers))
            assert (response.status_code, dict(response.headers)[b"content-type"]) == (200, b"text/event-stream")
            yield reader


class Reader:
    """Reads events as an EventSource does; `last` is what it would reconnect with."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.last: str | None = None
        self.comments = 0
        self._h11 = h11.Connection(h11.CLIENT)
        self._said: deque[tuple[str | None, ServerMessage]] = deque()
        self._buffer = b""

    async def ask(self, request: h11.Request) -> h11.Response:
        """Send the request and return the head of its answer."""
        await self.stream.send_all(self._h11.send(request) + self._h11.send(h11.EndOfMessage()))
        response = await self._event()
        assert isinstance(response, h11.Response)
        return response

    async def next(self) -> ServerMessage | None:
        """The next message; None at the end of the response."""
        while not self._said:
            match await self._event():
                case h11.Data(data=data):
                    self._take(bytes(data))
                case h11.EndOfMessage():
                    assert not self._buffer
                    return None
        id_, message = self._said.popleft()
        self.last = id_ or self.last
        return message

    async def rest(self) -> list[ServerMessage]:
        """Everything up to the end of the response."""
        heard = []
        while message := await self.next():
            heard.append(message)
        return heard

    async def until(self, kind: type[Event]) -> list[ServerMessage]:
        """Everything up to the first message of a kind."""
        heard: list[ServerMessage] = []
        while not (heard and isinstance(heard[-1], kind)):
            message = await self.next()
            assert message is not None
            heard.append(message)
        return heard

    async def heartbeats(self, count: int) -> None:
        """Read until there were so many comments."""
        while self.comments < count:
            event = await self._event()
            assert isinstance(event, h11.Data)
            self._take(bytes(event.data))

    async def _event(self) -> Any:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(await self.stream.receive_some())
        return event

    def _take(self, data: bytes) -> None:
        *blocks, self._buffer = (self._buffer + data).split(b"\n\n")
        for block in blocks:
            id_ = None
            for line in block.split(b"\n"):
                name, _, value = line.partition(b": ")
                match name:
                    case b"id":
                        id_ = value.decode()
                    case b"data":
                        self._said.append((id_, DECODER.decode(value)))
                    case _:
                        assert line == b":"
                        self.comments += 1


def _path(session: str) -> str:
    return f"/v1/hatches/{session}/events"


@asynccontextmanager
async def site(
    data: Path, *, heartbeat_s: float = 60.0, lasts_s: Callable[[], float] = lambda: inf, **settings: Any
) -> AsyncIterator[Site]:
    """The streams of a real gateway's services over loopback."""
    async with running_services(data, **settings) as services:
        streams = EventStreams(
            services.sessions,
            services.hub,
            services.reception.ticker,
            heartbeat_s=heartbeat_s,
            owner_of=lambda request: request.headers.get("x-user", "ann"),
            place_of=lambda _request: nullcontext(),
            lasts_s=lambda _request: lasts_s(),
        )
        async with serving(partial(create_app, streams.routes(), entrance=open_entrance(Config(), b"secret"))) as http:
            yield Site(services, streams, http, http.base_url.port or 0)


async def test_a_stream_tells_a_whole_hatch_and_ends(tmp_path: Path) -> None:
    async with site(tmp_path, **FAST) as here:
        session = await here.start()
        async with here.open(session) as reader:
            heard = await reader.rest()
        check_messages(heard, session)
        assert isinstance(heard[0], Snapshot)
        assert isinstance(heard[-1], End)
        again = await here.http.get(_path(session), headers={"Last-Event-ID": reader.last or "nothing was said"})
        assert (again.status_code, again.content) == (204, b"")


async def test_any_http_client_can_read_it(tmp_path: Path) -> None:
    async with site(tmp_path, **FAST) as here:
        session = await here.start()
        async with here.http.stream("GET", _path(session)) as response:
            assert response.headers["cache-control"] == "no-store"
            text = b"".join([chunk async for chunk in response.aiter_bytes()]).decode()
        *blocks, nothing = text.split("\n\n")
        assert nothing == ""
        assert all(block.startswith("id: 1.") for block in blocks)
        check_messages([DECODER.decode(block.partition("\ndata: ")[2]) for block in blocks], session)


async def test_a_late_reader_gets_one_snapshot_with_the_end(tmp_path: Path) -> None:
    async with site(tmp_path, **FAST) as here:
        session = await here.start()
        async with here.open(session) as reader:
            await reader.rest()
        for last in (None, "1.1.0"):
            async with here.open(session, last) as late:
                (only,) = await late.rest()
            assert isinstance(only, Snapshot)
            assert isinstance(only.end, End)
            assert late.last == reader.last


async def test_a_current_reader_goes_on_where_it_stopped(tmp_path: Path) -> None:
    async with site(tmp_path, sim__tokens_per_s=8, wire__tick_ms=1) as here:
        session = await here.start()
        async with here.open(session) as reader:
            before = await reader.until(Text)
        async with here.open(session, reader.last) as resumed:
            after = await resumed.until(Text)
        assert not any(isinstance(message, Snapshot) for message in after)
        check_messages([*before, *after], session, ended=False)


async def test_a_reader_that_is_cut_off_again_and_again_misses_and_repeats_nothing(tmp_path: Path) -> None:
    async with site(tmp_path, **BRISK) as here:
        session = await here.start()
        heard: list[ServerMessage] = []
        last: str | None = None
        streams = 0
        while not any(isinstance(getattr(message, "end", message), End) for message in heard):
            streams += 1
            async with here.open(session, last) as reader:
                reader.last = last
                for _ in range(5):
                    if (message := await reader.next()) is None:
                        break
                    heard.append(message)
                last = reader.last
        assert streams > 5
        check_messages(heard, session)


async def test_an_id_that_means_nothing_gets_a_snapshot(tmp_path: Path) -> None:
    async with site(tmp_path, **SLOW) as here:
        session = await here.start()
        for last in ("", "x", "1.2", "1.2.3.4", "-1.0.0", "9" * 400 + ".0.0", "7.7.7"):
            async with here.open(session, last) as reader:
                assert isinstance(await reader.next(), Snapshot)


async def test_a_silent_stream_shows_that_it_lives(tmp_path: Path) -> None:
    async with site(tmp_path, heartbeat_s=0.1, **SLOW) as here:
        session = await here.start()
        async with here.open(session) as reader, here.open(session) as other:
            await reader.heartbeats(2)
            await other.heartbeats(2)


async def test_a_stream_ends_with_the_login_behind_it_also_when_the_clock_was_set_back(tmp_path: Path) -> None:
    left = [5.0, 0.05, 0.05, 0.0]  # as it is asked for: by the first reader, who hangs up, and by the second one
    with trio.fail_after(20):
        async with site(tmp_path, lasts_s=lambda: left.pop(0), **SLOW) as here:
            session = await here.start(on_disconnect="cancel", grace_s=600.0)
            async with here.open(session) as reader:
                await reader.until(Snapshot)
            assert len(left) == 3
            async with here.open(session) as reader:
                *_, error = await reader.rest()
            assert isinstance(error, Error)
            assert (error.code, error.session, error.retryable) == ("unauthenticated", session, False)
            assert left == []
            await here.streams.wait_closed()
            assert (await here.services.sessions.view("ann", session)).end is None


async def test_who_comes_with_an_expired_login_is_shown_nothing_of_the_session(tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with site(tmp_path, lasts_s=lambda: -1.0, **SLOW) as here, here.open(await here.start()) as reader:
            assert [type(message) for message in await reader.rest()] == [Error]


@pytest.mark.parametrize("how", ["hang up", "reset"])
async def test_a_stream_is_an_attachment_until_its_client_vanishes(tmp_path: Path, how: str) -> None:
    async with site(tmp_path, **SLOW) as here:
        session = await here.start(on_disconnect="cancel", grace_s=0.2)
        view = await here.services.sessions.view("ann", session)
        async with here.open(session) as reader:
            await trio.sleep(0.5)
            assert view.end is None  # it is watched
            if how == "reset":
                reader.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
        while view.end is None:  # noqa: ASYNC110 - to watch it would be an attachment
            await trio.sleep(0.01)
        assert view.end.outcome == "cancelled"
        await here.streams.wait_closed()
        assert not here.services.hub.clients


async def test_a_reader_that_takes_nothing_is_given_up_and_harms_nobody(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"wire__tick_ms": 1, "wire__outbox_bytes": 200_000, "wire__stall_s": 0.5}
    async with site(tmp_path, **settings, **SLOW) as here:
        session = await here.start()
        view = await here.services.sessions.view("ann", session)
        said = Progress(session=session, percent=1, stage="persona", basis="measured", message="x" * 30_000)
        async with here.open(session) as stuck, here.open(session) as reader, trio.open_nursery() as nursery:
            await stuck.next()
            nursery.start_soon(reader.rest)
            while len(here.services.hub.clients) == 2:
                here.services.hub.publish(view, [said])
                await trio.sleep(0.002)
            (left,) = here.services.hub.clients
            assert left.outbox.attached(session)
            nursery.cancel_scope.cancel()


async def test_when_all_sessions_have_ended_the_last_words_have_left(tmp_path: Path) -> None:
    async with site(tmp_path, **SLOW) as here:
        session = await here.start()
        async with here.open(session) as reader:
            await reader.next()
            await here.services.sessions.stop()
            await here.services.flusher.flush(1)
            await here.streams.wait_closed()
            assert isinstance((await reader.rest())[-1], End)


async def test_what_is_not_ones_own_is_not_found(tmp_path: Path) -> None:
    async with site(tmp_path, **SLOW) as here:
        session = await here.start()
        theirs = await here.http.get(_path(session), headers={"X-User": "bob"})
        check_problem(theirs, 404, "not_found")
        check_problem(await here.http.get("/v1/hatches/nobody/events"), 404, "not_found")
        assert (await here.http.head(_path(session))).status_code == 200
        assert not here.services.hub.clients
