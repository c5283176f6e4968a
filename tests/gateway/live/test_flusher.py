import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
import pytest
import structlog
import trio
import trio.testing
from msgspec import UnsetType
from starlette.datastructures import Headers
from trio.testing import MockClock
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from gateway.live.flusher import LINKS_A_TURN, Flusher, FlusherLimits, Link
from gateway.live.ticker import Ticker
from gateway.net.memory import memory_pair
from gateway.net.websocket import UpgradeRequest, WebSocketLimits, open_websocket
from protocol.codec import Codec
from protocol.commands import Id
from protocol.envelope import Envelope, Kind
from protocol.events import Pong, Progress, State, Text
from protocol.outbox import Outbox, OutboxLimits

TICK = 0.03
STALL = 20.0


class FakeSocket:
    """Takes whole frames until `full`, then one more, which stays behind as its backlog."""

    def __init__(self, *, deflate: bool = False) -> None:
        self.deflate = deflate
        self.full = False
        self.backlog = 0
        self.last_accepted = trio.current_time()
        self.on_writable: Callable[[], None] = lambda: None
        self.frames: list[bytes] = []
        self.times: list[float] = []
        self.closed: tuple[int, str] | None = None

    def try_write(self, data: bytes) -> bool:
        assert not self.backlog, "nothing is written behind a backlog"
        if self.closed:
            return False
        self.frames.append(data)
        self.times.append(trio.current_time())
        self.backlog = len(data) if self.full else 0
        self.last_accepted = trio.current_time()
        return True

    def accept(self, count: int) -> None:
        """The peer takes some bytes."""
        self.backlog -= count
        self.last_accepted = trio.current_time()
        if not self.backlog:
            self.on_writable()

    def close(self, code: int, reason: str = "") -> None:
        self.closed = code, reason

    @property
    def messages(self) -> list[list[dict[str, object]]]:
        return [msgspec.json.decode(parse(frame).data) for frame in self.frames]


def client(*, deflate: bool = False) -> ClientProtocol:
    """The other side, as the `websockets` library sees it."""
    protocol = ClientProtocol(parse_uri("ws://localhost/v1/ws"), state=OPEN)
    protocol.extensions = [PerMessageDeflate(True, True, 15, 15)] if deflate else []
    return protocol


def parse(data: bytes, *, deflate: bool = False) -> Frame:
    """The one frame that `data` is to a client."""
    protocol = client(deflate=deflate)
    protocol.receive_data(data)
    (frame,) = protocol.events_received()
    assert isinstance(frame, Frame)
    return frame


def no_snapshot(_session: str, _request_id: Id | UnsetType, _previews: bool) -> Envelope:
    raise LookupError("no snapshot to be had")


def new_outbox(codec: Codec = Codec.JSON, *, max_hz: float | None = None, frame_bytes: int = 1 << 16) -> Outbox:
    outbox = Outbox(codec, OutboxLimits(max_bytes=1000, frame_bytes=frame_bytes), no_snapshot)
    outbox.attach("s", max_hz=max_hz, owe_snapshot=False)
    return outbox


def pong(id_: Id) -> Envelope:
    return Envelope(Kind.ANSWER, (Pong(id=id_),))


def state(seq: int) -> Envelope:
    return Envelope.of_session("s", State(session="s", seq=seq, state="writing"))


def text(delta: str, offset: int = 0) -> Envelope:
    return Envelope.of_session("s", Text(session="s", offset=offset, path="/name", delta=delta))


def progress(percent: float) -> Envelope:
    return Envelope.of_session("s", Progress(session="s", percent=percent, stage="steps", basis="measured", message=""))


class Bench:
    """A flusher and its links."""

    def __init__(self, flusher: Flusher, links: contextlib.ExitStack) -> None:
        self.flusher = flusher
        self.links = links

    def link(self, outbox: Outbox | None = None, socket: FakeSocket | None = None) -> tuple[Link, FakeSocket]:
        socket = socket or FakeSocket()
        return self.links.enter_context(self.flusher.open_link(outbox or new_outbox(), socket)), socket

    def offer(self, link: Link, *envelopes: Envelope) -> None:
        for envelope in envelopes:
            link.outbox.offer(envelope)
            self.flusher.mark(link)

    def say(self, link: Link, envelope: Envelope) -> None:
        link.outbox.say(envelope)
        self.flusher.mark(link)


