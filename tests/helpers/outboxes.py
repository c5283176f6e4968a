"""Outboxes for tests, and short events of every kind to put into them."""

from msgspec import UNSET, UnsetType

from protocol.codec import Codec
from protocol.commands import Id
from protocol.envelope import Envelope, Kind
from protocol.events import (
    End,
    Event,
    Pong,
    Preview,
    Progress,
    Snapshot,
    State,
    Text,
    Thinking,
)
from protocol.outbox import Outbox, OutboxLimits
from tests.helpers.receipts import RECEIPT


def state(seq: int, session: str = "s") -> Envelope:
    return Envelope.of_session(session, State(session=session, seq=seq, state="writing"))


def text(delta: str, offset: int = 0, path: str = "/backstory", session: str = "s") -> Envelope:
    return Envelope.of_session(session, Text(session=session, offset=offset, path=path, delta=delta))


def thinking(delta: str) -> Envelope:
    return Envelope.of_session("s", Thinking(session="s", delta=delta))


def progress_event(percent: float, session: str = "s") -> Progress:
    return Progress(session=session, percent=percent, stage="steps", basis="measured", message="")


def progress(percent: float, session: str = "s") -> Envelope:
    return Envelope.of_session(session, progress_event(percent, session))


def preview(step: int, data: bytes = b"", session: str = "s") -> Envelope:
    return Envelope.of_session(
        session, Preview(session=session, step=step, mime="image/webp", width=8, height=8, data=data)
    )


def end(seq: int, outcome: str = "failed") -> Envelope:
    last = End(session="s", seq=seq, outcome="done" if outcome == "done" else "failed", receipt=RECEIPT)
    return Envelope.of_session("s", progress_event(100), last) if outcome == "done" else Envelope.of_session("s", last)


def pong(id_: Id) -> Envelope:
    return Envelope(Kind.ANSWER, (Pong(id=id_),))


class Gateway:
    """Builds the snapshots; `calls` are the requests for one."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Id | UnsetType, bool]] = []
        self.ended = False
        self.prompt = "a fox"

    def snapshot(self, session: str, request_id: Id | UnsetType, previews: bool) -> Envelope:
        self.calls.append((session, request_id, previews))
        return Envelope.of_session(
            session,
            Snapshot(
                id=request_id,
                session=session,
                epoch=1,
                seq=7,
                offset=0,
                state="writing",
                attempt=1,
                prompt=self.prompt,
                persona={},
                artifacts=[],
                end=End(session=session, seq=7, outcome="failed", receipt=RECEIPT) if self.ended else UNSET,
            ),
        )


def small(gateway: Gateway, max_bytes: int, frame_bytes: int = 1 << 16) -> Outbox:
    outbox = Outbox(Codec.JSON, OutboxLimits(max_bytes=max_bytes, frame_bytes=frame_bytes), gateway.snapshot)
    outbox.attach("s", previews=True, owe_snapshot=False)
    return outbox


def messages(outbox: Outbox, now: float = 0.0) -> list[Event]:
    return [message for envelope in outbox.drain(now) for message in envelope.messages]


def sizes(*envelopes: Envelope) -> int:
    return sum(len(envelope.element(Codec.JSON)) for envelope in envelopes)
