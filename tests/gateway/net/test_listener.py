import contextlib
import errno
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog
import trio
from trio.testing import wait_all_tasks_blocked

from gateway.net.listener import REFUSALS, Handler, accept_loop, bind
from gateway.net.transport import Address, Transport
from protocol.errors import QuotaExceeded
from tests.helpers.listening import listen


@asynccontextmanager
async def listening(
    handler: Handler, *, host: str = "127.0.0.1", max_connections: int = 1000
) -> AsyncIterator[Address]:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            yield await listen(nursery, handler, host=host, max_connections=max_connections)
            nursery.cancel_scope.cancel()


async def echo(transport: Transport) -> None:
    while data := await transport.receive():
        await transport.send_all(data, 1)


async def ask(address: Address, question: bytes) -> bytes:
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(question)
        return bytes(await stream.receive_some())


async def read_all(stream: trio.SocketStream) -> bytes:
    return b"".join([bytes(chunk) async for chunk in stream])


async def test_port_zero_becomes_a_real_port_that_answers_at_once() -> None:
    async with listening(echo) as address:
        assert address[0] == "127.0.0.1"
        assert address[1] != 0
        assert await ask(address, b"hello") == b"hello"


async def test_every_address_of_a_name_gets_the_same_port() -> None:
    sockets = await bind("localhost", 0)
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert "127.0.0.1" in {sock.getsockname()[0] for sock in sockets}
    finally:
        for sock in sockets:
            sock.close()


async def test_a_port_in_use_is_an_error() -> None:
    async with listening(echo) as (_, port):
        with pytest.raises(OSError, match="in use") as error:
            await bind("127.0.0.1", port)
        assert error.value.errno == errno.EADDRINUSE


async def test_a_port_can_be_taken_again_at_once() -> None:
    async with listening(echo) as (host, port):
        assert await ask((host, port), b"x") == b"x"
    for sock in await bind(host, port):
        sock.close()


async def test_connections_are_served_side_by_side_without_delay_for_small_writes() -> None:
    seen: list[bool] = []
    both = trio.Event()

    async def meet(transport: Transport) -> None:
        sock: socket.socket = transport._sock  # type: ignore[attr-defined]
        seen.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
        if len(seen) == 2:
            both.set()
        await both.wait()
        await transport.send_all(b"met", 1)
        await transport.close(1)

    async with listening(meet) as address, trio.open_nursery() as nursery:
        nursery.start_soon(ask, address, b"x")
        assert await ask(address, b"x") == b"met"
    assert seen == [True, True]


@pytest.mark.parametrize("failure", [ValueError("boom"), ExceptionGroup("several", [KeyError(1), ValueError(2)])])
async def test_a_failing_connection_is_logged_and_the_others_live_on(failure: Exception) -> None:
    async def fail(transport: Transport) -> None:
        while data := await transport.receive():
            if data == b"boom":
                raise failure
            await transport.send_all(data, 1)

    with structlog.testing.capture_logs() as logs:
        async with (
            listening(fail) as address,
            await trio.open_tcp_stream(*address) as survivor,
            await trio.open_tcp_stream(*address) as victim,
        ):
            await victim.send_all(b"boom")
            with pytest.raises(trio.BrokenResourceError):  # a reset, not a clean end
                await victim.receive_some()
            await survivor.send_all(b"alive")
            assert await survivor.receive_some() == b"alive"
    assert [entry["event"] for entry in logs] == ["connection_failed"]


async def test_a_failure_during_the_cancel_stays_inside() -> None:
    async def fail_when_cancelled(transport: Transport) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await transport.receive()
            finally:
                raise ValueError("in the cleanup")

    with structlog.testing.capture_logs() as logs:
        client = socket.socket()
        with client:
            async with listening(fail_when_cancelled) as address:
                client.connect(address)
                await wait_all_tasks_blocked(0.05)
    assert [entry["event"] for entry in logs] == ["connection_failed"]


async def test_over_the_limit_a_client_is_told_and_a_freed_place_is_given_again() -> None:
    async with listening(echo, max_connections=2) as address:
        inside = [await trio.open_tcp_stream(*address) for _ in range(2)]
        for stream in inside:
            await stream.send_all(b"x")
            await stream.receive_some()
        async with await trio.open_tcp_stream(*address) as refused:
            await refused.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = await read_all(refused)
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"content-type: application/problem+json\r\n" in answer
        assert b"retry-after: 1\r\n" in answer
        assert b'"code":"overloaded"' in answer
        await inside[0].aclose()
        await wait_all_tasks_blocked(0.05)
        assert await ask(address, b"welcome") == b"welcome"
        await inside[1].aclose()


