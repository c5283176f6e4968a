import socket
import struct
from typing import Any

import pytest
import structlog
import trio
import trio.lowlevel
import trio_websocket
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.http11 import Response
from websockets.trio.client import connect

from gateway.net.frame import frame
from gateway.net.problem import Problem
from gateway.net.transport import Address
from gateway.net.websocket import WebSocket, WebSocketLimits
from tests.helpers.sockets import (
    HANDSHAKE,
    closing,
    echo,
    masked,
    over_tcp,
    url,
    welcome,
)


async def test_the_websockets_client() -> None:
    async with over_tcp(welcome(echo, "hatch.v1.json")) as address:
        async with connect(url(address), subprotocols=["hatch.v1.json"]) as client:  # type: ignore[list-item]
            assert client.subprotocol == "hatch.v1.json"
            await client.send("text")
            await client.send(b"binary")
            await client.send(iter(["in ", "parts"]))
            assert [await client.recv() for _ in range(3)] == ["text", b"binary", "in parts"]
            pong: Any = await client.ping()
            await pong.wait() if hasattr(pong, "wait") else await trio.lowlevel.checkpoint()
        assert client.protocol.close_code == 1000


async def test_the_websockets_client_learns_of_our_close() -> None:
    async def shut(websocket: WebSocket) -> None:
        websocket.close(4504, "forbidden")

    async with over_tcp(welcome(shut)) as address, connect(url(address)) as client:
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4504, "forbidden")


async def test_the_trio_websocket_client() -> None:
    async with over_tcp(welcome(echo, "hatch.v1.json")) as (host, port):
        async with trio_websocket.open_websocket(
            host, port, "/v1/ws", use_ssl=False, subprotocols=["hatch.v1.json"]
        ) as client:
            assert client.subprotocol == "hatch.v1.json"
            for message in ("text", b"binary" * 10_000):
                await client.send_message(message)
                assert await client.get_message() == message
            await client.ping(b"x")
        assert client.closed is not None
        assert client.closed.code == 1000


# Many, over real sockets


async def test_resets_anywhere_leave_the_others_alone() -> None:
    message = HANDSHAKE + b"\r\n" + masked(Opcode.TEXT, b"hello") + closing(1000)
    with structlog.testing.capture_logs() as logs:
        async with over_tcp(welcome(echo)) as address, connect(url(address)) as survivor:
            for cut in range(0, len(message), 3):
                sock = socket.create_connection(address)
                sock.sendall(message[:cut])
                await trio.lowlevel.checkpoint()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
            await survivor.send("alive")
            assert await survivor.recv() == "alive"
    assert logs == []


async def test_a_stuck_reader_does_not_slow_the_others_and_ends_with_the_server() -> None:
    stuck: list[WebSocket] = []

    async def serve_one(websocket: WebSocket) -> None:
        if await websocket.receive() == "stall":
            stuck.append(websocket)
            assert websocket.try_write(frame(Opcode.BINARY, bytes(50_000_000)))  # no kernel buffers that much
            assert await websocket.receive() == "still heard"
            stuck.append(websocket)
        await echo(websocket)

    limits = WebSocketLimits(close_timeout_s=0.2)
    async with over_tcp(welcome(serve_one), limits) as address:
        stuck_client = await trio.open_tcp_stream(*address)
        await stuck_client.send_all(HANDSHAKE + b"\r\n" + masked(Opcode.TEXT, b"stall"))
        async with connect(url(address)) as lively:
            await lively.send("go")
            while not stuck:
                await lively.send("x")
                await lively.recv()
            await stuck_client.send_all(masked(Opcode.TEXT, b"still heard"))
            while len(stuck) < 2:
                await lively.send("x")
                assert await lively.recv() == "x"
            assert stuck[0].backlog > 0
        began = trio.current_time()
    assert trio.current_time() - began < 2
    await stuck_client.aclose()


@pytest.mark.parametrize("most", [50, 100_000], ids=["the system holds it all", "a backlog"])
async def test_a_slow_reader_that_still_answers_pings_comes_to_our_close(most: int) -> None:
    sent: list[bytes] = []
    begun = trio.Event()

    async def give_up(websocket: WebSocket) -> None:
        while not websocket.backlog and len(sent) < most:
            sent.append(frame(Opcode.BINARY, b"%5d" % len(sent) * 100))
            assert websocket.try_write(sent[-1])
        websocket.close(4000)
        begun.set()

    limits = WebSocketLimits(close_timeout_s=0.05, linger_s=10)
    with trio.socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with over_tcp(welcome(give_up), limits) as address:
            await slow.connect(address)
            await slow.send(HANDSHAKE + b"\r\n")
            await begun.wait()
            await trio.sleep(0.2)  # longer than the closing handshake may take
            await slow.send(masked(Opcode.PONG))
            await trio.sleep(0.1)  # a reset would be here by now
            received = bytearray()
            while data := await slow.recv(65536):
                received += data
    assert received.endswith(b"".join(sent) + frame(Opcode.CLOSE, struct.pack("!H", 4000)))


async def test_500_sockets_and_every_answer_arrives() -> None:
    async def talk(address: Address, number: int) -> None:
        async with await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(HANDSHAKE + b"\r\n")
            assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 101")
            all_in.discard(number)
            if not all_in:
                everybody.set()
            await everybody.wait()
            await stream.send_all(masked(Opcode.TEXT, b"%d" % number))
            assert await stream.receive_some() == frame(Opcode.TEXT, b"%d" % number)

    everybody, all_in = trio.Event(), set(range(500))
    async with over_tcp(welcome(echo)) as address, trio.open_nursery() as nursery:
        for number in range(500):
            nursery.start_soon(talk, address, number)


async def test_a_refused_client_of_the_websockets_library_sees_the_status() -> None:
    problem = Problem(status=403, code="forbidden", detail="Not from there.")
    async with over_tcp(lambda request: problem) as address:
        with pytest.raises(Exception, match="403") as refused:
            async with connect(url(address)):
                pass
        response = getattr(refused.value, "response", None)
        assert isinstance(response, Response)
        assert b'"code":"forbidden"' in response.body
