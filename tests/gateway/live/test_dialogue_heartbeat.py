"""Signs of life over a real WebSocket: pings of both kinds, and peers that are silent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from gateway.serve import Gateway
from protocol.codec import Codec
from tests.helpers.dialogues import ALL_WAYS
from tests.helpers.gateways import running_gateway
from tests.helpers.wire import open_wire


@ALL_WAYS
async def test_ping_is_answered_by_pong(gateway: Gateway, library: str, codec: Codec) -> None:
    async with open_wire(gateway.url, codec, library=library) as wire:
        for id_ in (1, "two"):
            assert await wire.ask("ping", id=id_) == {"type": "pong", "id": id_}


class RawClient:
    """Speaks frames by hand, so that it can keep silent."""

    def __init__(self, stream: trio.SocketStream, url: str) -> None:
        self._stream = stream
        self.protocol = ClientProtocol(parse_uri(url.replace("http", "ws") + "/v1/ws"), max_size=None)

    async def connect(self) -> None:
        self.protocol.send_request(self.protocol.connect())
        await self.flush()
        assert isinstance((await self.events())[0], Response)

    async def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                await self._stream.send_all(data)

    async def events(self) -> list[Any]:
        while True:
            self.protocol.receive_data(await self._stream.receive_some())
            if events := self.protocol.events_received():
                return list(events)

    async def frame(self, opcode: Opcode) -> Frame:
        while True:
            for event in await self.events():
                if event.opcode is opcode:
                    assert isinstance(event, Frame)
                    return event


@asynccontextmanager
async def raw_client(gateway: Gateway) -> AsyncIterator[RawClient]:
    host, port = gateway.url.removeprefix("http://").rsplit(":", 1)
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        client = RawClient(stream, gateway.url)
        await client.connect()
        yield client


async def test_a_silent_peer_is_dropped_with_4001_and_a_living_one_is_not(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path, server__heartbeat_s=0.2) as gateway,
        open_wire(gateway.url) as alive,
        raw_client(gateway) as silent,
    ):
        silent.protocol.send_text(b'{"type":"hello","id":1}')
        await silent.flush()
        began = trio.current_time()
        await silent.frame(Opcode.PING)  # and no pong
        close = await silent.frame(Opcode.CLOSE)
        assert int.from_bytes(close.data[:2], "big") == 4001
        assert 0.3 < trio.current_time() - began < 2
        assert (await alive.ask("ping"))["type"] == "pong"


async def test_messages_are_a_sign_of_life_too(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, server__heartbeat_s=0.2) as gateway, raw_client(gateway) as browser:
        browser.protocol.send_text(b'{"type":"hello","id":1}')
        for id_ in range(10):
            await trio.sleep(0.1)
            browser.protocol.send_text(msgspec.json.encode({"type": "ping", "id": id_}))
            await browser.flush()  # nothing is read, so no protocol ping is answered
        while (event := (await browser.events())[-1]).opcode is not Opcode.TEXT:
            assert event.opcode is Opcode.PING


async def test_a_protocol_ping_is_answered_with_its_payload(gateway: Gateway) -> None:
    async with raw_client(gateway) as client:
        client.protocol.send_ping(b"still there?")
        await client.flush()
        assert (await client.frame(Opcode.PONG)).data == b"still there?"
