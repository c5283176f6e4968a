"""The whole stack but for real sockets and children, hundreds of hatches in a few seconds, the same for every run."""

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import trio
from starlette.types import Receive, Scope, Send
from trio.testing import MockClock
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from actors.llm.sim import WriterScript
from gateway.access.auth import LOCAL, Identity
from gateway.access.entrance import open_entrance
from gateway.config import Config
from gateway.live.dialogue import Visitor, converse
from gateway.net.http import serve_http
from gateway.net.memory import MemoryTransport, memory_pair
from gateway.net.upgrade import Admission
from gateway.services import Services
from protocol.codec import Codec
from protocol.commands import Cancel, Command, HatchRequest, Hello, ImageOptions, Start, Watch
from protocol.events import Accepted, Artifact, End, Ok, ServerMessage, Snapshot, Welcome
from tests.helpers.contract import check_messages
from tests.helpers.gateways import running_services
from tests.helpers.scheduling import seeded_scheduling

SETTINGS = {"llm__slots": 40, "image__slots": 20, "sim__failures": 0.1, "hatch__restarts": 1, "wire__tick_ms": 30}
DECODER = msgspec.json.Decoder(list[ServerMessage])


@pytest.fixture(autouse=True)
def _clumsy_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it writes is often taken back."""
    script = partial(WriterScript, invalid=0.2, unavailable=0.1, cut_off=0.05)
    monkeypatch.setattr("gateway.writers.WriterScript", script)


async def no_pages(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotImplementedError


class VirtualClient:
    """A WebSocket client over memory."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.heard: list[tuple[float, ServerMessage]] = []
        self._transport = transport
        self._protocol = ClientProtocol(parse_uri("ws://gateway/v1/ws"), max_size=None)
        self._ids = itertools.count(1)
        self._more = trio.Event()

    async def connect(self) -> None:
        """Shake hands."""
        self._protocol.send_request(self._protocol.connect())
        await self._flush()
        self._protocol.receive_data(await self._transport.receive())
        assert self._protocol.state is OPEN
        self._protocol.events_received()

    async def listen(self) -> None:
        """Keep everything, until the gateway hangs up."""
        while data := await self._transport.receive():
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    self.heard += [(trio.current_time(), message) for message in DECODER.decode(event.data)]
            await self._flush()
            self._more.set()
            self._more = trio.Event()

    async def ask(self, command: type[Command], **fields: Any) -> ServerMessage:
        id_ = next(self._ids)
        self._protocol.send_text(msgspec.json.encode(command(id=id_, **fields)))
        await self._flush()
        return await self.until(lambda message: getattr(message, "id", None) == id_)

    async def until(self, matches: Callable[[ServerMessage], bool]) -> ServerMessage:
        seen = 0
        while True:
            for _, message in self.heard[seen:]:
                if matches(message):
                    return message
            seen = len(self.heard)
            await self._more.wait()

    async def end(self, session: str) -> End:
        def ends(message: ServerMessage) -> bool:
            if isinstance(message, Snapshot):
                return message.session == session and isinstance(message.end, End)
            return isinstance(message, End) and message.session == session

        said = await self.until(ends)
        if isinstance(said, Snapshot):
            said = said.end  # type: ignore[assignment]
        assert isinstance(said, End)
        return said

    async def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            await self._transport.send_all(data, 60.0)


@asynccontextmanager
async def open_virtual_client(services: Services, name: str) -> AsyncIterator[VirtualClient]:
    ours, theirs = memory_pair()
    client = VirtualClient(ours)
    visitor = Visitor(connection=name, address=None, identity=Identity(user=LOCAL))
    entrance = open_entrance(Config(), b"secret")
    dialogue = partial(converse, codec=Codec.JSON, visitor=visitor, reception=services.reception, entrance=entrance)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, theirs, no_pages, lambda _request: Admission(None, dialogue))
        await client.connect()
        nursery.start_soon(client.listen)
        assert isinstance(await client.ask(Hello), Welcome)
        yield client
        nursery.cancel_scope.cancel()


