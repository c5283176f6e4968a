"""Ten thousand malformed messages on real connections: the process stays, and nobody else notices."""

import contextlib
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
import trio

from protocol.codec import Codec
from tests.helpers.contract import check_messages
from tests.helpers.crashes import Site
from tests.helpers.frames import Op, client_frame
from tests.helpers.mutants import mutants
from tests.helpers.peers import HungUp, Peer, memory_kb, open_peer
from tests.helpers.wire import Wire, open_wire

FAMILIES: Final = 80  # what is on its way when a connection is closed is never looked at
MALFORMED: Final = 10_000
BUDGET: Final = 500  # bad messages before a connection is closed
FRAMES_AHEAD: Final = 100  # sent before the answers to them are read
PONG_S: Final = 1.0  # on a busy machine; without anybody else it is a millisecond
GROWTH_KB: Final = 8 * 1024
ENVIRON: Final = {
    "HATCHERY_SERVER_BAD_MESSAGES": str(BUDGET),
    "HATCHERY_ACCESS_MESSAGES_PER_S": "1000000",
    "HATCHERY_ACCESS_MESSAGES_BURST": "1000000",
    "HATCHERY_LLM_SLOTS": "100",
    "HATCHERY_IMAGE_SLOTS": "100",
    "HATCHERY_SIM_TOKENS_PER_S": "500",
    "HATCHERY_SIM_STEP_S": "0.05",
}


async def attack(url: str, codec: Codec, payloads: list[bytes]) -> Counter[str]:
    """Send all payloads, over as many connections as it takes; codes of the errors that come back, and of closes."""
    opcode = Op.TEXT if codec is Codec.JSON else Op.BINARY
    left = [client_frame(opcode, payload) for payload in reversed(payloads)]
    heard: Counter[str] = Counter()
    while left:
        async with open_peer(url, codec) as peer:
            try:
                while left:
                    await _provoke(peer, [left.pop() for _ in range(min(FRAMES_AHEAD, len(left)))], heard)
            except HungUp as end:
                heard[f"closed with {end.code}"] += 1
    return heard


async def _provoke(peer: Peer, frames: list[bytes], heard: Counter[str]) -> None:
    with contextlib.suppress(trio.BrokenResourceError):  # what it says last may still be read
        await peer.stream.send_all(b"".join(frames) + peer.encoded({"type": "ping", "id": "through"}))
    while True:
        messages = await peer.messages()
        heard.update(message["code"] for message in messages if message["type"] == "error")
        if any(message["type"] == "pong" and message["id"] == "through" for message in messages):
            return


async def well_behaved(wire: Wire, pongs: list[float]) -> None:
    """Ping until cancelled, and note how long each pong took."""
    while True:
        began = trio.current_time()
        await wire.ask("ping")
        pongs.append(trio.current_time() - began)
        await trio.sleep(0.005)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("codec", Codec, ids=lambda codec: codec.name)
async def test_ten_thousand_malformed_messages(tmp_path: Path, codec: Codec) -> None:
    payloads = mutants(codec, families=FAMILIES)
    site = Site(tmp_path, ENVIRON, "--llm", "sim", "--image", "sim")
    pongs: list[float] = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            child = await nursery.start(site.run)
            async with open_wire(site.url) as neighbour, trio.open_nursery() as beside:
                await attack(site.url, codec, payloads[:2000])  # the first ones warm up
                before = memory_kb(child.process.pid)
                session = await neighbour.start("an undisturbed creature")
                beside.start_soon(well_behaved, neighbour, pongs)
                heard = await attack(site.url, codec, payloads)
                assert (await neighbour.end(session))["outcome"] == "done"
                beside.cancel_scope.cancel()
            check_messages(neighbour.typed(), session)
            async with open_wire(site.url) as after:
                assert (await after.end(await after.start("another creature")))["outcome"] == "done"
            assert memory_kb(child.process.pid) - before < GROWTH_KB
            assert child.process.returncode is None
            assert "Traceback" not in child.err
            nursery.cancel_scope.cancel()
    assert heard["bad_message"] + heard["unknown_type"] >= MALFORMED, heard
    assert {code for code in heard if code.startswith("closed")} == {"closed with 4500"}
    assert "internal" not in heard
    assert len(pongs) > 20
    assert max(pongs) < PONG_S
