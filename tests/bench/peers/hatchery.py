"""Hatchery as it serves by default, its sessions driven by one task: events go the way that an actor's go."""

import tempfile
import time
from pathlib import Path

import trio

from actors.eventlog import EventLog
from gateway.access.auth import LOCAL
from gateway.config import Config, HatchConfig, ImageConfig, LlmConfig, ServerConfig
from gateway.serve import open_gateway
from gateway.telemetry import configure_logging
from protocol.commands import HatchRequest
from protocol.journal import SessionRecord
from tests.bench.shape import Shape, asked, finished, pushes, ready, session_name, slots, wait_for_go

HEARTBEAT_S = 600.0  # longer than any run: the crowd does not answer
EVENTS_A_TURN = 50  # pushed before other tasks get their turn


async def _drive(log: EventLog, shape: Shape) -> None:
    if shape.push:
        for number, word in enumerate(pushes(shape)):
            await log.append(word.session, [word])
            if number % EVENTS_A_TURN == 0:
                await trio.lowlevel.checkpoint()
        return
    began = trio.current_time()
    for when, events in slots(shape):
        await trio.sleep_until(began + when)
        for event in events:
            await log.append(event.session, [event])


async def _serve(shape: Shape, data: Path) -> None:
    config = Config(
        server=ServerConfig(port=0, data=str(data), drain_s=0, heartbeat_s=HEARTBEAT_S),
        llm=LlmConfig(engine="sim"),
        image=ImageConfig(engine="sim"),
        hatch=HatchConfig(),
    )
    async with open_gateway(config) as gateway:
        log = gateway.services.sessions.workshop.eventlog
        hatch = HatchRequest(prompt="a shy dragon")
        for number in range(shape.sessions):
            await log.create(
                SessionRecord(
                    session=session_name(number), owner=LOCAL, hatch=hatch, created_at_ms=int(time.time() * 1000)
                )
            )
        ready(int(gateway.url.rpartition(":")[2]))
        await trio.to_thread.run_sync(wait_for_go)
        await _drive(log, shape)
        finished()
        await trio.to_thread.run_sync(wait_for_go)


if __name__ == "__main__":
    configure_logging(verbose=False)
    with tempfile.TemporaryDirectory() as directory:
        trio.run(_serve, asked(), Path(directory))
