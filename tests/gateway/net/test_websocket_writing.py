import struct
from contextlib import suppress

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked
from websockets.frames import Opcode

from gateway.net.frame import frame
from gateway.net.http import serve_http
from gateway.net.memory import memory_pair
from gateway.net.transport import PeerGone
from gateway.net.websocket import WebSocket, WebSocketClosed
from tests.helpers.sockets import (
    GO,
    HANDSHAKE,
    LIMITS,
    connected,
    echo,
    flood,
    hello,
    masked,
    welcome,
)


async def test_a_short_write_is_finished_in_order_and_then_told() -> None:
    told: list[float] = []
    total = 0

    async def push(websocket: WebSocket) -> None:
        nonlocal total
        writable = trio.Event()

        def tell() -> None:
            told.append(websocket.backlog)
            writable.set()

        websocket.on_writable = tell
        total = await flood(websocket)
        assert not websocket.try_write(frame(Opcode.TEXT, b"refused"))
        websocket.ping()
        assert not told
        await writable.wait()
        assert websocket.try_write(frame(Opcode.TEXT, b"taken"))
        with suppress(WebSocketClosed):
            await websocket.receive()

    async with connected(push, capacity=2000) as client:
        client.transport.try_send(GO)
        await wait_all_tasks_blocked()
        payloads = []
        while (part := await client.frame()).opcode is Opcode.BINARY:
            payloads.append(bytes(part.data))
        assert part.opcode is Opcode.PING
        assert (await client.frame()).data == b"taken"
    assert payloads == [b"%5d" % number * 100 for number in range(total)]
    assert told == [0]


async def test_a_stuck_client_is_still_heard_and_times_tell_of_it(autojump_clock: MockClock) -> None:
    heard: list[str | bytes] = []
    sockets: list[WebSocket] = []

    async def stall(websocket: WebSocket) -> None:
        sockets.append(websocket)
        await flood(websocket)
        while True:
            message = await websocket.receive()
            heard.append(message)

    async with connected(stall, capacity=2000) as client:
        began = trio.current_time()
        [websocket] = sockets
        assert websocket.last_accepted == began
        await trio.sleep(100)
        client.transport.try_send(GO)
        for _ in range(3):
            await trio.sleep(20)
            client.transport.try_send(masked(Opcode.TEXT, b"cancel"))
        await wait_all_tasks_blocked()
        assert heard == ["cancel"] * 3
        assert websocket.last_heard == began + 160
        assert websocket.last_accepted == began + 100  # when the backlog began
        assert websocket.backlog > 0
        await client.transport.receive()
        await wait_all_tasks_blocked()
        assert websocket.last_accepted == began + 160


async def test_a_write_into_a_full_transport_begins_a_backlog_of_its_own(autojump_clock: MockClock) -> None:
    sockets: list[WebSocket] = []

    async def fill(websocket: WebSocket) -> None:
        sockets.append(websocket)
        assert await websocket.receive() == "go"
        assert websocket.try_write(frame(Opcode.BINARY, bytes(1996)))  # with its head exactly what fits
        assert websocket.backlog == 0
        await trio.sleep(50)
        assert websocket.try_write(frame(Opcode.BINARY, b"x"))
        await websocket.receive()

    async with connected(fill, capacity=2000) as client:
        client.transport.try_send(GO)
        await trio.sleep(60)
        assert sockets[0].backlog == 3
        assert trio.current_time() - sockets[0].last_accepted == 10


async def test_a_cancelled_writer_still_finishes_its_frame_and_says_goodbye() -> None:
    fate = trio.CancelScope()

    async def stall(websocket: WebSocket) -> None:
        await flood(websocket)
        await websocket.receive()

    client, server = memory_pair(capacity=2000)

    async def run() -> None:
        with fate:
            await serve_http(server, hello, welcome(stall))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        client.try_send(HANDSHAKE + b"\r\n" + GO)
        await wait_all_tasks_blocked()
        fate.cancel()
        received = b""
        while not received.endswith(frame(Opcode.CLOSE, struct.pack("!H", 1001))):
            received += await client.receive()
        client.release()
    frames = received.partition(b"\r\n\r\n")[2][:-4]
    assert frames == b"".join(frame(Opcode.BINARY, b"%5d" % n * 100) for n in range(len(frames) // 504))


@pytest.mark.parametrize("how", ["abort", "close", "cancel"])
async def test_a_stuck_client_cannot_hold_anybody_up(how: str, autojump_clock: MockClock) -> None:
    sockets: list[WebSocket] = []
    ended: list[float] = []

    async def stall(websocket: WebSocket) -> None:
        sockets.append(websocket)
        await flood(websocket)
        with suppress(WebSocketClosed):
            await websocket.receive()

    client, server = memory_pair(capacity=2000)
    fate = trio.CancelScope()

    async def run() -> None:
        with fate:
            await serve_http(server, hello, welcome(stall), websocket_limits=LIMITS)
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(run)
        client.try_send(HANDSHAKE + b"\r\n" + GO)
        await wait_all_tasks_blocked()
        match how:
            case "abort":
                sockets[0].abort()
                assert sockets[0].backlog == 0
            case "close":
                sockets[0].close(4000)
            case "cancel":
                fate.cancel()
    assert ended == [began + {"abort": 0, "close": 35, "cancel": 5}[how]]
    with pytest.raises(PeerGone):
        await client.receive()


async def test_a_flood_of_pings_behind_a_stuck_writer_costs_one_pong() -> None:
    sockets: list[WebSocket] = []

    async def stall(websocket: WebSocket) -> None:
        sockets.append(websocket)
        await flood(websocket)
        await websocket.receive()

    async with connected(stall, capacity=2000) as client:
        client.transport.try_send(GO)
        await wait_all_tasks_blocked()
        before = sockets[0].backlog
        for number in range(1000):
            await client.transport.send_all(masked(Opcode.PING, b"%d" % number), 1)
        await wait_all_tasks_blocked()
        assert sockets[0].backlog - before < 20
        while (part := await client.frame()).opcode is not Opcode.PONG:
            pass
        assert part.data == b"999"


async def test_every_ping_is_answered_while_the_writer_is_free() -> None:
    async with connected(echo) as client:
        client.transport.try_send(b"".join(masked(Opcode.PING, b"%d" % number) for number in range(100)))
        assert [(await client.frame()).data for _ in range(100)] == [b"%d" % number for number in range(100)]


async def test_a_pong_counts_as_heard(autojump_clock: MockClock) -> None:
    sockets: list[WebSocket] = []

    async def wait(websocket: WebSocket) -> None:
        sockets.append(websocket)
        await websocket.receive()

    async with connected(wait) as client:
        await trio.sleep(20)
        sockets[0].ping()
        assert (await client.frame()).opcode is Opcode.PING
        client.transport.try_send(masked(Opcode.PONG))
        await wait_all_tasks_blocked()
        assert sockets[0].last_heard == sockets[0].last_accepted == trio.current_time()
