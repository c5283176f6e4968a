import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from gateway.serve import Gateway
from tests.helpers.contract import check_messages
from tests.helpers.gateways import FAST, running_gateway, surviving_gateway
from tests.helpers.wire import open_wire

SLOW_DRAWING: dict[str, Any] = FAST | {"sim__step_s": 30}
HELLO = {"type": "hello", "id": 1}


@asynccontextmanager
async def open_stream(gateway: Gateway, *, receive_bytes: int | None = None) -> AsyncIterator[trio.SocketStream]:
    """A bare connection."""
    host, port = gateway.url.removeprefix("http://").rsplit(":", 1)
    sock = trio.socket.socket()
    if receive_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    await sock.connect((host, int(port)))
    async with trio.SocketStream(sock) as stream:
        yield stream


def upgrade(gateway: Gateway) -> bytes:
    protocol = ClientProtocol(parse_uri(gateway.url.replace("http", "ws") + "/v1/ws"))
    protocol.send_request(protocol.connect())
    return b"".join(protocol.data_to_send())


def masked(*messages: Any) -> bytes:
    return b"".join(Frame(Opcode.TEXT, msgspec.json.encode(message)).serialize(mask=True) for message in messages)


async def read_head(stream: trio.SocketStream) -> bytes:
    """The handshake's response; whatever came behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some()
    assert data.startswith(b"HTTP/1.1 101 ")
    return data.partition(b"\r\n\r\n")[2]


async def close_code(stream: trio.SocketStream, data: bytes = b"") -> int | None:
    """The code with which the gateway closes, after whatever else it says; None if it hangs up without one."""
    client = ClientProtocol(parse_uri("ws://localhost/v1/ws"), state=OPEN)
    with contextlib.suppress(trio.BrokenResourceError):
        while True:
            client.receive_data(data)
            for event in client.events_received():
                if isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
                    return int.from_bytes(event.data[:2], "big")
            data = await stream.receive_some()
            if not data:
                break
    return None


def reset(stream: trio.SocketStream) -> None:
    """Hang up without a word: the gateway gets a RST."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


def start(prompt: str, id_: int, **fields: Any) -> dict[str, Any]:
    return {"type": "start", "id": id_, "hatch": {"prompt": prompt}, **fields}


async def test_frames_that_come_with_the_upgrade_are_taken(tmp_path: Path) -> None:
    async with surviving_gateway(tmp_path) as gateway, open_stream(gateway) as stream:
        await stream.send_all(upgrade(gateway) + masked(HELLO, {"type": "ping", "id": 2}))
        rest = await read_head(stream)
        while rest.count(b"pong") == 0:
            rest += await stream.receive_some()
        assert b'"type":"welcome"' in rest


@pytest.mark.parametrize("garbage", [b"\x00\x00", b"\xff" * 1000, b"GET / HTTP/1.1\r\n\r\n", b"\x81\x05hello"])
async def test_trailing_bytes_that_are_no_frames_cost_one_connection(tmp_path: Path, garbage: bytes) -> None:
    async with surviving_gateway(tmp_path) as gateway, open_stream(gateway) as stream:
        await stream.send_all(upgrade(gateway) + garbage)
        assert await close_code(stream, await read_head(stream)) == 1002


@pytest.mark.parametrize("request_", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
    b"\r\n\r\n\r\n",
    b"GET\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.9\r\n",
    b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"POST /v1/hatches HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 200_000,
    b"\x00" * 100_000,
])  # fmt: skip
async def test_what_is_no_good_request_is_refused(tmp_path: Path, request_: bytes) -> None:
    async with surviving_gateway(tmp_path) as gateway, open_stream(gateway) as stream:
        answer = b""
        try:
            await stream.send_all(request_)
            await stream.send_eof()
            while data := await stream.receive_some():
                answer += data
        except trio.BrokenResourceError:
            pass
        assert not answer or answer.startswith(b"HTTP/1.1 4")


async def test_a_half_open_socket_is_let_go(tmp_path: Path) -> None:
    async with surviving_gateway(tmp_path, server__heartbeat_s=0.2) as gateway, open_stream(gateway) as stream:
        await stream.send_all(upgrade(gateway) + masked(HELLO))
        assert await close_code(stream, await read_head(stream)) == 4001  # it hears, and says nothing more


@pytest.mark.parametrize("polite", [True, False], ids=["eof", "reset"])
@pytest.mark.parametrize("cut", [1, 3, 10])
async def test_a_connection_that_ends_in_mid_frame(tmp_path: Path, polite: bool, cut: int) -> None:
    async with surviving_gateway(tmp_path) as gateway, open_stream(gateway) as stream:
        await stream.send_all(upgrade(gateway) + masked(HELLO) + masked(start("never", 2))[:cut])
        await read_head(stream)
        if polite:
            await stream.send_eof()
            assert await close_code(stream) is None
        else:
            reset(stream)
        async with open_wire(gateway.url) as wire:
            assert [item["prompt"] for item in (await wire.ask("list"))["items"]] == ["beside the attack"]


async def test_a_reset_in_the_handshake(tmp_path: Path) -> None:
    async with surviving_gateway(tmp_path) as gateway:
        for _ in range(20):
            async with open_stream(gateway) as stream:
                await stream.send_all(upgrade(gateway))
                reset(stream)