@pytest.fixture
async def bench(nursery: trio.Nursery) -> AsyncIterator[Bench]:
    ticker = Ticker()
    flusher = Flusher(ticker, FlusherLimits(tick_s=TICK, write_stall_s=STALL))
    await nursery.start(ticker.run)
    await nursery.start(flusher.run)
    with contextlib.ExitStack() as links:
        yield Bench(flusher, links)


async def test_events_gather_for_a_tick_from_the_first_mark(bench: Bench, autojump_clock: MockClock) -> None:
    link, socket = bench.link()
    start = trio.current_time()
    bench.offer(link, text("a"))
    await trio.sleep(TICK / 2)
    bench.offer(link, text("b", 1), progress(5))
    await trio.sleep(1)
    assert socket.times == [start + TICK]
    ((first, second),) = socket.messages
    assert (first["delta"], second["percent"]) == ("ab", 5.0)


async def test_a_later_mark_starts_a_new_tick(bench: Bench, autojump_clock: MockClock) -> None:
    link, socket = bench.link()
    bench.offer(link, text("a"))
    await trio.sleep(1)
    again = trio.current_time()
    bench.offer(link, text("b", 1))
    await trio.sleep(1)
    assert socket.times[1:] == [again + TICK]


async def test_urgent_messages_do_not_wait_but_take_along_what_gathered(
    bench: Bench, autojump_clock: MockClock
) -> None:
    link, socket = bench.link()
    start = trio.current_time()
    bench.offer(link, text("a"))
    await trio.sleep(TICK / 2)
    bench.say(link, pong(1))
    bench.offer(link, state(1), progress(1))
    await trio.sleep(1)
    assert socket.times == [start + TICK / 2]
    assert [[message["type"] for message in frame] for frame in socket.messages] == [
        ["pong", "text", "state", "progress"]
    ]


class Steps(trio.abc.Instrument):
    """The names of the tasks that had something to do."""

    def __init__(self) -> None:
        self.tasks: list[str] = []

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.tasks.append(task.name)


@contextlib.contextmanager
def watching_steps() -> Iterator[Steps]:
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    yield steps
    trio.lowlevel.remove_instrument(steps)


async def test_it_sleeps_while_nothing_is_marked(bench: Bench, autojump_clock: MockClock) -> None:
    link, _ = bench.link()
    bench.offer(link, text("a"))
    await trio.sleep(1)
    with watching_steps() as steps:
        await trio.sleep(10_000)
    assert len(set(steps.tasks)) == 1  # this task alone


async def test_marks_behind_a_backlog_wake_nobody(bench: Bench, autojump_clock: MockClock) -> None:
    link, socket = bench.link()
    socket.full = True
    bench.offer(link, state(1))
    await trio.testing.wait_all_tasks_blocked()
    with watching_steps() as steps:
        bench.offer(link, state(2), text("a"))
        await trio.sleep(1)
    assert len(set(steps.tasks)) == 1


async def test_throttled_progress_is_sent_when_its_time_comes(bench: Bench, autojump_clock: MockClock) -> None:
    link, socket = bench.link(new_outbox(max_hz=0.5))
    start = trio.current_time()
    bench.offer(link, progress(1))
    await trio.sleep(TICK * 2)
    bench.offer(link, progress(2))
    await trio.sleep(10)
    first, second = socket.times
    assert first == start + TICK
    assert start + TICK + 2 <= second <= start + 2 + 3 * TICK
    assert [frame[0]["percent"] for frame in socket.messages] == [1.0, 2.0]


async def test_more_than_a_frame_goes_in_several(bench: Bench, autojump_clock: MockClock) -> None:
    link, socket = bench.link(new_outbox(frame_bytes=100))
    for seq in range(1, 6):
        link.outbox.offer(state(seq))
    bench.flusher.mark(link)
    await trio.testing.wait_all_tasks_blocked()
    assert len(socket.frames) > 1
    assert [message["seq"] for frame in socket.messages for message in frame] == [1, 2, 3, 4, 5]


