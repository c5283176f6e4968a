"""Clients whose frames come in crumbs, in floods, too large, too slowly, or just as the connection ends."""

import contextlib
import itertools
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import structlog.testing
import trio

from gateway.serve import Gateway
from protocol.events import ServerMessage
from tests.helpers.contract import check_messages
from tests.helpers.frames import Op, client_frame, close_frame
from tests.helpers.gateways import surviving_gateway
from tests.helpers.peers import HELLO, HungUp, Peer, open_peer
from tests.helpers.wire import open_wire

PING: Final = {"type": "ping", "id": "p"}
LIMIT: Final = 64 * 1024
PONG_S: Final = 1.0  # on a machine that runs other tests as well


def in_crumbs(value: Any, *between: bytes) -> bytes:
    """A message in fragments of one byte, with these frames between any two."""
    data = msgspec.json.encode(value)
    parts = [
        client_frame(Op.CONT if at else Op.TEXT, data[at : at + 1], fin=at == len(data) - 1) for at in range(len(data))
    ]
    return b"".join(between).join(parts)


async def until_alone(gateway: Gateway) -> None:
    """Wait until nobody but the neighbour is connected."""
    with trio.fail_after(5):
        while len(gateway.services.hub.clients) > 1:  # noqa: ASYNC110 - no event tells of it
            await trio.sleep(0.01)


async def pongs_within(gateway: Gateway, bound_s: float) -> None:
    """Somebody else is served meanwhile."""
    async with open_wire(gateway.url) as other:
        for _ in range(10):
            began = trio.current_time()
            await other.ask("ping")
            assert trio.current_time() - began < bound_s


# --- fragments


async def test_commands_in_crumbs_are_understood(tmp_path: Path) -> None:
    async with surviving_gateway(tmp_path) as gateway, open_peer(gateway.url, greet=False) as peer:
        await peer.stream.send_all(in_crumbs(HELLO, client_frame(Op.PONG)))
        assert (await peer.answer("hello"))["type"] == "welcome"
        await peer.stream.send_all(in_crumbs(PING, client_frame(Op.PING, b"?")))
        answers = [await peer.frame() for _ in range(len(msgspec.json.encode(PING)))]
        assert [answer.opcode for answer in answers] == [Op.PONG] * (len(answers) - 1) + [Op.TEXT]


