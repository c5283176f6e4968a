"""A gateway without sockets, and clients that lose it, read it slowly or not at all, and come back."""

import itertools
import math
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import trio
from starlette.types import Receive, Scope, Send
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import CONNECTING, OPEN
from websockets.uri import parse_uri

from gateway.access.auth import LOCAL, Identity
from gateway.access.entrance import open_entrance
from gateway.config import Config
from gateway.live.dialogue import Visitor, converse
from gateway.load.invariants import Witness
from gateway.net.http import serve_http
from gateway.net.memory import MemoryTransport, memory_pair
from gateway.net.transport import PeerGone
from gateway.net.upgrade import Admission
from gateway.serve import Gateway
from gateway.services import Services
from protocol.codec import Codec
from protocol.commands import Command, Hello
from protocol.events import (
    Accepted,
    Artifact,
    End,
    PersonaReady,
    Preview,
    Progress,
    Reliable,
    ServerMessage,
    Snapshot,
    State,
    Text,
    Thinking,
    Welcome,
)
from protocol.outbox import Drop
from tests.helpers.gateways import running_services

DECODER = msgspec.json.Decoder(list[ServerMessage])
OF_A_SESSION = (Snapshot, State, PersonaReady, Artifact, End, Text, Thinking, Progress, Preview)
STOP_S = 10.0  # of a gateway
SEND_S = 60.0  # that a client waits for its bytes to be taken


