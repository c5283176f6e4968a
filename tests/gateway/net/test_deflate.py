import struct
import zlib

import trio
import trio.lowlevel
from websockets.frames import Opcode
from websockets.trio.client import connect

from gateway.net.websocket import WebSocket, WebSocketLimits, frame
from tests.helpers.sockets import (
    HANDSHAKE,
    echo,
    handshake,
    masked,
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


async def test_a_smaller_window_than_the_shared_frames_means_no_compression() -> None:
    deflates: list[bool] = []

    async def note(websocket: WebSocket) -> None:
        deflates.append(websocket.deflate)

    offer = HANDSHAKE + b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n\r\n"
    await handshake(welcome(note), offer, DEFLATE)
    await handshake(welcome(note), HANDSHAKE + b"\r\n", DEFLATE)
    assert deflates == [False, False]


async def test_a_compressed_bomb_is_too_big() -> None:
    compressor = zlib.compressobj(9, wbits=-15)
    bomb = compressor.compress(bytes(50_000_000)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < 100_000
    async with over_tcp(welcome(echo), DEFLATE) as address, await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(HANDSHAKE + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
        await stream.receive_some()
        packed = bytearray(masked(Opcode.BINARY, bomb[:-4]))
        packed[0] |= 0x40  # RSV1: compressed
        await stream.send_all(packed)
        assert bytes(await stream.receive_some())[2:4] == struct.pack("!H", 1009)