async def test_watchers_of_one_session_get_the_very_same_frame(bench: Bench, autojump_clock: MockClock) -> None:
    links = [bench.link() for _ in range(3)]
    other, other_socket = bench.link(new_outbox(Codec.MSGPACK))
    for envelope in (state(1), text("a"), text("b", 1)):
        for link in (*(link for link, _ in links), other):
            bench.offer(link, envelope)
    await trio.sleep(1)
    first, second, third = (socket.frames for _, socket in links)
    assert len(first) == 1
    assert first[0] is second[0] is third[0]
    assert parse(first[0]).opcode is Opcode.TEXT
    packed = parse(other_socket.frames[0])
    assert packed.opcode is Opcode.BINARY
    assert [message["type"] for message in msgspec.msgpack.decode(packed.data)] == ["state", "text"]


async def test_a_batch_is_compressed_for_those_who_can_read_it_a_lone_event_never(
    bench: Bench, autojump_clock: MockClock
) -> None:
    link, socket = bench.link(socket=FakeSocket(deflate=True))
    bench.say(link, pong(1))
    await trio.sleep(1)
    bench.offer(link, text("a long sentence " * 40))
    await trio.sleep(1)
    for seq in range(1, 12):
        link.outbox.offer(state(seq))
    bench.flusher.mark(link)
    await trio.sleep(1)
    lone, long, batch = socket.frames
    assert msgspec.json.decode(parse(lone).data) == [{"type": "pong", "id": 1}]
    assert not long[0] & 0x40
    assert batch[0] & 0x40, "RSV1 marks what is compressed"
    assert [message["seq"] for message in msgspec.json.decode(parse(batch, deflate=True).data)] == list(range(1, 12))


async def test_behind_a_backlog_nothing_is_written_until_it_is_gone(bench: Bench, autojump_clock: MockClock) -> None:
    link, socket = bench.link()
    socket.full = True
    bench.offer(link, state(1))
    await trio.testing.wait_all_tasks_blocked()
    bench.offer(link, state(2), text("a"))
    await trio.sleep(1)
    assert len(socket.frames) == 1
    bench.offer(link, text("b", 1))
    socket.full = False
    socket.accept(socket.backlog)
    await trio.testing.wait_all_tasks_blocked()
    assert [message.get("seq", message.get("delta")) for message in socket.messages[1]] == [2, "ab"]


async def test_a_backlog_of_somebody_elses_making_is_respected(bench: Bench, autojump_clock: MockClock) -> None:
    link, socket = bench.link()
    socket.backlog = 4  # a pong, say
    bench.offer(link, state(1))
    await trio.sleep(1)
    assert socket.frames == []
    socket.accept(4)
    await trio.testing.wait_all_tasks_blocked()
    assert len(socket.frames) == 1


async def test_a_peer_that_takes_no_byte_for_too_long_is_closed(bench: Bench, autojump_clock: MockClock) -> None:
    link, socket = bench.link()
    socket.full = True
    bench.offer(link, state(1))
    await trio.sleep(STALL - 0.1)
    assert socket.closed is None
    await trio.sleep(0.2)
    assert socket.closed is not None
    assert socket.closed[0] == 4000
    bench.say(link, pong(1))
    await trio.sleep(1)
    assert len(socket.frames) == 1


async def test_a_peer_that_takes_a_little_is_waited_for(bench: Bench, autojump_clock: MockClock) -> None:
    link, socket = bench.link()
    socket.full = True
    bench.offer(link, state(1))
    for _ in range(5):
        await trio.sleep(STALL - 1)
        socket.accept(1)
    assert socket.closed is None
    socket.accept(socket.backlog)
    await trio.sleep(2 * STALL)
    assert socket.closed is None


async def test_a_client_whose_outbox_gives_up_is_closed_even_behind_a_backlog(
    bench: Bench, autojump_clock: MockClock
) -> None:
    link, socket = bench.link()
    socket.full = True
    bench.say(link, pong(1))
    await trio.testing.wait_all_tasks_blocked()
    while not link.outbox.too_slow:
        bench.say(link, pong(2))
    await trio.testing.wait_all_tasks_blocked()
    assert socket.closed is not None
    assert socket.closed[0] == 4000