async def test_a_crowd_of_refused_clients_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.net.listener.REFUSAL_S", 10)
    async with listening(echo, max_connections=0) as address:
        crowd = [await trio.open_tcp_stream(*address) for _ in range(REFUSALS)]
        for stream in crowd:
            assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 503")
        with pytest.raises((OSError, trio.BrokenResourceError)):  # reset, perhaps as early as in the connect
            await ask(address, b"x")
        for stream in crowd:
            await stream.aclose()


async def test_refused_clients_take_nobodys_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.net.listener.REFUSAL_S", 10)
    welcome = False

    def let_in(_host: str) -> contextlib.AbstractContextManager[None]:
        if not welcome:
            raise QuotaExceeded("enough of you")
        return contextlib.nullcontext()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            address = await listen(nursery, echo, max_connections=1, let_in=let_in)
            async with await trio.open_tcp_stream(*address) as refused:
                assert bytes(await refused.receive_some()).startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
                welcome = True
                assert await ask(address, b"welcome") == b"welcome"
            nursery.cancel_scope.cancel()


async def test_cancelling_stops_the_accepting_and_leaves_the_connections() -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as nursery:
                address = await listen(nursery, echo, connections=connections)
                stream = await trio.open_tcp_stream(*address)
                await stream.send_all(b"before")
                assert await stream.receive_some() == b"before"
                nursery.cancel_scope.cancel()
            with pytest.raises(OSError, match="connect"):
                await trio.open_tcp_stream(*address)
            await stream.send_all(b"after")
            assert await stream.receive_some() == b"after"
            await stream.aclose()


class FaultySocket(socket.socket):
    """A listening socket whose accept fails with the given errors first."""

    faults: list[int]

    def accept(self) -> tuple[socket.socket, Address]:
        if self.faults:
            code = self.faults.pop(0)
            raise OSError(code, errno.errorcode[code])
        return super().accept()


@pytest.fixture
def faulty() -> FaultySocket:
    sock = FaultySocket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    sock.setblocking(False)
    return sock


async def test_accept_survives_exhaustion_and_connections_that_died_in_the_queue(faulty: FaultySocket) -> None:
    faulty.faults = [errno.EMFILE, errno.ENFILE, errno.ECONNABORTED, errno.ENOMEM, errno.EMFILE]
    send_admitted, admitted = trio.open_memory_channel[Transport](1)
    with structlog.testing.capture_logs() as logs, faulty, trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_loop, faulty, send_admitted.send_nowait)
            async with await trio.open_tcp_stream(*faulty.getsockname()) as client:
                transport = await admitted.receive()
                await transport.send_all(b"in", 1)
                assert await client.receive_some() == b"in"
                transport.abort()
            nursery.cancel_scope.cancel()
    assert faulty.faults == []
    assert [entry["event"] for entry in logs] == ["accept_paused"]  # once for the whole episode


async def test_a_socket_that_does_not_listen_is_an_error(faulty: FaultySocket) -> None:
    faulty.faults = [errno.EINVAL]
    with faulty, trio.fail_after(10), pytest.raises(OSError, match="EINVAL"):
        async with await trio.open_tcp_stream(*faulty.getsockname()):
            await accept_loop(faulty, lambda _: None)


async def test_a_reset_before_the_accept_hurts_nobody() -> None:
    with structlog.testing.capture_logs() as logs:
        async with listening(echo) as address:
            for _ in range(20):
                sock = socket.create_connection(address)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
            assert await ask(address, b"fine") == b"fine"
    assert logs == []  # a client that leaves is no failure


async def test_500_connections_at_once() -> None:
    async with listening(echo) as address:
        streams = [await trio.open_tcp_stream(*address) for _ in range(500)]
        for number, stream in enumerate(streams):
            await stream.send_all(b"%d" % number)
        for number, stream in enumerate(streams):
            assert await stream.receive_some() == b"%d" % number
        for stream in streams:
            await stream.aclose()
