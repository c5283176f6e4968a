import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.net.memory import memory_pair
from gateway.net.transport import RECEIVE_BYTES, PeerGone, SocketTransport, Transport

Pair = tuple[Transport, Transport]


def socket_pair() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, peer = listening.accept()
    client.setblocking(False)
    server.setblocking(False)
    return SocketTransport(client, server.getsockname()), SocketTransport(server, peer)


def named_memory_pair() -> Pair:
    return memory_pair(client=("192.0.2.1", 50000), server=("192.0.2.2", 80))


@pytest.fixture(params=[named_memory_pair, socket_pair], ids=["memory", "socket"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    make: Callable[[], Pair] = request.param
    with ExitStack() as stack:
        ends = make()
        for end in ends:
            stack.callback(end.abort)
        yield ends


async def read_all(transport: Transport) -> bytes:
    received = b""
    while data := await transport.receive():
        received += data
    return received


def fill(transport: Transport) -> int:
    total = 0
    while sent := transport.try_send(b"x" * 65536):
        total += sent
    return total


async def send_forever(transport: Transport) -> None:
    while True:
        transport.try_send(b"x")
        await trio.sleep(0.001)


async def test_bytes_go_both_ways_and_end(pair: Pair) -> None:
    client, server = pair
    await client.send_all(b"question", 1)
    assert await server.receive() == b"question"
    assert server.try_send(b"answer") == 6
    server.send_eof()
    assert await read_all(client) == b"answer"
    await client.send_all(b"still heard", 1)
    assert await server.receive() == b"still heard"


async def test_one_read_is_bounded(pair: Pair) -> None:
    client, server = pair
    assert client.try_send(b"x" * 3 * RECEIVE_BYTES) == 3 * RECEIVE_BYTES
    with trio.fail_after(5):
        sizes = [len(await server.receive()) for _ in range(3)]
    assert sizes[0] == RECEIVE_BYTES
    assert max(sizes) == RECEIVE_BYTES


async def test_a_full_stream_takes_nothing_until_it_is_read(pair: Pair) -> None:
    client, server = pair
    total = fill(client)
    assert total > 0
    assert client.try_send(b"y") == 0
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.wait_writable)
            while total > 0:
                total -= len(await server.receive())
    assert client.try_send(b"y") == 1
    assert await server.receive() == b"y"


async def test_send_all_delivers_more_than_fits(pair: Pair) -> None:
    client, server = pair
    payload = bytes(range(256)) * 64 * 1024
    received = b""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, payload, 10)
            chunks = bytearray()
            while len(chunks) < len(payload):
                chunks += await server.receive()
            received = bytes(chunks)
    assert received == payload


async def test_a_stuck_peer_times_the_write_out(pair: Pair) -> None:
    client, server = pair
    with trio.fail_after(5), pytest.raises(PeerGone, match="no byte taken"):
        await client.send_all(b"x" * 64 * 1024 * 1024, 0.05)
    with trio.fail_after(5), pytest.raises(PeerGone):  # the connection was given up
        await read_all(server)
    with pytest.raises(PeerGone):
        client.try_send(b"x")


async def test_a_slow_peer_that_goes_on_reading_is_not_timed_out(autojump_clock: MockClock) -> None:
    client, server = memory_pair(capacity=100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, b"x" * 1000, 10)
        received = 0
        while received < 1000:
            await trio.sleep(9)
            received += len(await server.receive())
    assert trio.current_time() > 80


async def test_close_delivers_what_was_written_past_unread_bytes(pair: Pair) -> None:
    client, server = pair
    await client.send_all(b"a request that nobody reads", 1)
    await server.send_all(b"answer", 1)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.close, 4)
            assert await read_all(client) == b"answer"
            client.release()


async def test_close_gives_up_on_a_peer_that_never_hangs_up(pair: Pair) -> None:
    client, server = pair
    with trio.fail_after(5):
        await server.close(0.05)
        with pytest.raises(PeerGone):
            await send_forever(client)


async def test_close_is_polite_and_bounded_when_cancelled(pair: Pair) -> None:
    client, server = pair
    await server.send_all(b"answer", 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.close, 0.2)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True), trio.fail_after(5):
            await trio.sleep(0.01)
            assert await read_all(client) == b"answer"
    with trio.fail_after(5), pytest.raises(PeerGone, match="closed here"):
        await server.receive()


async def test_abort_resets_the_peer_and_wakes_whoever_waits_here(pair: Pair) -> None:
    client, server = pair
    fill(server)
    woken = []

    async def expect_gone(wait: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(PeerGone, match="closed here"):
            await wait()
        woken.append(wait)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_gone, server.receive)
            nursery.start_soon(expect_gone, server.wait_writable)
            await wait_all_tasks_blocked()
            server.abort()
        with pytest.raises(PeerGone):
            await read_all(client)
    assert len(woken) == 2
    server.abort()
    server.release()


async def test_a_write_to_a_peer_that_is_gone_says_so(pair: Pair) -> None:
    client, server = pair
    client.abort()
    with trio.fail_after(5):
        with pytest.raises(PeerGone):
            await server.receive()
        with pytest.raises(PeerGone):
            server.try_send(b"x")
        with pytest.raises(PeerGone):
            server.send_eof()


async def test_a_cancelled_receive_loses_nothing(pair: Pair) -> None:
    client, server = pair
    with trio.move_on_after(0.01):
        await server.receive()
    await client.send_all(b"late", 1)
    assert await server.receive() == b"late"


async def test_a_cancel_that_races_the_data_loses_nothing(pair: Pair) -> None:
    client, server = pair
    received = b""
    for number in range(200):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def send_and_cancel(data: bytes = bytes([number]), scope: trio.CancelScope = scope) -> None:
                    client.try_send(data)
                    if data[0] % 2:
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                nursery.start_soon(send_and_cancel)
                received += await server.receive()
    client.send_eof()
    received += await read_all(server)
    assert received == bytes(range(200))


async def test_both_ends_know_the_addresses(pair: Pair) -> None:
    client, server = pair
    assert client.local == server.peer
    assert client.peer == server.local
