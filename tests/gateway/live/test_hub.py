import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from gateway.live.flusher import Flusher, FlusherLimits
from gateway.live.hub import Hub
from gateway.live.ticker import Ticker
from protocol.codec import Codec, encode_message
from protocol.commands import HatchRequest
from protocol.events import Artifact, End, Engines, Event, Pong, Progress, Receipt, State, Text
from protocol.journal import Entry, EpochBegun, SessionRecord
from protocol.outbox import OutboxLimits
from protocol.view import SessionView

OWNER = "ada"
RECEIPT = Receipt(
    queued_ms=0,
    writing_ms=1,
    waiting_ms=2,
    drawing_ms=3,
    total_ms=6,
    steps_done=4,
    steps=4,
    worker="exited",
    llm="closed",
    engines=Engines(llm="sim", image="sim"),
)


class FakeSocket:
    """Takes every frame, unless it is `stuck`: then one more stays behind as its backlog."""

    def __init__(self) -> None:
        self.deflate = False
        self.stuck = False
        self.backlog = 0
        self.last_accepted = trio.current_time()
        self.on_writable: Callable[[], None] = lambda: None
        self.frames: list[bytes] = []
        self.closed: int | None = None

    def try_write(self, data: bytes) -> bool:
        self.frames.append(data)
        self.backlog = len(data) if self.stuck else 0
        return True

    def close(self, code: int, reason: str = "") -> None:
        self.closed = code

    @property
    def frames_heard(self) -> list[list[dict[str, Any]]]:
        client = ClientProtocol(parse_uri("ws://localhost/v1/ws"), state=OPEN)
        client.receive_data(b"".join(self.frames))
        return [
            msgspec.msgpack.decode(event.data) if event.opcode == 2 else msgspec.json.decode(event.data)
            for event in client.events_received()
            if isinstance(event, Frame)
        ]

    @property
    def heard(self) -> list[dict[str, Any]]:
        return [message for messages in self.frames_heard for message in messages]

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.heard]


def sign(artifact: Artifact) -> Artifact:
    return msgspec.structs.replace(artifact, url=f"/signed/{artifact.sha256}")


@asynccontextmanager
async def open_hub(*, max_bytes: int = 1 << 20) -> AsyncIterator[Hub]:
    ticker = Ticker()
    flusher = Flusher(ticker, FlusherLimits())
    async with trio.open_nursery() as nursery:
        await nursery.start(ticker.run)
        await nursery.start(flusher.run)
        yield Hub(flusher, OutboxLimits(max_bytes=max_bytes), sign)
        nursery.cancel_scope.cancel()


def new_view(session: str = "s", owner: str = OWNER) -> SessionView:
    record = SessionRecord(session=session, owner=owner, hatch=HatchRequest(prompt="a fox"), created_at_ms=1)
    return SessionView(record)


def publish(hub: Hub, view: SessionView, *entries: Entry) -> None:
    for entry in entries:
        view.apply(entry)
    hub.publish(view, entries)


def state(seq: int, session: str = "s") -> State:
    return State(session=session, seq=seq, state="writing")


def text(offset: int, delta: str) -> Text:
    return Text(session="s", offset=offset, path="/name", delta=delta)


def progress(percent: float) -> Progress:
    return Progress(session="s", percent=percent, stage="steps", basis="measured", message="")


def end(seq: int, session: str = "s") -> End:
    return End(session=session, seq=seq, outcome="done", receipt=RECEIPT)


async def delivered() -> None:
    await trio.sleep(0.1)