async def test_a_hatch_outlives_the_client_that_started_it(tmp_path: Path) -> None:
    async with surviving_gateway(tmp_path, sim__tokens_per_s=200) as gateway, open_wire(gateway.url) as wire:
        async with open_stream(gateway) as stream:
            await stream.send_all(upgrade(gateway) + masked(HELLO, start("an orphan", 2)))
            heard = await read_head(stream)
            while b'"type":"text"' not in heard:
                heard += await stream.receive_some()
            reset(stream)
        (orphan,) = [item for item in (await wire.ask("list"))["items"] if item["prompt"] == "an orphan"]
        await wire.ask("watch", session=orphan["session"])
        assert (await wire.end(orphan["session"]))["outcome"] == "done"
        check_messages(wire.typed(), orphan["session"])


async def test_a_hatch_that_is_to_end_with_its_client_does(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, **SLOW_DRAWING) as gateway, open_wire(gateway.url) as wire:
        async with open_stream(gateway) as stream:
            tied = start("tied", 2, on_disconnect="cancel", grace_s=0.2)
            await stream.send_all(upgrade(gateway) + masked(HELLO, tied))
            heard = await read_head(stream)
            while b'"state":"drawing"' not in heard:
                heard += await stream.receive_some()
            reset(stream)
        (item,) = (await wire.ask("list"))["items"]
        await wire.ask("watch", session=item["session"])  # in time
        await trio.sleep(0.5)
        assert (await wire.ask("list"))["items"][0]["state"] == "drawing"
        await wire.ask("unwatch", session=item["session"])
        await trio.sleep(0.5)
        assert (await wire.ask("list"))["items"][0]["state"] == "cancelled"


async def test_without_grace_a_hatch_lives_as_long_as_it_is_watched(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, **SLOW_DRAWING) as gateway, open_wire(gateway.url) as other:
        async with open_wire(gateway.url) as wire:
            session = await wire.start(on_disconnect="cancel", grace_s=0)
            await wire.until(lambda message: message.get("state") == "drawing")
        assert (await other.ask("watch", session=session))["type"] == "snapshot"
        assert (await other.end(session))["outcome"] == "cancelled"


async def test_a_stuck_reader_is_closed_and_harms_nobody(tmp_path: Path) -> None:
    bound = 50_000
    options = {"wire__stall_s": 0.5, "wire__outbox_bytes": bound, "sim__tokens_per_s": 300, "sim__step_s": 0.02}
    async with surviving_gateway(tmp_path, **options) as gateway, open_stream(gateway, receive_bytes=2048) as stream:
        await stream.send_all(upgrade(gateway) + masked(HELLO))
        rest = await read_head(stream)
        await stream.send_all(masked([start(f"unread {n}", 100 + n) for n in range(20)]))
        clients, ids, fullest = gateway.services.hub.clients, itertools.count(1000), 0
        while len(clients) > 1:  # there is the neighbour; the kernel holds some megabytes for us
            await stream.send_all(masked([{"type": "list", "id": next(ids), "limit": 1000} for _ in range(30)]))
            await trio.sleep(0.01)
            fullest = max(fullest, *(client.outbox.bytes for client in clients))
        assert fullest <= bound
        assert await close_code(stream, rest) == 4000
        async with open_wire(gateway.url) as wire:
            items = (await wire.ask("list"))["items"]
            assert len([item for item in items if item["prompt"].startswith("unread")]) == 20
            for item in items:
                await wire.ask("watch", session=item["session"])
                assert (await wire.end(item["session"]))["outcome"] == "done"


async def test_a_frame_full_of_listings_is_answered_and_does_not_hold_up_others(tmp_path: Path) -> None:
    options = {"sim__step_s": 0.001, "sim__tokens_per_s": 100_000, "wire__outbox_bytes": 200_000}
    async with surviving_gateway(tmp_path, **options) as gateway, open_wire(gateway.url) as other:
        for number in range(300):
            await other.start(f"number {number}", watch=False)
        async with open_wire(gateway.url) as wire:
            await wire.send(*[{"type": "list", "id": number, "limit": 1000} for number in range(500)])
            await wire.answer(0)
            began = trio.current_time()
            await other.ask("ping")
            assert trio.current_time() - began < 0.1
            assert len((await wire.answer(499))["items"]) > 300  # many times the outbox: it reads, so it is not slow


@pytest.mark.parametrize("begin", [b"", b"GET /v1/ws HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "])
async def test_slow_loris_costs_only_itself(tmp_path: Path, begin: bytes) -> None:
    async with surviving_gateway(tmp_path, server__max_connections=60) as gateway, trio.open_nursery() as nursery:

        async def drip() -> None:
            async with open_stream(gateway) as stream:
                await stream.send_all(begin)
                for _ in range(20):
                    await trio.sleep(0.05)
                    await stream.send_all(b"x")

        for _ in range(50):
            nursery.start_soon(drip)
        async with open_wire(gateway.url) as wire:
            session = await wire.start()
            assert (await wire.end(session))["outcome"] == "done"


async def test_a_house_that_is_full_says_so_and_has_room_again(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, **FAST, server__max_connections=5) as gateway:
        async with trio.open_nursery() as nursery:
            full = trio.Event()

            async def occupy() -> None:
                async with open_stream(gateway):
                    await full.wait()

            for _ in range(5):
                nursery.start_soon(occupy)
            await trio.sleep(0.2)
            async with open_stream(gateway) as stream:
                answer = b""
                while data := await stream.receive_some():
                    answer += data
                assert answer.startswith(b"HTTP/1.1 503 ")
            full.set()
        await trio.sleep(0.2)
        async with open_wire(gateway.url) as wire:
            assert (await wire.end(await wire.start()))["outcome"] == "done"