@pytest.mark.parametrize("crumb", [b"", b"x", b"x" * 1000], ids=len)
async def test_fragments_without_end_cost_one_connection_at_most(tmp_path: Path, crumb: bytes) -> None:
    async with surviving_gateway(tmp_path, wire__message_bytes=LIMIT) as gateway, open_peer(gateway.url) as peer:
        await peer.stream.send_all(client_frame(Op.TEXT, b"[", fin=False))
        flood = client_frame(Op.CONT, crumb, fin=False) * (LIMIT // max(len(crumb), 10) + 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pongs_within, gateway, 0.5)
            with contextlib.suppress(trio.BrokenResourceError):  # told before all was sent
                await peer.stream.send_all(flood + client_frame(Op.CONT, b"x" * LIMIT))
            assert await peer.close_code() in (1009, None)
        await until_alone(gateway)


async def test_a_message_at_the_limit_is_read_and_one_over_it_is_not(tmp_path: Path) -> None:
    async with surviving_gateway(tmp_path, wire__message_bytes=LIMIT) as gateway:
        ping = msgspec.json.encode(PING)
        for size, code in ((LIMIT, 1000), (LIMIT + 1, 1009)):
            async with open_peer(gateway.url) as peer:
                await peer.stream.send_all(client_frame(Op.TEXT, ping.ljust(size)))
                if code == 1000:
                    assert (await peer.answer("p"))["type"] == "pong"
                    await peer.stream.send_all(close_frame(1000))
                assert await peer.close_code() == code


# --- pace


async def test_a_flood_of_pings_holds_nobody_up(tmp_path: Path) -> None:
    sent = 0
    async with surviving_gateway(tmp_path) as gateway, open_peer(gateway.url) as peer:

        async def flood() -> None:
            nonlocal sent
            pings = client_frame(Op.PING, b"x" * 125) * 500
            with contextlib.suppress(trio.BrokenResourceError):
                while True:  # and never reads
                    await peer.stream.send_all(pings)
                    sent += 500

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            await pongs_within(gateway, PONG_S)
            nursery.cancel_scope.cancel()
        assert sent > 1000


async def test_a_slow_writer_is_understood_in_the_end(tmp_path: Path) -> None:
    async with surviving_gateway(tmp_path, server__heartbeat_s=0.3) as gateway, open_peer(gateway.url) as peer:
        frame = client_frame(Op.TEXT, msgspec.json.encode(PING))
        for at in range(len(frame)):
            await peer.stream.send_all(frame[at : at + 1])
            await trio.sleep(0.03)  # slower than two heartbeats altogether, but a sign of life each time
        assert (await peer.answer("p"))["type"] == "pong"


async def test_a_slow_reader_is_told_all_that_is_reliable(tmp_path: Path) -> None:
    async with surviving_gateway(tmp_path, wire__outbox_bytes=20_000) as gateway, open_peer(gateway.url) as peer:
        await peer.send(*({"type": "start", "id": n, "hatch": {"prompt": f"number {n}"}} for n in range(20)))
        heard: list[dict[str, Any]] = []
        while sum(is_last(message) for message in heard) < 20:
            heard += await peer.messages()
            await trio.sleep(0.005)
        typed = [msgspec.convert(message, ServerMessage) for message in heard]
        for session in {message["session"] for message in heard if "session" in message}:
            check_messages(typed, session)


def is_last(message: dict[str, Any]) -> bool:
    return message["type"] == "end" or (message["type"] == "snapshot" and "end" in message)


# --- races at the end


async def leave(peer: Peer, how: str) -> None:
    """End a connection in one of many ways."""
    match how:
        case "close":
            await peer.stream.send_all(close_frame(1000))
        case "close, and talk on":
            await peer.stream.send_all(close_frame(1000) + peer.encoded(PING) * 100)
        case "close and reset":
            await peer.stream.send_all(close_frame(1000))
            peer.reset()
        case "half-close":
            await peer.stream.send_eof()
        case "close after half a frame":
            await peer.stream.send_all(peer.encoded(PING)[:5] + close_frame(1000))
            await peer.stream.send_eof()
        case "two closes":
            await peer.stream.send_all(close_frame(1000) + close_frame(4000))
        case _:
            peer.reset()


WAYS: Final = (
    "close", "close, and talk on", "close and reset", "half-close", "close after half a frame", "two closes", "reset",
)  # fmt: skip


async def test_however_clients_leave_in_mid_stream_nothing_of_them_stays(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        async with surviving_gateway(tmp_path) as gateway:
            for how, told in itertools.product(WAYS, range(1, 8, 3)):  # frames: further and further into its hatch
                async with open_peer(gateway.url) as peer:
                    await peer.send({"type": "start", "id": 1, "hatch": {"prompt": "left behind"}})
                    for _ in range(told):
                        if any(is_last(message) for message in await peer.messages()):
                            break
                    await leave(peer, how)
            await until_alone(gateway)
            async with open_wire(gateway.url) as wire:
                left = (await wire.ask("list"))["items"]
                assert len(left) == 3 * len(WAYS) + 1, "a hatch outlives whoever started it"
                for item in left:
                    await wire.ask("watch", session=item["session"])
                    assert (await wire.end(item["session"]))["outcome"] == "done"
    assert [entry for entry in logs if entry["log_level"] in ("warning", "error")] == []


async def test_both_sides_close_at_once(tmp_path: Path) -> None:
    async with surviving_gateway(tmp_path, server__bad_messages=3) as gateway:
        for behind in range(8):  # our close comes sooner or later than the gateway's own
            async with open_peer(gateway.url) as peer:
                bad = client_frame(Op.TEXT, b"{")
                await peer.stream.send_all(bad * behind + close_frame(1000) + bad * (8 - behind))
                assert await peer.close_code() in (1000, 4500)
                with pytest.raises(HungUp):
                    await peer.frame()
        await until_alone(gateway)
