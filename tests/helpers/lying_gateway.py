"""A small WebSocket server that tells one made-up hatch to whoever asks, truthfully or with one lie in it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

import msgspec
import trio
import trio_websocket

from protocol.codec import Codec
from protocol.commands import AnyCommand, Cancel, Hello, Ping, Start, Watch
from protocol.events import (
    Accepted,
    Artifact,
    End,
    Engines,
    Event,
    Limits,
    Ok,
    Outcome,
    PersonaReady,
    Pong,
    Progress,
    Receipt,
    Snapshot,
    State,
    Text,
    Welcome,
)
from protocol.persona import persona_strings
from tests.helpers.gateways import PERSONA

Story = list[list[Event]]
"""What a client is told of one hatch: messages by frame, from the snapshot to the end."""
Lie = Callable[[Story], Story]

ENGINES = Engines(llm="sim", image="sim")
_COMMANDS = msgspec.json.Decoder(list[AnyCommand])


def snapshot(session: str, **fields: object) -> Snapshot:
    """The first that a client is told, unless the fields say otherwise."""
    first: dict[str, object] = {
        "session": session,
        "epoch": 1,
        "seq": 0,
        "offset": 0,
        "state": "queued",
        "attempt": 1,
        "prompt": "an owl",
        "persona": {},
        "artifacts": [],
    }
    return msgspec.convert({"type": "snapshot", **first, **fields}, Snapshot)


def progress(session: str, percent: float) -> Progress:
    """A progress of some stage."""
    return Progress(session=session, percent=percent, stage="steps", basis="measured", message="Step")


def end(session: str, seq: int, outcome: Outcome = "done") -> End:
    """An end with a receipt that promises what it should."""
    receipt = Receipt(
        queued_ms=0,
        writing_ms=1,
        waiting_ms=0,
        drawing_ms=1,
        total_ms=2,
        steps_done=4,
        steps=4,
        worker="idle",
        llm="closed",
        engines=ENGINES,
    )
    return End(session=session, seq=seq, outcome=outcome, receipt=receipt)


def true_story(session: str) -> Story:
    """A hatch as the contract wants it told."""
    texts: list[Text] = []
    for path, text in persona_strings(PERSONA):
        texts.append(Text(session=session, offset=sum(len(t.delta) for t in texts), path=path, delta=text))
    artifact = Artifact(
        session=session, seq=5, kind="avatar", url="/x", sha256="0" * 64, bytes=1, mime="image/png", width=1, height=1
    )
    return [
        [snapshot(session)],
        [State(session=session, seq=1, state="writing"), progress(session, 1.0)],
        [*texts[:4], progress(session, 12.0)],
        [*texts[4:], progress(session, 20.0)],
        [PersonaReady(session=session, seq=2, persona=PERSONA), State(session=session, seq=3, state="waiting")],
        [State(session=session, seq=4, state="drawing"), progress(session, 50.0)],
        [artifact, progress(session, 100.0), end(session, 6)],
    ]


def last_word(session: str) -> Snapshot:
    """The snapshot that stands for the whole true story."""
    artifact = true_story(session)[-1][0]
    return snapshot(
        session,
        seq=6,
        offset=sum(len(text) for _, text in persona_strings(PERSONA)),
        state="done",
        persona=msgspec.to_builtins(PERSONA),
        progress=msgspec.to_builtins(progress(session, 100.0)),
        artifacts=[msgspec.to_builtins(artifact)],
        end=msgspec.to_builtins(end(session, 6)),
    )


@asynccontextmanager
async def lying_gateway(
    lie: Lie = lambda story: story,
    *,
    answers: Callable[[list[Event]], list[Event]] = lambda events: events,
    final: Callable[[Snapshot], Snapshot] = lambda shown: shown,
) -> AsyncIterator[str]:
    """Its URL; `lie` changes stories, `answers` what is answered at once, `final` what a watch is shown."""
    numbers = count(1)

    def answer(command: AnyCommand) -> Story:
        match command:
            case Hello(id=id_):
                limits = Limits(message_bytes=1 << 18, prompt_chars=2000, pixels=1 << 22, steps=100)
                welcome = Welcome(
                    id=id_,
                    connection="c",
                    server="liar/1",
                    version=1,
                    engines=ENGINES,
                    heartbeat_ms=20_000,
                    limits=limits,
                    resumed=[],
                )
                return [[welcome]]
            case Start(id=id_):
                session = f"s{next(numbers)}"
                accepted = Accepted(id=id_, session=session, epoch=1, existing=False, state="queued")
                return [answers([accepted]), *lie(true_story(session))]
            case Cancel(id=id_, session=str(session)):
                return [[Ok(id=id_, session=session, epoch=1, seq=6, offset=0, state="done")]]
            case Watch(id=id_, session=session):
                return [[msgspec.structs.replace(final(last_word(session)), id=id_)]]
            case Ping(id=id_):
                return [[Pong(id=id_)]]
            case _:
                return []

    async def serve(request: trio_websocket.WebSocketRequest) -> None:
        socket = await request.accept(subprotocol=Codec.JSON.value)
        try:
            while True:
                for command in _COMMANDS.decode(await socket.get_message()):
                    for frame in answer(command):
                        await socket.send_message(msgspec.json.encode(frame).decode())
        except trio_websocket.ConnectionClosed:
            pass

    async with trio.open_nursery() as nursery:
        server = await nursery.start(trio_websocket.serve_websocket, serve, "127.0.0.1", 0, None)
        yield f"http://127.0.0.1:{server.port}"
        nursery.cancel_scope.cancel()
