import struct

import pytest
import trio
import trio.lowlevel
from trio.testing import wait_all_tasks_blocked
from websockets.frames import Opcode

from gateway.net.frame import frame
from gateway.net.websocket import WebSocket, WebSocketClosed
from tests.helpers.sockets import (
    closing,
    connected,
    echo,
    masked,
)


async def test_text_and_binary_of_every_length() -> None:
    async with connected(echo) as client:
        for length in (0, 1, 125, 126, 127, 65535, 65536, 100_000):
            payload = b"x" * length
            for opcode in (Opcode.TEXT, Opcode.BINARY):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.transport.send_all, masked(opcode, payload), 5)
                    answer = await client.frame()
                assert (answer.opcode, bytes(answer.data)) == (opcode, payload)


async def test_a_frame_cut_anywhere_arrives() -> None:
    message = masked(Opcode.TEXT, "größer".encode())
    async with connected(echo) as client:
        for cut in range(1, len(message)):
            client.transport.try_send(message[:cut])
            await wait_all_tasks_blocked()
            client.transport.try_send(message[cut:])
            assert (await client.frame()).data == "größer".encode()


async def test_fragments_are_put_together_around_a_ping() -> None:
    async with connected(echo) as client:
        text = "größer".encode()
        client.transport.try_send(
            masked(Opcode.TEXT, text[:3], fin=False)  # in the middle of a character
            + masked(Opcode.PING, b"p")
            + masked(Opcode.CONT, b"", fin=False)
            + masked(Opcode.CONT, text[3:])
        )
        pong, message = await client.frame(), await client.frame()
    assert (pong.opcode, pong.data) == (Opcode.PONG, b"p")
    assert (message.opcode, message.data, message.fin) == (Opcode.TEXT, text, True)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(Opcode.TEXT, b"unmasked"), 1002),
        (masked(Opcode.CONT, b"nothing to continue"), 1002),
        (masked(Opcode.TEXT, b"a", fin=False) + masked(Opcode.TEXT, b"b"), 1002),
        (b"\xc1\x80\0\0\0\0", 1002),  # RSV1 without an extension
        (b"\x83\x80\0\0\0\0", 1002),  # reserved opcode
        (masked(Opcode.BINARY, b"x" * 200)[:1] + b"\xff" + (2**62).to_bytes(8, "big"), 1009),
        (masked(Opcode.TEXT, b"x" * 100_001), 1009),
        (masked(Opcode.TEXT, b"x" * 60_000, fin=False) + masked(Opcode.CONT, b"x" * 40_001), 1009),
        (masked(Opcode.TEXT, b"\xff\xfe"), 1007),
        (masked(Opcode.TEXT, b"\xc3", fin=False) + masked(Opcode.CONT, b"("), 1007),
        (masked(Opcode.CLOSE, b"\x03"), 1002),
        (closing(1005), 1002),
        (masked(Opcode.CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
    ],
    ids=[
        "unmasked",
        "nothing to continue",
        "fragment interrupted",
        "RSV1",
        "reserved opcode",
        "announced too long",
        "too long",
        "too long in parts",
        "not UTF-8",
        "not UTF-8 in parts",
        "short close",
        "reserved close code",
        "close reason not UTF-8",
    ],
)
async def test_a_broken_rule_closes_with_its_code(sent: bytes, code: int) -> None:
    ended: list[WebSocketClosed] = []

    async def read(websocket: WebSocket) -> None:
        try:
            await websocket.receive()
        except WebSocketClosed as closed:
            ended.append(closed)
            raise

    async with connected(read) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.transport.send_all, sent + masked(Opcode.TEXT, b"late"), 1)
            assert await client.close_code() == code
        client.transport.send_eof()
        with pytest.raises(EOFError):
            await client.frame()
    assert len(ended) == 1


async def test_what_came_before_the_close_is_still_received() -> None:
    received: list[str | bytes] = []
    done = trio.Event()

    async def read(websocket: WebSocket) -> None:
        try:
            while True:
                received.append(await websocket.receive())
        except WebSocketClosed as closed:
            received.append(f"{closed.code} {closed.reason}")
            done.set()

    async with connected(read) as client:
        bye = masked(Opcode.CLOSE, struct.pack("!H", 4321) + b"bye")
        client.transport.try_send(masked(Opcode.TEXT, b"one") + masked(Opcode.TEXT, b"two") + bye)
        await done.wait()
        assert await client.close_code() == 4321
    assert received == ["one", "two", "4321 bye"]
