"""What a gateway consists of, built from one configuration and wired together."""

import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from random import Random, SystemRandom

import msgspec
import trio

from actors.artifacts import ArtifactStore
from actors.eventlog import Publish
from actors.hatch import HatchLimits, Workshop
from actors.llm.actor import WritingLimits
from actors.llm.backend import LlmBackend
from actors.llm.estimate import LengthHistory
from actors.llm.server import LlmServer
from actors.mflux.engine import FindInput, InputPicture
from actors.slots import Slots
from actors.store.store import Store
from gateway.access.auth import user_of
from gateway.access.capability import Signer
from gateway.access.entrance import Entrance, open_entrance
from gateway.access.quota import Shares
from gateway.config import Config
from gateway.live.admission import HatchBounds
from gateway.live.dialogue import DialogueLimits, Reception
from gateway.live.flusher import Flusher, FlusherLimits
from gateway.live.hub import Hub
from gateway.live.sessions import Sessions
from gateway.live.ticker import Ticker
from gateway.metrics import Metrics
from gateway.painters import open_painter
from gateway.premises import open_log, open_premises
from gateway.rest.eventstream import EventStreams
from gateway.telemetry import HatchLog
from gateway.upkeep import keep_up, retention
from gateway.writers import open_writer
from protocol.events import Limits
from protocol.journal import Entry
from protocol.outbox import OutboxLimits
from protocol.restart import RestartPolicy
from protocol.view import SessionView


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The running parts that connections and requests need."""

    sessions: Sessions
    hub: Hub
    reception: Reception
    flusher: Flusher
    artifacts: ArtifactStore
    signer: Signer
    entrance: Entrance
    metrics: Metrics
    streams: EventStreams
    healthy: Callable[[], bool]
    obstacle: Callable[[], str | None]  # why nobody can write a persona now
    hurry: Callable[[], None]  # no persona is going to be written any more
    store: Store | None  # if sessions are kept on disk


@asynccontextmanager
async def open_services(
    config: Config,
    *,
    environ: Mapping[str, str] = os.environ,
    random: Random | None = None,
    now_s: Callable[[], float] = time.time,
    open_files: int | None = None,
) -> AsyncIterator[Services]:
    """Everything but the listener. When the block ends, hatches that still run are cancelled, each with its `end`.

    `now_s` is the wall clock in seconds since 1970, `open_files` the soft limit of open files to give children, where
    this process has raised its own. Raises ConfigError, inside an ExceptionGroup when it comes from a
    part that is opened after one with a nursery of its own.
    """
    ticker = Ticker()
    flusher = Flusher(ticker, FlusherLimits(config.wire.tick_ms / 1000, config.wire.stall_s))
    artifacts = ArtifactStore(config.data / "artifacts")
    async with AsyncExitStack() as stack:
        premises = await stack.enter_async_context(open_premises(config, open_files))
        keeper = premises.keeper
        signer = Signer(premises.secret, config.hatch.artifact_url_s, now_s)
        entrance = open_entrance(config, premises.secret, now_s)
        hub = Hub(flusher, OutboxLimits(config.wire.outbox_bytes, config.wire.frame_bytes), signer.sign)
        metrics = Metrics()
        publish = _heard_by(hub.publish, metrics.hear, HatchLog().hear)
        log = await stack.enter_async_context(open_log(config, publish, now_s))
        writer = await stack.enter_async_context(open_writer(config, environ, keeper, sleep=ticker.sleep))
        painter = await stack.enter_async_context(
            open_painter(
                config, artifacts, environ, keeper, history=log.history, writer=writer.name, sleep=ticker.sleep
            )
        )
        workshop = Workshop(
            llm=writer,
            llm_slots=Slots(config.llm.slots),
            lengths=await _known_lengths(log.store, writer),
            image=painter,
            render_slots=Slots(config.image.slots),
            eventlog=log.eventlog,
            limits=_hatch_limits(config),
            find_input=None if log.store is None else _input_finder(log.store, artifacts),
        )
        engine_room = await stack.enter_async_context(trio.open_nursery())
        await engine_room.start(ticker.run)
        await engine_room.start(flusher.run)
        hatches = await stack.enter_async_context(trio.open_nursery())
        sessions = Sessions(
            hatches,
            workshop=workshop,
            hub=hub,
            ticker=ticker,
            bounds=_hatch_bounds(config),
            capacity=config.hatch.running,
            queued=config.hatch.queued,
            shares=entrance.shares,
            check_room=partial(_check_room, log.store, entrance.shares),
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
        streams = EventStreams(
            sessions,
            hub,
            ticker,
            heartbeat_s=config.server.heartbeat_s,
            owner_of=user_of,
            place_of=entrance.place_of,
            lasts_s=entrance.lasts_s,
        )
        if log.store is not None:
            log.store.log.on_outage = sessions.give_up
            engine_room.start_soon(keep_up, log.store, retention(config), ticker, config.hatch.upkeep_s)
        await sessions.resume(log.unfinished)
        yield Services(
            sessions=sessions,
            hub=hub,
            reception=reception,
            flusher=flusher,
            artifacts=artifacts,
            signer=signer,
            entrance=entrance,
            metrics=metrics,
            streams=streams,
            healthy=log.healthy,
            obstacle=lambda: writer.obstacle if isinstance(writer, LlmServer) else None,
            hurry=lambda: writer.hurry() if isinstance(writer, LlmServer) else None,
            store=log.store,
        )
        await sessions.stop()
        engine_room.cancel_scope.cancel()


async def _known_lengths(store: Store | None, writer: LlmBackend) -> LengthHistory:
    """How long this writer's personas were before; they are kept with the sessions."""
    if store is None:
        return LengthHistory()
    name = " ".join(filter(None, (writer.maker.engine, writer.maker.model)))
    return LengthHistory(await store.lengths.recent(name), partial(store.lengths.note, name))


def _heard_by(*listeners: Publish) -> Publish:
    """Tell each of them all that is published."""

    def publish(view: SessionView, entries: Sequence[Entry]) -> None:
        for listener in listeners:
            listener(view, entries)

    return publish


async def _check_room(store: Store | None, shares: Shares, owner: str) -> None:
    """Raises QuotaExceeded when the disk has no room for another picture of this owner."""
    if store is not None:
        await store.check_room(owner, shares.of(owner).room)


def _input_finder(store: Store, artifacts: ArtifactStore) -> FindInput:
    async def find(owner: str, upload: str) -> InputPicture:
        picture = (await store.uploads.get(owner, upload)).picture
        return InputPicture(artifacts.path(picture.sha256), picture.width, picture.height)

    return find


def _hatch_limits(config: Config) -> HatchLimits:
    llm = config.llm
    return HatchLimits(
        whole_s=config.hatch.whole_s,
        writing=WritingLimits(first_byte_s=llm.first_byte_s, gap_s=llm.gap_s, whole_s=llm.whole_s),
        restarts=RestartPolicy(intensity=config.hatch.restarts),
        resumes=config.hatch.resume,
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