async def test_one_failing_link_harms_no_other(bench: Bench, autojump_clock: MockClock) -> None:
    broken, broken_socket = bench.link()
    link, socket = bench.link()
    broken.outbox.reset("s")  # there is no snapshot to be had
    bench.flusher.mark(broken)
    bench.offer(link, state(1))
    with structlog.testing.capture_logs() as logs:
        await trio.testing.wait_all_tasks_blocked()
    assert broken_socket.closed is not None
    assert broken_socket.closed[0] == 1011
    assert [entry["event"] for entry in logs] == ["flush_failed"]
    assert len(socket.frames) == 1


# --- the last words


async def test_last_words_are_taken_however_slowly(bench: Bench, autojump_clock: MockClock) -> None:
    outbox = new_outbox(frame_bytes=1)  # a frame for each
    link, socket = bench.link(outbox)
    idle, _ = bench.link()
    socket.full = True
    bench.offer(link, *(state(seq) for seq in range(1, 6)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_take_slowly, socket)
        await bench.flusher.flush(1.0)
        assert trio.current_time() >= 5 * 8 * 0.9, "it waits for the last byte"
        nursery.cancel_scope.cancel()
    assert [messages[0]["seq"] for messages in socket.messages] == [1, 2, 3, 4, 5]
    assert not socket.backlog
    assert socket.closed is None
    assert idle.open


async def _take_slowly(socket: FakeSocket) -> None:
    """An eighth of a frame every 0.9 s."""
    while True:
        await trio.sleep(0.9)
        if socket.backlog:
            socket.accept(min(socket.backlog, len(socket.frames[-1]) // 8 + 1))


async def test_who_takes_nothing_has_lost_the_rest(bench: Bench, autojump_clock: MockClock) -> None:
    link, socket = bench.link()
    socket.full = True
    bench.offer(link, state(1))
    await trio.sleep(0.1)
    bench.offer(link, state(2))
    await bench.flusher.flush(1.0)
    assert trio.current_time() < 1.2


async def test_nobody_waits_for_progress_whose_time_has_not_come(bench: Bench, autojump_clock: MockClock) -> None:
    link, socket = bench.link(new_outbox(max_hz=0.1))
    for percent in (1, 2):
        bench.offer(link, progress(percent))
        await trio.sleep(0.1)
    await bench.flusher.flush(1.0)
    assert trio.current_time() < 0.3
    assert len(socket.frames) == 1


async def test_a_link_that_is_left_is_not_written_to(bench: Bench, autojump_clock: MockClock) -> None:
    socket = FakeSocket()
    with bench.flusher.open_link(new_outbox(), socket) as link:
        bench.offer(link, text("a"))
    bench.offer(link, state(1))
    await trio.sleep(1)
    assert socket.frames == []


async def test_a_long_pass_leaves_turns_to_others(bench: Bench, mock_clock: MockClock) -> None:
    links = [bench.link() for _ in range(5 * LINKS_A_TURN)]
    for link, _ in links:
        bench.offer(link, state(1))
    written: list[int] = []
    while not written or written[-1] < len(links):
        await trio.lowlevel.checkpoint()
        written.append(sum(len(socket.frames) for _, socket in links))
    assert max(later - earlier for earlier, later in itertools.pairwise([0, *written])) <= 2 * LINKS_A_TURN


async def test_a_whole_connection_in_memory(bench: Bench, autojump_clock: MockClock) -> None:
    """A real WebSocket over a narrow pipe: the backlog is finished by its own writer, then the rest follows."""
    ours, theirs = memory_pair(capacity=32)
    request = UpgradeRequest("/v1/ws", "", Headers(), None)
    protocol = ServerProtocol(state=OPEN)
    reader = client()
    seen: list[dict[str, object]] = []
    async with open_websocket(
        theirs, request, protocol, response=b"", trailing=b"", limits=WebSocketLimits(close_timeout_s=1)
    ) as websocket:
        with bench.flusher.open_link(new_outbox(), websocket) as link:
            bench.offer(link, state(1))
            await trio.testing.wait_all_tasks_blocked()
            assert websocket.backlog
            bench.offer(link, state(2), text("a"), text("b", 1))
            while len(seen) < 3:
                reader.receive_data(await ours.receive())
                for frame in reader.events_received():
                    assert isinstance(frame, Frame)
                    seen += msgspec.json.decode(frame.data)
            ours.abort()
    assert [message.get("seq", message.get("delta")) for message in seen] == [1, 2, "ab"]
