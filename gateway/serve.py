"""Start a gateway, say where it listens, and stop it so that every client learns how its hatches ended."""

import ipaddress
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import msgspec
import structlog
import trio

from gateway import listener
from gateway.app import create_app
from gateway.config import Config, ConfigError
from gateway.doorkeeper import Doorkeeper
from gateway.http import serve_http
from gateway.origin import OriginPolicy
from gateway.response import HttpLimits
from gateway.routes import Rest
from gateway.services import Services, open_services
from gateway.websocket import WebSocketLimits
from protocol.events import GoingAway

log = structlog.get_logger(__name__)

CLOSE_S: Final = 2.0  # for the closing handshake of a WebSocket
RECONNECT_AFTER_MS: Final = (500, 3000)


class Gateway(msgspec.Struct, frozen=True):
    """A gateway that accepts connections at `url`."""

    url: str
    services: Services


@asynccontextmanager
async def open_gateway(config: Config, *, environ: Mapping[str, str] = os.environ) -> AsyncIterator[Gateway]:
    """A gateway that listens while the block runs; afterwards every hatch has ended and its clients were told.

    Raises ConfigError, or OSError when the address cannot be bound.
    """
    _refuse_public(config.server.host)
    async with open_services(config, environ=environ) as services:
        sockets = await listener.bind(config.server.host, config.server.port)
        port: int = sockets[0].getsockname()[1]
        host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
        policy = OriginPolicy(
            host=host,
            port=port,
            public_urls=config.server.public_urls,
            allowed_origins=config.server.allowed_origins,
        )
        async with trio.open_nursery() as connections:
            accepting = await connections.start(_accept, sockets, services, policy, config, connections)
            gateway = Gateway(f"http://{host}:{port}", services)
            log.info("gateway_ready", url=gateway.url)
            try:
                yield gateway
            finally:
                with trio.move_on_after(config.server.stop_s, shield=True):
                    accepting.cancel()
                    await _say_goodbye(services, config.server.stop_s)
                connections.cancel_scope.cancel()


async def serve_until_signal(config: Config) -> int:
    """`hatchery serve`: run until SIGTERM or SIGINT; returns the exit code."""
    async with open_gateway(config) as gateway:
        engines = gateway.services.sessions.workshop.engines
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            print(f"Hatchery listens at {gateway.url} (writer: {engines.llm}, painter: {engines.image})", flush=True)
            async for number in signals:
                log.info("signal", name=signal.Signals(number).name)
                break
    return 0


async def _accept(
    sockets: list[socket.socket],
    services: Services,
    policy: OriginPolicy,
    config: Config,
    connections: trio.Nursery,
    task_status: trio.TaskStatus[trio.CancelScope],
) -> None:
    rest = Rest(services.sessions, services.artifacts, services.signer, services.healthy)
    handler = partial(
        serve_http,
        app=create_app(rest.routes(), policy),
        admit=Doorkeeper(policy, services.reception).admit,
        limits=HttpLimits(body_bytes=config.wire.message_bytes),
        websocket_limits=WebSocketLimits(
            message_bytes=config.wire.message_bytes, close_timeout_s=CLOSE_S, deflate=config.wire.deflate
        ),
    )
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await listener.serve(sockets, handler, max_connections=config.server.max_connections, connections=connections)


async def _say_goodbye(services: Services, stop_s: float) -> None:
    log.info("gateway_stops", running=services.sessions.running)
    going_away = GoingAway(deadline_ms=round(stop_s * 1000), reconnect_after_ms=RECONNECT_AFTER_MS)
    services.hub.broadcast(going_away)
    await services.sessions.stop()
    await services.flusher.flush()


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
            " use 127.0.0.1, ::1 or localhost"
        )
