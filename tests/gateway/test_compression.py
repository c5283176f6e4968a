"""permessage-deflate (RFC 7692) on a whole gateway: what is compressed, what is not, and what a bomb costs."""

import sys
import zlib
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import trio

from protocol.codec import Codec
from protocol.events import ServerMessage
from tests.helpers.contract import check_messages
from tests.helpers.crashes import Site
from tests.helpers.frames import Op, ServerFrame, client_frame
from tests.helpers.gateways import running_gateway
from tests.helpers.peers import Peer, memory_kb, open_peer
from tests.helpers.wire import open_wire

OFFER: Final = "permessage-deflate; client_max_window_bits"
FAST: Final[dict[str, Any]] = {"sim__tokens_per_s": 2000, "sim__step_s": 0.01}
MIB: Final = 1 << 20


async def hatch_to_its_end(peer: Peer) -> tuple[list[ServerFrame], list[dict[str, Any]]]:
    """All data frames of one hatch, and all messages in them."""
    await peer.send({"type": "start", "id": 1, "hatch": {"prompt": "a fox"}})
    frames: list[ServerFrame] = []
    messages: list[dict[str, Any]] = []
    while not any(message["type"] == "end" for message in messages):
        frame = await peer.frame()
        frames.append(frame)
        messages += peer.decoded(frame)
    return frames, messages


@pytest.mark.parametrize("codec", Codec, ids=lambda codec: codec.name)
async def test_batches_are_compressed_where_it_is_configured_and_offered(tmp_path: Path, codec: Codec) -> None:
    async with running_gateway(tmp_path, wire__deflate=True, **FAST) as gateway:
        async with open_peer(gateway.url, codec, extensions=OFFER) as peer:
            assert b"\r\nSec-WebSocket-Extensions: permessage-deflate" in peer.head
            assert b"server_no_context_takeover" in peer.head
            frames, messages = await hatch_to_its_end(peer)
        check_messages([msgspec.convert(m, ServerMessage) for m in messages], messages[0]["session"])
        packed = [frame for frame in frames if frame.rsv]
        assert packed
        for frame in frames:
            assert frame.rsv in (0, 0b100)
            assert frame.rsv == 0 or len(peer.decoded(frame)) > 1, "never a lone event"
        said = len(b"".join(msgspec.json.encode(peer.decoded(frame)) for frame in packed))
        assert sum(len(frame.payload) for frame in packed) < said * 0.7
        async with open_peer(gateway.url, codec) as plain:  # in the same gateway
            assert b"Extensions" not in plain.head
            assert not any(frame.rsv for frame in (await hatch_to_its_end(plain))[0])


async def test_nothing_is_compressed_unless_configured(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, **FAST) as gateway, open_peer(gateway.url, extensions=OFFER) as peer:
        assert b"Extensions" not in peer.head
        assert not any(frame.rsv for frame in (await hatch_to_its_end(peer))[0])


async def test_a_compressed_command_is_understood(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path, wire__deflate=True) as gateway,
        open_peer(gateway.url, extensions=OFFER) as peer,
    ):
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        said = packer.compress(b'{"type":"ping","id":"packed"}') + packer.flush(zlib.Z_SYNC_FLUSH)
        await peer.stream.send_all(client_frame(Op.TEXT, said[:-4], rsv=0b100))
        assert (await peer.answer("packed"))["type"] == "pong"


def bomb(mebibytes: int) -> bytes:
    """So many MiB of zeros, packed about a thousand to one."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    packer.compress(b"")
    return (packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)) * mebibytes


def in_halves(packed: bytes) -> bytes:
    half = len(packed) // 2
    return client_frame(Op.TEXT, packed[:half], fin=False, rsv=0b100) + client_frame(Op.CONT, packed[half:])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_bomb_of_a_gigabyte_costs_1009_and_no_memory(tmp_path: Path) -> None:
    packed = bomb(1000)
    assert MIB < len(packed) + 64 * 1024 < 2 * MIB
    environ = {"HATCHERY_WIRE_DEFLATE": "true", "HATCHERY_WIRE_MESSAGE_BYTES": str(2 * MIB)}
    site = Site(tmp_path, environ, "--llm", "sim", "--image", "sim")
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            child = await nursery.start(site.run)
            async with open_wire(site.url) as neighbour:
                before = memory_kb(child.process.pid)
                for _ in range(5):
                    await explode(site, packed)
                assert memory_kb(child.process.pid, "VmHWM") - before < 40 * 1024  # some times a message, no gigabyte
                assert (await neighbour.ask("ping"))["type"] == "pong"
            nursery.cancel_scope.cancel()


async def explode(site: Site, packed: bytes) -> None:
    for frame in (client_frame(Op.TEXT, packed, rsv=0b100), in_halves(packed)):
        async with open_peer(site.url, extensions=OFFER) as peer:
            await peer.stream.send_all(frame)
            assert await peer.close_code() == 1009
