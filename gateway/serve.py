"""Start a gateway, say where it listens, and stop it so that every client learns how its hatches ended."""

import ipaddress
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog
import trio
from websockets.frames import CloseCode

from gateway.access.origin import OriginPolicy
from gateway.app import create_app
from gateway.collector import calm_collector
from gateway.config import Config, ConfigError
from gateway.live.doorkeeper import Doorkeeper
from gateway.metrics import Metrics
from gateway.net import listener
from gateway.net.http import serve_http
from gateway.net.problem import Problem
from gateway.net.response import HttpLimits
from gateway.net.upgrade import Admission
from gateway.net.websocket import UpgradeRequest, WebSocket, WebSocketLimits
from gateway.rest.endpoints import all_routes
from gateway.rlimits import raise_open_files
from gateway.services import Services, open_services
from gateway.telemetry import with_request_ids
from protocol.errors import Draining
from protocol.events import GoingAway

log = structlog.get_logger(__name__)

CLOSE_S: Final = 2.0  # for the closing handshake of a WebSocket, if `server.stop_s` leaves as much
STALL_S: Final = 1.0  # without taking a byte, and a client has lost the rest of what it is owed
RECONNECT_AFTER_MS: Final = (500, 3000)
RECONNECTS_PER_S: Final = 1000  # of all clients together, when there are so many that the range must be wider


class Gateway:
    """A gateway that accepts connections at `url`."""

    def __init__(self, url: str, services: Services, accepting: trio.CancelScope, stop_s: float) -> None:
        self.url = url
        self.services = services
        self._accepting = accepting
        self._stop_s = stop_s

    async def drain(self, drain_s: float) -> None:
        """Take no connection and no hatch any more, tell every client, and wait up to `drain_s` seconds for hatches."""
        self._announce(drain_s)
        with trio.move_on_after(drain_s):
            await self.services.sessions.drain()

    async def stop(self) -> None:
        """Cancel what still runs, and let every client know how its hatches ended."""
        if not self.services.sessions.draining:
            self._announce(0)
        log.info("gateway_stops", running=self.services.sessions.running)
        self.services.hurry()
        await self.services.sessions.stop()
        await self.services.flusher.flush(STALL_S)
        with trio.move_on_after(CLOSE_S):
            await self.services.streams.wait_closed()

    def _announce(self, drain_s: float) -> None:
        services = self.services
        log.info("gateway_drains", running=services.sessions.running, within_s=drain_s)
        services.sessions.draining = True
        self._accepting.cancel()
        earliest, latest = RECONNECT_AFTER_MS
        spread = 1000 * len(services.hub.clients) // RECONNECTS_PER_S
        services.hub.broadcast(
            GoingAway(
                deadline_ms=round((drain_s + self._stop_s) * 1000),
                reconnect_after_ms=(earliest, max(latest, earliest + spread)),
            )
        )


@asynccontextmanager
async def open_gateway(
    config: Config, *, environ: Mapping[str, str] = os.environ, open_files: int | None = None
) -> AsyncIterator[Gateway]:
    """A gateway that listens while the block runs; afterwards every hatch has ended and its clients were told.

    Children get `open_files` as their limit of open files, if the process has raised its own.
    Leaving does not wait for hatches, and has closed all connections after `server.stop_s`: call `drain` before to let
    hatches finish. Raises ConfigError, or OSError when the address cannot be bound; either may come inside an
    ExceptionGroup, as from any nursery.
    """
    if not config.access.tokens:
        _refuse_public(config.server.host)
    async with open_services(config, environ=environ, open_files=open_files) as services:
        sockets = await listener.bind(config.server.host, config.server.port)
        port: int = sockets[0].getsockname()[1]
        host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
        policy = OriginPolicy(
            host=host,
            port=port,
            public_urls=config.server.public_urls,
            allowed_origins=config.server.allowed_origins,
        )
        services.metrics.watch(services.hub, services.sessions.workshop)
        services.metrics.watch_loop(services.reception.ticker)
        async with trio.open_nursery() as connections:
            accepting = await connections.start(_accept, sockets, services, policy, config, connections)
            gateway = Gateway(f"http://{host}:{port}", services, accepting, config.server.stop_s)
            log.info("gateway_ready", url=gateway.url)
            try:
                yield gateway
            finally:
                with trio.move_on_after(config.server.stop_s - _close_s(config), shield=True):
                    await gateway.stop()
                connections.cancel_scope.cancel()


