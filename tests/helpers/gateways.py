"""A real gateway on a free loopback port, and a client that keeps everything it is told, with times."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import trio

from gateway.clients.connection import Connection, open_connection
from gateway.clients.files import fetch
from gateway.config import Config
from gateway.layers import load_config
from gateway.serve import Gateway, open_gateway
from gateway.services import Services, open_services
from protocol.commands import Command, HatchRequest, Hello, Start
from protocol.events import Accepted, Artifact, End, ServerMessage, Snapshot, Welcome
from protocol.persona import Persona
from tests.helpers.contract import check_messages
from tests.helpers.wire import open_wire

M = TypeVar("M")

PERSONA = Persona(
    name="Wren",
    species="paper owl",
    tagline="Folds letters nobody has written yet.",
    traits=["careful", "curious", "light"],
    backstory="Wren was folded from the last page of an atlas.",
    greeting="Mind the creases.",
    system_prompt="You are Wren, a paper owl. Be brief.",
    palette=["#112233", "#aabbcc", "#ffeedd"],
    avatar_prompt="an owl folded from paper",
)

FAST: dict[str, Any] = {"sim__tokens_per_s": 2000, "sim__step_s": 0.01, "llm__slots": 100, "image__slots": 100}


@asynccontextmanager
async def running_gateway(data: Path, environ: dict[str, str] | None = None, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway that keeps its files in `data`; settings are written `section__name=value`."""
    async with open_gateway(_config(data, settings), environ={**os.environ, **(environ or {})}) as gateway:
        yield gateway


@asynccontextmanager
async def surviving_gateway(tmp_path: Path, **options: Any) -> AsyncIterator[Gateway]:
    """A gateway that is attacked in the block, hatches for somebody else meanwhile, and hatches as ever afterwards."""
    async with running_gateway(tmp_path, **FAST | options) as gateway, open_wire(gateway.url) as neighbour:
        beside = await neighbour.start("beside the attack")
        yield gateway
        for session in (beside, await neighbour.start("after the attack")):
            assert (await neighbour.end(session))["outcome"] == "done"
            check_messages(neighbour.typed(), session)
        assert neighbour.close_code is None


@asynccontextmanager
async def running_services(data: Path, *, seed: int = 0, **settings: Any) -> AsyncIterator[Services]:
    """What a gateway consists of but its listener: no socket and no thread, fit for virtual time."""
    config = _config(data, {"hatch__durable": False, **settings})
    async with open_services(config, random=Random(seed), now_s=trio.current_time) as services:
        yield services


def _config(data: Path, settings: dict[str, Any]) -> Config:
    flags = {name.replace("__", "."): value for name, value in settings.items()}
    base = {"server.port": 0, "server.data": str(data), "llm.engine": "sim", "image.engine": "sim"}
    return load_config(None, {}, base | flags)


class Listener:
    """Reads all that its client is told; `heard` holds (trio's time, message)."""

    def __init__(self, client: Connection) -> None:
        self.client = client
        self.heard: list[tuple[float, ServerMessage]] = []
        self._more = trio.Event()

    async def listen(self) -> None:
        """Read until cancelled or closed."""
        async for message in self.client.messages():
            self.heard.append((trio.current_time(), message))
            self._more.set()
            self._more = trio.Event()

    async def until(self, kind: type[M], matches: Callable[[M], bool] = lambda _message: True) -> M:
        """The first message of a kind, said already or yet to come, that matches."""
        seen = 0
        while True:
            more = self._more
            for _, message in self.heard[seen:]:
                if isinstance(message, kind) and matches(message):
                    return message
            seen = len(self.heard)
            await more.wait()

    def all(self, kind: type[M], session: str | None = None) -> list[M]:
        """Everything of a kind heard so far."""
        found = [message for _, message in self.heard if isinstance(message, kind)]
        return [message for message in found if session is None or getattr(message, "session", None) == session]

    async def end(self, session: str) -> End:
        """How a session ended, told by itself or by a snapshot."""
        said = await self.until(
            object,
            lambda m: isinstance(m, End | Snapshot) and m.session == session and isinstance(getattr(m, "end", m), End),
        )
        return said if isinstance(said, End) else getattr(said, "end")  # noqa: B009 - narrowed by hand

    async def start(self, hatch: HatchRequest, *, id: int = 100, **options: Any) -> Accepted:  # noqa: A002
        """Start a hatch and return its `accepted`."""
        await self.send(Start(id=id, hatch=hatch, **options))
        return await self.until(Accepted, lambda accepted: accepted.id == id)

    async def send(self, *commands: Command) -> None:
        """Send commands in one frame."""
        await self.client.send(*commands)

    async def fetch(self, artifact: Artifact) -> bytes:
        """The file itself."""
        return await fetch(self.client.address, artifact)


@asynccontextmanager
async def listening_client(gateway: Gateway, *, hello: Hello | None = None) -> AsyncIterator[Listener]:
    """A client that has said `hello` and listens."""
    async with open_connection(gateway.url) as client, trio.open_nursery() as nursery:
        listener = Listener(client)
        nursery.start_soon(listener.listen)
        await listener.send(hello or Hello(id=0))
        await listener.until(Welcome)
        yield listener
        nursery.cancel_scope.cancel()


def check_session(listener: Listener, session: str) -> None:
    """What the contract promises of every session that was watched from its start to its end."""
    check_messages([message for _, message in listener.heard], session)
