"""What a gateway consists of, built from one configuration and wired together."""

import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from random import Random, SystemRandom

import msgspec
import trio

from actors.artifacts import ArtifactStore
from actors.eventlog import MemoryLog
from actors.hatch import HatchLimits, Workshop
from actors.llm.actor import WritingLimits
from actors.slots import Slots
from gateway.admission import HatchBounds
from gateway.capability import Signer
from gateway.config import Config
from gateway.dialogue import DialogueLimits, Reception
from gateway.engines import choose_image, choose_llm
from gateway.flusher import Flusher, FlusherLimits
from gateway.hub import Hub
from gateway.sessions import Sessions
from gateway.ticker import Ticker
from protocol.events import Limits
from protocol.keyring import Keyring
from protocol.outbox import OutboxLimits
from protocol.restart import RestartPolicy


class Services(msgspec.Struct, frozen=True):
    """The running parts that connections and requests need."""

    sessions: Sessions
    hub: Hub
    reception: Reception
    flusher: Flusher
    artifacts: ArtifactStore
    signer: Signer


@asynccontextmanager
async def open_services(
    config: Config,
    *,
    environ: Mapping[str, str] = os.environ,
    random: Random | None = None,
    now_s: Callable[[], float] = time.time,
) -> AsyncIterator[Services]:
    """Everything but the listener. When the block ends, hatches that still run are cancelled, each with its `end`.

    `now_s` is the wall clock in seconds since 1970. Raises ConfigError.
    """
    signer = Signer(secrets.token_bytes(32), config.hatch.artifact_url_s, now_s)
    ticker = Ticker()
    flusher = Flusher(ticker, FlusherLimits(config.wire.tick_ms / 1000, config.wire.stall_s))
    hub = Hub(flusher, OutboxLimits(config.wire.outbox_bytes, config.wire.frame_bytes), signer.sign)
    artifacts = ArtifactStore(config.data / "artifacts")
    workshop = Workshop(
        llm=await choose_llm(config),
        llm_slots=Slots(config.llm.slots),
        image=choose_image(config, artifacts, environ),
        render_slots=Slots(config.image.slots),
        eventlog=MemoryLog(hub.publish, retained=config.hatch.retained),
        limits=_hatch_limits(config),
    )
    async with trio.open_nursery() as engine_room:
        await engine_room.start(ticker.run)
        await engine_room.start(flusher.run)
        async with trio.open_nursery() as hatches:
            sessions = Sessions(
                hatches,
                workshop=workshop,
                hub=hub,
                keyring=Keyring(
                    kept_s=config.hatch.key_s, tombstone_s=config.hatch.tombstone_s, capacity=config.hatch.retained
                ),
                ticker=ticker,
                bounds=_hatch_bounds(config),
                capacity=config.hatch.running,
                random=random or SystemRandom(),
                now_ms=lambda: int(now_s() * 1000),
            )
            reception = Reception(
                sessions=sessions,
                hub=hub,
                ticker=ticker,
                limits=_dialogue_limits(config),
                server=f"hatchery/{version('hatchery')}",
            )
            yield Services(sessions, hub, reception, flusher, artifacts, signer)
            hatches.cancel_scope.cancel()
        engine_room.cancel_scope.cancel()


def _hatch_limits(config: Config) -> HatchLimits:
    llm = config.llm
    return HatchLimits(
        whole_s=config.hatch.whole_s,
        writing=WritingLimits(first_byte_s=llm.first_byte_s, gap_s=llm.gap_s, whole_s=llm.whole_s),
        restarts=RestartPolicy(intensity=config.hatch.restarts),
    )


def _hatch_bounds(config: Config) -> HatchBounds:
    return HatchBounds(
        prompt_chars=config.hatch.prompt_chars, pixels=config.image.max_pixels, steps=config.image.max_steps
    )


def _dialogue_limits(config: Config) -> DialogueLimits:
    bounds = _hatch_bounds(config)
    client = Limits(
        message_bytes=config.wire.message_bytes,
        prompt_chars=bounds.prompt_chars,
        pixels=bounds.pixels,
        steps=bounds.steps,
    )
    server = config.server
    return DialogueLimits(
        hello_s=server.hello_s, heartbeat_s=server.heartbeat_s, bad_messages=server.bad_messages, client=client
    )