async def _no_pages(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotImplementedError


class VirtualGateway:
    """What `hatchery serve` runs, but for listener and sockets; it can be drained and started again."""

    def __init__(self, data: Path, seed: int, settings: dict[str, Any]) -> None:
        self.drops: Counter[Drop] = Counter()
        self.log: dict[str, list[Reliable]] = {}  # of the lives that are over: by session, what was kept of it
        self._data = data
        self._seed = seed
        self._settings = settings
        self._gateway: Gateway | None = None
        self._connections: trio.Nursery | None = None
        self._up = trio.Event()
        self._asked = trio.Event()

    async def run(self, lives: int, drain_s: float) -> None:
        """Live so many times, each until `stop` is called; every life ends with nothing left of it."""
        for life in range(lives):
            async with running_services(self._data, seed=self._seed + life, **self._settings) as services:
                async with trio.open_nursery() as self._connections:
                    services.hub.on_drop = self._count_drop
                    self._gateway = Gateway("", services, trio.CancelScope(), STOP_S)
                    self._up.set()
                    await self._asked.wait()
                    self._up, self._asked = trio.Event(), trio.Event()
                    await self._gateway.drain(drain_s)
                    await self._gateway.stop()
                    self._connections.cancel_scope.cancel()
                await self._audit(services)

    def stop(self) -> None:
        """End this life."""
        self._asked.set()

    async def connect(self, name: str, capacity: int) -> MemoryTransport:
        """A connection to the gateway that now lives, or next."""
        while not self._up.is_set():
            await self._up.wait()
        assert self._gateway is not None
        assert self._connections is not None
        ours, theirs = memory_pair(capacity)
        visitor = Visitor(connection=name, address=None, identity=Identity(user=LOCAL))
        dialogue = partial(
            converse,
            codec=Codec.JSON,
            visitor=visitor,
            reception=self._gateway.services.reception,
            entrance=open_entrance(Config(), b"secret"),
        )
        self._connections.start_soon(serve_http, theirs, _no_pages, lambda _request: Admission(None, dialogue))
        return ours

    def _count_drop(self, drop: Drop) -> None:
        self.drops[drop] += 1

    async def _audit(self, services: Services) -> None:
        """Nothing runs or is held any more, and everything has ended, once."""
        sessions, workshop = services.sessions, services.sessions.workshop
        assert sessions.running == 0
        assert not services.hub._watchers
        for slots in (workshop.llm_slots, workshop.render_slots):
            assert (slots.held, slots.waiting, slots.quarantined) == (0, 0, 0)
        before: str | None = None
        while True:
            page = await sessions.list(LOCAL, states=None, limit=1000, before=before)
            for item in page.items:
                said = self.log[item.session] = await workshop.eventlog.tail(item.session, 0)
                assert [event.seq for event in said] == list(range(1, len(said) + 1))
                assert [isinstance(event, End) for event in said] == [False] * (len(said) - 1) + [True]
            if (before := page.before) is None:
                return


class Temper(msgspec.Struct, frozen=True, kw_only=True):
    """How well a connection works: bytes it holds, seconds between reads, and what befalls it, when and once."""

    capacity: int = 64 * 1024
    read_every_s: float = 0.0
    drops_after_s: tuple[float, ...] = ()
    freezes_after_s: float = math.inf
    freezes_for_s: float = 0.0


class VirtualClient:
    """A WebSocket client over memory that reconnects and resumes, and holds the gateway to its contract."""

    def __init__(self, gateway: VirtualGateway, name: str, random: Random, temper: Temper) -> None:
        self.heard: list[tuple[float, ServerMessage]] = []
        self.witnesses: dict[str, Witness] = {}
        self.ends: dict[str, End] = {}
        self.gone: set[str] = set()  # sessions that the gateway, asked to resume, does not know
        self.closes: Counter[int] = Counter()
        self._gateway = gateway
        self._name = name
        self._random = random
        self._temper = temper
        self._born = trio.current_time()
        self._link: _Link | None = None
        self._ids = itertools.count(1)
        self._answers: dict[object, ServerMessage] = {}
        self._more = trio.Event()

    async def run(self) -> None:
        """Be connected, again and again, until cancelled."""
        async with trio.open_nursery() as nursery:
            for seconds in self._temper.drops_after_s:
                nursery.start_soon(self._drop_after, seconds)
            while True:
                link = _Link(await self._gateway.connect(self._name, self._temper.capacity))
                try:
                    with suppress(PeerGone):
                        await self._converse(link)
                finally:
                    link.transport.abort()
                    self._link = None
                    self._wake()
                self.closes[link.close_code] += 1
                await trio.sleep(self._random.uniform(0.1, 2.0))

    async def ask(self, command: type[Command], **fields: Any) -> ServerMessage:
        """The answer to a command, which is sent again over the next connection if this one ends before."""
        while True:
            while (link := self._link) is None:
                await self._more.wait()
            id_ = next(self._ids)
            with suppress(PeerGone):
                await link.send(command(id=id_, **fields))
            while self._link is link and id_ not in self._answers:
                await self._more.wait()
            if id_ in self._answers:  # perhaps the last that came over this connection
                return self._answers.pop(id_)

    async def end(self, session: str) -> End | None:
        """How a session ended; None if a gateway has taken the answer with it."""
        while session not in self.gone:
            if session in self.ends:
                return self.ends[session]
            await self._more.wait()
        return None

    async def _converse(self, link: "_Link") -> None:
        await link.open()
        followed = [witness for session, witness in self.witnesses.items() if session not in {*self.ends, *self.gone}]
        for witness in followed:
            witness.detached()
        await link.send(Hello(id=0, resume=[witness.cursor for witness in followed]))
        while (messages := await link.read()) is not None:
            for message in messages:
                self._hear(link, message)
            for session in {message.session for message in messages if isinstance(message, Progress)}:
                assert not self.witnesses[session].settle()
            self._wake()
            await self._dawdle()

    def _hear(self, link: "_Link", message: ServerMessage) -> None:
        self.heard.append((trio.current_time(), unsigned(message)))
        match message:
            case Welcome():
                for resumed in message.resumed:
                    self.witnesses[resumed.session].attached = resumed.result == "current"
                    if resumed.result == "gone":
                        self.gone.add(resumed.session)
                self._link = link
            case Accepted(session=session):
                self.witnesses.setdefault(session, Witness(session))
            case Snapshot(session=session) if session in self.ends:
                assert message.id is not msgspec.UNSET, "asked for by a watch"
                assert message.end == self.ends[session]
            case _ if isinstance(message, OF_A_SESSION):
                violations = self.witnesses[message.session].hear(message)
                assert not violations, violations
                end = message.end if isinstance(message, Snapshot) else message
                if isinstance(end, End):
                    self.ends[message.session] = end
        id_ = getattr(message, "id", msgspec.UNSET)
        if id_ is not msgspec.UNSET:
            self._answers[id_] = message

    async def _dawdle(self) -> None:
        temper = self._temper
        if temper.read_every_s:
            await trio.sleep(temper.read_every_s)
        if trio.current_time() >= self._born + temper.freezes_after_s:
            self._temper = msgspec.structs.replace(temper, freezes_after_s=math.inf)
            await trio.sleep(temper.freezes_for_s)

    async def _drop_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        if self._link is not None:
            self._link.transport.abort()

    def _wake(self) -> None:
        self._more.set()
        self._more = trio.Event()


class _Link:
    """One connection of a client."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport
        self._protocol = ClientProtocol(parse_uri("ws://gateway/v1/ws"), max_size=None)

    @property
    def close_code(self) -> int:
        """What the gateway has closed with; 1006 if it has not."""
        closed = self._protocol.close_rcvd
        return 1006 if closed is None else closed.code

    async def open(self) -> None:
        """Shake hands. Raises PeerGone."""
        self._protocol.send_request(self._protocol.connect())
        await self._flush()
        while self._protocol.state is CONNECTING:
            self._protocol.receive_data(await self.transport.receive())
        self._protocol.events_received()

    async def send(self, command: Command) -> None:
        """Raises PeerGone."""
        if self._protocol.state is not OPEN:
            raise PeerGone("closing")
        self._protocol.send_text(msgspec.json.encode(command))
        await self._flush()

    async def read(self) -> list[ServerMessage] | None:
        """What has come; None at the end. Raises PeerGone."""
        data = await self.transport.receive()
        if not data:
            return None
        self._protocol.receive_data(data)
        messages: list[ServerMessage] = []
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                messages += DECODER.decode(event.data)
        await self._flush()
        return messages

    async def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                await self.transport.send_all(data, SEND_S)


def unsigned(message: ServerMessage) -> ServerMessage:
    """Without the signed URLs, whose secret is new in every run."""
    if isinstance(message, Artifact):
        return msgspec.structs.replace(message, url="")
    if isinstance(message, Snapshot) and message.artifacts:
        bare = [msgspec.structs.replace(artifact, url="") for artifact in message.artifacts]
        return msgspec.structs.replace(message, artifacts=bare)
    return message