class Crowd:
    """Clients that start, watch and cancel as their seed says; what they heard is the transcript."""

    def __init__(self, services: Services, seed: int, clients: int, hatches: int) -> None:
        self._services = services
        self._clients = clients
        self._hatches = hatches
        self._random = Random(seed)
        self.outcomes: Counter[str] = Counter()
        self.epochs: Counter[int] = Counter()
        self.transcripts: dict[str, list[tuple[float, ServerMessage]]] = {}
        self.sessions: list[str] = []

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(self._clients):
                nursery.start_soon(self._visit, f"client {number}", Random(self._random.random()))

    async def _visit(self, name: str, random: Random) -> None:
        async with open_virtual_client(self._services, name) as client:
            async with trio.open_nursery() as nursery:
                for number in range(self._hatches):
                    await trio.sleep(random.uniform(0, 1))
                    nursery.start_soon(self._hatch, client, f"{name}/{number}", Random(random.random()))
            messages = [message for _, message in client.heard]
            epochs = {message.session: message.epoch for message in messages if isinstance(message, Snapshot)}
            self.epochs.update(epochs.values())
            for session in epochs:
                check_messages(messages, session)
        self.transcripts[name] = [(when, unsigned(message)) for when, message in client.heard]

    async def _hatch(self, client: VirtualClient, key: str, random: Random) -> None:
        fate = random.choice(["watched", "watched", "cancelled", "cancelled by key", "cancelled first", "joined late"])
        if fate == "cancelled first":
            assert isinstance(await client.ask(Cancel, key=key), Ok)
        hatch = HatchRequest(prompt=key, image=ImageOptions(seed=random.getrandbits(32)))
        accepted = await client.ask(Start, key=key, hatch=hatch, watch=fate != "joined late")
        assert isinstance(accepted, Accepted), accepted
        self.sessions.append(accepted.session)
        await trio.sleep(random.uniform(0, 12))
        match fate:
            case "cancelled":
                assert isinstance(await client.ask(Cancel, session=accepted.session), Ok)
            case "cancelled by key":
                assert isinstance(await client.ask(Cancel, key=key), Ok)
            case "joined late":
                assert isinstance(await client.ask(Watch, session=accepted.session), Snapshot)
        end = await client.end(accepted.session)
        self.outcomes[end.outcome] += 1
        if fate == "cancelled first":
            assert end.outcome == "cancelled"
        if not fate.startswith("cancelled"):
            assert end.outcome != "cancelled"
        assert end.receipt.llm == "closed" or end.outcome == "cancelled"


def unsigned(message: ServerMessage) -> ServerMessage:
    """Without the signed URLs, whose secret is new in every run."""
    if isinstance(message, Artifact):
        return msgspec.structs.replace(message, url="")
    if isinstance(message, Snapshot):
        bare = [msgspec.structs.replace(artifact, url="") for artifact in message.artifacts]
        return msgspec.structs.replace(message, artifacts=bare)
    return message


def play(data: Path, seed: int, *, clients: int, hatches: int) -> Crowd:
    """One whole run in virtual time: so many clients with so many hatches each."""

    async def main() -> Crowd:
        async with running_services(data, seed=seed, **SETTINGS) as services:
            crowd = Crowd(services, seed, clients, hatches)
            await crowd.run()
            assert services.sessions.running == 0
            assert not services.hub._watchers
            workshop = services.sessions.workshop
            assert (workshop.llm_slots.held, workshop.render_slots.held) == (0, 0)
            return crowd

    with seeded_scheduling(seed):
        return trio.run(main, clock=MockClock(autojump_threshold=0))


def test_hundreds_of_hatches_keep_the_contract(tmp_path: Path) -> None:
    crowd = play(tmp_path, 1, clients=10, hatches=30)
    assert len(set(crowd.sessions)) == 300
    assert sum(crowd.outcomes.values()) == 300
    assert all(crowd.outcomes[outcome] > 10 for outcome in ("done", "failed", "cancelled"))
    assert crowd.epochs[2] > 10


def test_the_same_seed_plays_the_same_run_to_the_last_message(tmp_path: Path) -> None:
    first, second, other = (play(tmp_path, seed, clients=4, hatches=10).transcripts for seed in (7, 7, 8))
    assert first == second
    assert first != other