async def test_attaching_gives_one_snapshot_and_then_what_is_live(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        socket, view = FakeSocket(), new_view()
        with hub.join(OWNER, Codec.JSON, socket) as watcher:
            publish(hub, view, state(1), text(0, "Fen"))
            hub.attach(watcher, view)
            publish(hub, view, text(3, "ne"))  # before the snapshot has gone out: it is in it
            await delivered()
            publish(hub, view, text(5, "c"), state(2))
            await delivered()
    assert socket.types == ["snapshot", "text", "state"]
    snapshot, live, _ = socket.heard
    assert (snapshot["seq"], snapshot["offset"], snapshot["persona"]) == (1, 5, {"name": "Fenne"})
    assert live == {"type": "text", "session": "s", "offset": 5, "path": "/name", "delta": "c"}


async def test_an_event_is_encoded_once_per_codec_however_many_watch(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[tuple[Event, Codec]] = []

    def counting(message: Event, codec: Codec) -> bytes:
        encoded.append((message, codec))
        return encode_message(message, codec)

    monkeypatch.setattr("protocol.envelope.encode_message", counting)
    async with open_hub() as hub:
        view, sockets = new_view(), [FakeSocket() for _ in range(50)]
        with contextlib.ExitStack() as stack:
            for socket, codec in zip(sockets, [Codec.JSON, Codec.MSGPACK] * 25, strict=True):
                hub.attach(stack.enter_context(hub.join(OWNER, codec, socket)), view, owe_snapshot=False)
            publish(hub, view, state(1), text(0, "Wren"))
            await delivered()
            assert all(socket.types == ["state", "text"] for socket in sockets)
            assert {len(set(socket.frames)) for socket in sockets} == {1}
            assert len({socket.frames[0] for socket in sockets}) == 2  # one frame a codec
            assert sorted(type(message).__name__ for message, _ in encoded) == ["State", "State", "Text", "Text"]


async def test_a_new_epoch_gives_a_snapshot_first_and_takes_back_what_was_owed(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        socket, view = FakeSocket(), new_view()
        with hub.join(OWNER, Codec.JSON, socket) as watcher:
            hub.attach(watcher, view)
            await delivered()
            begun = EpochBegun(session="s", epoch=2, attempt=2, state="queued", keeps_persona=False)
            publish(hub, view, progress(20), text(0, "lost"), begun, state(1))
            await delivered()
            publish(hub, view, text(0, "A"))
            await delivered()
    assert socket.types == ["snapshot", "snapshot", "text"]
    _, afresh, live = socket.heard
    assert (afresh["epoch"], afresh["attempt"], afresh["seq"], afresh["offset"]) == (2, 2, 1, 0)
    assert afresh["persona"] == {}
    assert "progress" not in afresh
    assert live["offset"] == 0


async def test_a_hundred_percent_and_the_end_share_a_frame(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        socket, view = FakeSocket(), new_view()
        with hub.join(OWNER, Codec.JSON, socket) as watcher:
            hub.attach(watcher, view, max_hz=0.1)  # throttling must not part them
            await delivered()
            publish(hub, view, progress(60))
            await delivered()
            publish(hub, view, progress(70))
            publish(hub, view, progress(100.0), end(1))
            await delivered()
    *_, last = socket.frames_heard
    assert [message["type"] for message in last] == ["progress", "end"]
    assert last[0]["percent"] == 100


async def test_an_artifact_is_announced_with_a_signed_url(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        socket, view = FakeSocket(), new_view()
        with hub.join(OWNER, Codec.JSON, socket) as watcher:
            hub.attach(watcher, view, owe_snapshot=False)
            picture = Artifact(
                session="s", seq=1, kind="avatar", url="", sha256="ab", bytes=9, mime="image/png", width=1, height=1
            )
            publish(hub, view, picture)
            await delivered()
    assert socket.heard[0]["url"] == "/signed/ab"


async def test_nothing_comes_after_a_detach(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        socket, view = FakeSocket(), new_view()
        with hub.join(OWNER, Codec.JSON, socket) as watcher:
            hub.attach(watcher, view)
            await delivered()
            publish(hub, view, state(1))
            hub.detach(watcher, "s")
            publish(hub, view, state(2))
            await delivered()
    assert socket.types == ["snapshot"]


async def test_a_snapshot_that_was_asked_for_is_given_though_the_client_detaches_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_hub() as hub:
        socket, view = FakeSocket(), new_view()
        with hub.join(OWNER, Codec.JSON, socket) as watcher:
            hub.attach(watcher, view, request_id=7)
            hub.detach(watcher, "s")
            await delivered()
    assert [(message["type"], message["id"]) for message in socket.heard] == [("snapshot", 7)]


class Counter:
    """Keeps the number of attachments of each session, as the hub tells of them."""

    def __init__(self, hub: Hub) -> None:
        self.counts: dict[str, int] = {}
        hub.on_attached = lambda session: self._add(session, 1)
        hub.on_detached = lambda session: self._add(session, -1)

    def _add(self, session: str, change: int) -> None:
        self.counts[session] = self.counts.get(session, 0) + change


async def test_joining_and_leaving_counts_every_attachment_once(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        counter, view, other = Counter(hub), new_view(), new_view("t")
        with hub.join(OWNER, Codec.JSON, FakeSocket()) as first:
            with hub.join(OWNER, Codec.JSON, FakeSocket()) as second:
                hub.attach(first, view)
                hub.attach(first, view)  # again, to change the wishes
                hub.attach(second, view)
                hub.attach(second, other)
                assert counter.counts == {"s": 2, "t": 1}
            assert counter.counts == {"s": 1, "t": 0}
            hub.detach(first, "s")
            hub.detach(first, "s")
            assert counter.counts == {"s": 0, "t": 0}
        assert counter.counts == {"s": 0, "t": 0}


async def test_a_client_that_has_left_is_told_nothing_more(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        socket, view = FakeSocket(), new_view()
        with hub.join(OWNER, Codec.JSON, socket) as watcher:
            hub.attach(watcher, view, owe_snapshot=False)
            hub.follow(watcher)
        publish(hub, view, state(1))
        hub.announce(new_view("t"), None)
        hub.broadcast(Pong(id=1))
        await delivered()
    assert socket.frames == []
    assert watcher.outbox.bytes == 0


async def test_whoever_does_not_read_is_closed_with_4000_and_counted_as_gone(autojump_clock: MockClock) -> None:
    async with open_hub(max_bytes=2000) as hub:
        counter, view, stuck, well = Counter(hub), new_view(), FakeSocket(), FakeSocket()
        with hub.join(OWNER, Codec.JSON, stuck) as slow, hub.join(OWNER, Codec.JSON, well) as fast:
            hub.attach(slow, view, owe_snapshot=False)
            hub.attach(fast, view, owe_snapshot=False)
            stuck.stuck = True
            for id_ in range(200):
                hub.say(slow, Pong(id=id_))
                assert slow.outbox.bytes <= 2000
            publish(hub, view, state(1))
            await delivered()
            assert stuck.closed == 4000
            hub.attach(slow, new_view("t"))  # a start that was under way
        assert counter.counts == {"s": 0}
        assert well.types == ["state"]
        assert well.closed is None


async def test_a_session_that_is_over_is_shown_and_forgotten(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        counter, socket, view = Counter(hub), FakeSocket(), new_view()
        publish(hub, view, state(1), end(2))
        with hub.join(OWNER, Codec.JSON, socket) as watcher:
            hub.attach(watcher, view, owe_snapshot=False)  # the client knows it all
            assert not watcher.outbox.sessions
            hub.attach(watcher, view)
            await delivered()
            assert not watcher.outbox.sessions
    assert socket.types == ["snapshot"]
    assert socket.heard[0]["end"]["outcome"] == "done"
    assert counter.counts == {}


async def test_a_watcher_of_many_sessions_forgets_those_it_has_seen_end(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        with hub.join(OWNER, Codec.JSON, FakeSocket()) as watcher:
            for number in range(200):
                view = new_view(f"s{number}")
                hub.attach(watcher, view)
                publish(hub, view, end(1, view.session))
                await delivered()
            assert len(watcher.views) < 50


async def test_followers_get_what_their_owner_starts_elsewhere(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        mine, own, theirs = FakeSocket(), FakeSocket(), FakeSocket()
        view = new_view()
        with (
            hub.join(OWNER, Codec.JSON, mine) as follower,
            hub.join(OWNER, Codec.JSON, own) as starter,
            hub.join("eve", Codec.JSON, theirs) as stranger,
        ):
            for watcher in (follower, starter, stranger):
                hub.follow(watcher)
            hub.announce(view, starter)
            await delivered()
            publish(hub, view, state(1))
            await delivered()
    assert mine.types == ["snapshot", "state"]
    assert own.types == theirs.types == []


async def test_a_follower_who_said_late_who_it_is_is_forgotten_when_it_leaves(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        with hub.join("", Codec.JSON, FakeSocket()) as follower:
            follower.owner = OWNER
            hub.follow(follower)
        hub.announce(new_view(), None)
        assert follower.views == {}


async def test_a_notice_reaches_everybody(autojump_clock: MockClock) -> None:
    async with open_hub() as hub:
        idle, watching = FakeSocket(), FakeSocket()
        with hub.join(OWNER, Codec.JSON, idle), hub.join(OWNER, Codec.JSON, watching) as watcher:
            hub.attach(watcher, new_view(), owe_snapshot=False)
            hub.follow(watcher)
            hub.broadcast(Pong(id="all"))
            await delivered()
    assert idle.heard == watching.heard == [{"type": "pong", "id": "all"}]
