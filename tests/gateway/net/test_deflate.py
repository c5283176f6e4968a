import gc
import struct
import tracemalloc
import zlib

import trio
import trio.lowlevel
from websockets.frames import Opcode
from websockets.trio.client import connect

from gateway.net.frame import DEFLATED_BYTES, frame
from gateway.net.transport import Address
from gateway.net.websocket import WebSocket, WebSocketLimits
from tests.helpers.frames import Op, client_frame
from tests.helpers.sockets import (
    HANDSHAKE,
    echo,
    handshake,
    over_tcp,
    url,
    welcome,
)

DEFLATE = WebSocketLimits(message_bytes=100_000, deflate=True)


async def test_deflate_is_off_unless_configured() -> None:
    offer = HANDSHAKE + b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    assert b"permessage-deflate" not in await handshake(welcome(echo), offer)
    assert b"permessage-deflate" in await handshake(welcome(echo), offer, DEFLATE)


async def test_a_client_with_deflate_reads_one_shared_compressed_frame_many_times() -> None:
    shared = frame(Opcode.TEXT, b"hatch" * 1000, deflate=True)
    assert len(shared) < 100

    async def push(websocket: WebSocket) -> None:
        assert websocket.deflate
        for data in (shared, frame(Opcode.TEXT, b"plain"), shared):
            assert websocket.try_write(data)
        await echo(websocket)

    async with over_tcp(welcome(push), DEFLATE) as address, connect(url(address), compression="deflate") as client:
        assert [await client.recv() for _ in range(3)] == ["hatch" * 1000, "plain", "hatch" * 1000]
        await client.send("squeezed" * 1000)
        assert await client.recv() == "squeezed" * 1000


async def test_what_is_short_is_not_worth_compressing() -> None:
    short = b"x" * (DEFLATED_BYTES - 1)
    assert frame(Opcode.TEXT, short, deflate=True) == frame(Opcode.TEXT, short)
    assert len(frame(Opcode.TEXT, short + b"x", deflate=True)) < 50


async def test_a_smaller_window_than_the_shared_frames_means_no_compression() -> None:
    deflates: list[bool] = []

    async def note(websocket: WebSocket) -> None:
        deflates.append(websocket.deflate)

    offer = HANDSHAKE + b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n\r\n"
    await handshake(welcome(note), offer, DEFLATE)
    await handshake(welcome(note), HANDSHAKE + b"\r\n", DEFLATE)
    assert deflates == [False, False]


def bomb(size: int) -> bytes:
    """A binary frame that says it holds so many zeros."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    packed = packer.compress(bytes(size)) + packer.flush(zlib.Z_SYNC_FLUSH)
    return client_frame(Op.BINARY, packed[:-4], rsv=0b100)


async def explode(address: Address, sent: bytes) -> None:
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(HANDSHAKE + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
        await stream.receive_some()
        await stream.send_all(sent)
        assert bytes(await stream.receive_some())[2:4] == struct.pack("!H", 1009)
        await stream.send_eof()
        assert await stream.receive_some() == b""


async def test_a_compressed_bomb_is_too_big() -> None:
    sent = bomb(50_000_000)
    assert len(sent) < 100_000
    async with over_tcp(welcome(echo), DEFLATE) as address:
        await explode(address, sent)


async def test_a_bomb_leaves_nothing_that_waits_for_the_garbage_collector() -> None:
    sent = bomb(50_000_000)
    async with over_tcp(welcome(echo), DEFLATE) as address:
        await explode(address, sent)  # the first one warms up
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            for _ in range(10):
                await explode(address, sent)
            left, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()
    assert left / 10 < 1.5 * DEFLATE.message_bytes  # the packed bytes at most, until the connection itself is collected