async def serve_until_signal(config: Config) -> int:
    """`hatchery serve`: the first SIGTERM or SIGINT drains, a second one does not wait; returns the exit code."""
    open_files = raise_open_files()
    async with trio.open_nursery() as nursery:
        async with open_gateway(config, open_files=open_files) as gateway:
            asked, patience = trio.Event(), trio.CancelScope()
            await nursery.start(_obey_signals, asked, patience)
            calm_collector()
            engines = gateway.services.sessions.workshop.engines
            print(f"Hatchery listens at {gateway.url} (writer: {engines.llm}, painter: {engines.image})", flush=True)
            await asked.wait()
            with patience:
                await gateway.drain(config.server.drain_s)
        nursery.cancel_scope.cancel()
    return 0


async def _obey_signals(
    asked: trio.Event, patience: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Set `asked` at the first signal and cancel `patience` at the second; what then remains is bounded anyway."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            log.info("signal", name=signal.Signals(number).name)
            if asked.is_set():
                patience.cancel()
            asked.set()


async def _accept(
    sockets: list[socket.socket],
    services: Services,
    policy: OriginPolicy,
    config: Config,
    connections: trio.Nursery,
    task_status: trio.TaskStatus[trio.CancelScope],
) -> None:
    close_s = _close_s(config)
    handler = partial(
        serve_http,
        app=with_request_ids(create_app(all_routes(services, config), policy, services.entrance)),
        admit=partial(_admit, Doorkeeper(policy, services.reception, services.entrance), services),
        limits=HttpLimits(
            body_bytes=max(config.wire.message_bytes, config.hatch.upload_bytes), close_timeout_s=close_s
        ),
        websocket_limits=WebSocketLimits(
            message_bytes=config.wire.message_bytes, close_timeout_s=close_s, deflate=config.wire.deflate
        ),
    )
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await listener.serve(
            sockets,
            handler,
            max_connections=config.server.max_connections,
            connections=connections,
            let_in=services.entrance.let_in,
        )


def _admit(doorkeeper: Doorkeeper, services: Services, request: UpgradeRequest) -> Admission | Problem:
    """Whom the doorkeeper lets in, with a count of how it ends; while draining nobody: the next gateway is better."""
    if services.sessions.draining:
        return Problem.of(Draining("the gateway is stopping: connect again in a moment", retry_after_ms=2000))
    admission = doorkeeper.admit(request)
    if isinstance(admission, Problem):
        return admission
    return Admission(admission.subprotocol, partial(_serve_and_count, admission.serve, services.metrics))


async def _serve_and_count(
    serve: Callable[[WebSocket], Awaitable[None]], metrics: Metrics, websocket: WebSocket
) -> None:
    code: int = CloseCode.INTERNAL_ERROR
    try:
        await serve(websocket)
        code = CloseCode.NORMAL_CLOSURE
    except trio.Cancelled:
        code = CloseCode.GOING_AWAY
        raise
    finally:
        metrics.count_close(code if websocket.closed is None else websocket.closed.code)


def _close_s(config: Config) -> float:
    """Seconds for the closing handshake, which are part of `server.stop_s`."""
    return min(CLOSE_S, config.server.stop_s / 2)


def _refuse_public(host: str) -> None:
    if host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"server.host: {host} is not a loopback address, and without tokens everybody there could hatch here;"
            " use 127.0.0.1, ::1 or localhost, or put what `hatchery token` prints into access.tokens"
        )
