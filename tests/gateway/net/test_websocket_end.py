import struct
from contextlib import suppress

import pytest
import structlog
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked
from websockets.frames import Opcode

from gateway.net.frame import frame
from gateway.net.http import serve_http
from gateway.net.memory import memory_pair
from gateway.net.websocket import WebSocket, WebSocketClosed
from tests.helpers.sockets import (
    HANDSHAKE,
    closing,
    connected,
    hello,
    masked,
    welcome,
)


@pytest.mark.parametrize("client_answers", [True, False])
async def test_close_is_a_handshake_bounded_in_time(client_answers: bool, autojump_clock: MockClock) -> None:
    async def shut(websocket: WebSocket) -> None:
        websocket.close(4502, "no hello")
        websocket.close(1000)  # the first one counts
        with pytest.raises(WebSocketClosed) as closed:
            await websocket.receive()
        assert (closed.value.code, closed.value.reason) == (4502, "no hello")
        assert not websocket.try_write(frame(Opcode.TEXT, b"too late"))
        websocket.ping()

    async with connected(shut) as client:
        began = trio.current_time()
        assert await client.close_code() == 4502
        if client_answers:
            client.transport.try_send(masked(Opcode.TEXT, b"late") + closing(4502))
        with pytest.raises(EOFError):
            await client.frame()
        client.transport.release()
        assert trio.current_time() == began + (0 if client_answers else 5)


async def test_a_close_from_another_task_wakes_the_reader() -> None:
    sockets: list[WebSocket] = []
    codes: list[int] = []

    async def read(websocket: WebSocket) -> None:
        sockets.append(websocket)
        try:
            await websocket.receive()
        except WebSocketClosed as closed:
            codes.append(closed.code)

    async with connected(read) as client:
        await wait_all_tasks_blocked()
        sockets[0].close(4000, "too slow")
        await wait_all_tasks_blocked()
        assert codes == [4000]
        assert await client.close_code() == 4000


async def test_messages_not_yet_received_are_dropped_by_a_close() -> None:
    received: list[str | bytes] = []

    async def read(websocket: WebSocket) -> None:
        received.append(await websocket.receive())
        websocket.close(4000)
        received.append(await websocket.receive())

    async with connected(read, trailing=masked(Opcode.TEXT, b"one") + masked(Opcode.TEXT, b"two")) as client:
        assert await client.close_code() == 4000
        client.transport.try_send(masked(Opcode.TEXT, b"three") + closing(4000))
        await wait_all_tasks_blocked()
    assert received == ["one"]


async def test_closes_from_both_sides_at_once() -> None:
    async def shut(websocket: WebSocket) -> None:
        await wait_all_tasks_blocked()
        websocket.close(1001)

    async with connected(shut) as client:
        client.transport.try_send(closing(1000))
        assert await client.close_code() in (1000, 1001)
        with pytest.raises(EOFError):
            await client.frame()


@pytest.mark.parametrize(
    ("how", "code"), [("return", 1000), ("fail", 1011), ("cancel", 1001)], ids=["return", "fail", "cancel"]
)
async def test_the_end_of_the_handler_is_told_to_the_client(how: str, code: int) -> None:
    begun = trio.Event()
    fate = trio.CancelScope()

    async def handle(websocket: WebSocket) -> None:
        begun.set()
        if how == "fail":
            raise ValueError
        if how == "cancel":
            await websocket.receive()

    with structlog.testing.capture_logs() as logs, trio.fail_after(5):
        client, server = memory_pair()
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                with fate, suppress(ExceptionGroup):
                    await serve_http(server, hello, welcome(handle))

            nursery.start_soon(run)
            client.try_send(HANDSHAKE + b"\r\n")
            await begun.wait()
            if how == "cancel":
                fate.cancel()
            await wait_all_tasks_blocked()
            assert (await client.receive()).endswith(b"\r\n\r\n" + frame(Opcode.CLOSE, struct.pack("!H", code)))
            client.try_send(closing(code))
            client.release()
    assert logs == []


@pytest.mark.parametrize("where", ["handshake", "frame", "idle", "half-open"])
@pytest.mark.parametrize("end", ["release", "abort"])
async def test_a_client_that_vanishes_is_1006(where: str, end: str) -> None:
    codes: list[int] = []

    async def read(websocket: WebSocket) -> None:
        try:
            await websocket.receive()
        except WebSocketClosed as closed:
            codes.append(closed.code)
            raise

    client, server = memory_pair()
    with structlog.testing.capture_logs() as logs, trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_http, server, hello, welcome(read))
            request = HANDSHAKE + b"\r\n"
            client.try_send(request[:50] if where == "handshake" else request)
            await wait_all_tasks_blocked()
            if where == "frame":
                client.try_send(masked(Opcode.TEXT, b"hello")[:5])
            if where == "half-open":
                client.send_eof()
                await wait_all_tasks_blocked()
            getattr(client, end)()
    assert logs == []
    assert codes == ([] if where == "handshake" else [1006])
