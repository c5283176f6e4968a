"""The outbox played against a client that applies what it is sent and must arrive at what the session is."""

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import UNSET, UnsetType

from protocol.codec import Codec
from protocol.commands import Id
from protocol.envelope import Envelope, Kind, frame_payload
from protocol.events import (
    End,
    Pong,
    Preview,
    Progress,
    ServerMessage,
    Snapshot,
    State,
    Text,
    Thinking,
)
from protocol.outbox import Outbox, OutboxLimits, TooSlow
from tests.helpers.receipts import RECEIPT

NAMES = ("a", "b")
PATHS = ("/name", "/backstory")
SELDOM = st.sampled_from([False] * 5 + [True])


@dataclass
class Known:
    """A session, as it is or as a client knows it."""

    epoch: int = 0
    seq: int = 0
    offset: int = 0
    percent: float = 0.0
    texts: dict[str, str] = field(default_factory=dict)
    ended: bool = False


@dataclass
class Client:
    """Applies server messages and asserts what the wire contract promises of them."""

    known: dict[str, Known] = field(default_factory=dict)
    awaits_snapshot: set[str] = field(default_factory=set)
    wants_previews: set[str] = field(default_factory=set)
    requests: list[Id] = field(default_factory=list)  # watches that are not answered
    answers: list[Id] = field(default_factory=list)
    progress_times: dict[str, float] = field(default_factory=dict)

    def apply(self, message: ServerMessage) -> None:
        if isinstance(message, Pong):
            self.answers.append(message.id)
        elif isinstance(message, Snapshot):
            self._resync(message)
        elif isinstance(message, State | End | Text | Progress | Preview | Thinking):
            assert message.session not in self.awaits_snapshot, "nothing comes before the snapshot"
            known = self.known[message.session]
            assert not known.ended, "nothing comes after the end"
            self._advance(known, message)

    def _resync(self, snapshot: Snapshot) -> None:
        if snapshot.id is not UNSET:
            self.requests.remove(snapshot.id)
        known = self.known.get(snapshot.session)
        if known is None:
            return  # detached meanwhile: it only answers the request
        assert (snapshot.epoch, snapshot.seq) >= (known.epoch, known.seq)
        if snapshot.epoch == known.epoch:
            assert snapshot.offset >= known.offset
        progress = snapshot.progress.percent if isinstance(snapshot.progress, Progress) else 0.0
        assert snapshot.epoch > known.epoch or progress >= known.percent
        ended = snapshot.end is not UNSET
        self.known[snapshot.session] = Known(
            snapshot.epoch, snapshot.seq, snapshot.offset, progress, dict(snapshot.persona), ended
        )
        self.awaits_snapshot.discard(snapshot.session)

    def _advance(self, known: Known, message: State | End | Text | Progress | Preview | Thinking) -> None:
        match message:
            case State() | End():
                assert message.seq == known.seq + 1, "no gap and no repeat"
                known.seq = message.seq
                known.ended = isinstance(message, End)
            case Text():
                assert message.offset == known.offset, "no character lost"
                known.offset += len(message.delta)
                known.texts[message.path] = known.texts.get(message.path, "") + message.delta
            case Progress():
                assert message.percent >= known.percent, "percent never goes back"
                known.percent = message.percent
            case Preview():
                assert message.session in self.wants_previews
            case Thinking():
                pass


class Delivery(RuleBasedStateMachine):
    """Two sessions that go on, one client that comes and goes, and an outbox that is always nearly full."""

    @initialize(codec=st.sampled_from(Codec))
    def begin(self, codec: Codec) -> None:
        self.codec = codec
        self.now = 0.0
        self.next_id = 0
        self.sessions = {name: Known(epoch=1) for name in NAMES}
        self.connect()

    def connect(self) -> None:
        self.outbox = Outbox(self.codec, OutboxLimits(max_bytes=1500, frame_bytes=300), self.make_snapshot)
        self.client = Client()
        self.said: list[Id] = []
        self.max_hz: dict[str, float | None] = {}

    def fresh_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def make_snapshot(self, session: str, request_id: Id | UnsetType, previews: bool) -> Envelope:
        assert previews == (session in self.client.wants_previews) or session not in self.client.known
        truth = self.sessions[session]
        return Envelope.of_session(
            session,
            Snapshot(
                id=request_id,
                session=session,
                epoch=truth.epoch,
                seq=truth.seq,
                offset=truth.offset,
                state="writing",
                attempt=1,
                prompt="",
                persona=dict(truth.texts),
                artifacts=[],
                progress=self.progress(session),
                end=End(session=session, seq=truth.seq, outcome="done", receipt=RECEIPT) if truth.ended else UNSET,
            ),
        )

    def progress(self, session: str) -> Progress:
        percent = self.sessions[session].percent
        return Progress(session=session, percent=percent, stage="steps", basis="measured", message="")

    def offer(self, session: str, *events: Text | Thinking | State | Progress | Preview | End) -> None:
        self.outbox.offer(Envelope.of_session(session, *events))

    def live(self, session: str) -> Known | None:
        truth = self.sessions[session]
        return None if truth.ended else truth

    # --- what sessions do

    @rule(
        session=st.sampled_from(NAMES),
        deltas=st.lists(st.tuples(st.sampled_from(PATHS), st.text(min_size=1, max_size=8)), min_size=1, max_size=5),
    )
    def write(self, session: str, deltas: list[tuple[str, str]]) -> None:
        truth = self.live(session)
        if truth is None or truth.offset > 100:
            return
        for path, delta in deltas:
            offset, truth.offset = truth.offset, truth.offset + len(delta)
            truth.texts[path] = truth.texts.get(path, "") + delta
            self.offer(session, Text(session=session, offset=offset, path=path, delta=delta))

    @rule(session=st.sampled_from(NAMES))
    def think(self, session: str) -> None:
        if self.live(session):
            self.offer(session, Thinking(session=session, delta="hm"))

    @rule(session=st.sampled_from(NAMES), times=st.integers(1, 4))
    def enter_state(self, session: str, times: int) -> None:
        if truth := self.live(session):
            for _ in range(times):
                truth.seq += 1
                self.offer(session, State(session=session, seq=truth.seq, state="writing"))

    @rule(session=st.sampled_from(NAMES))
    def progress_made(self, session: str) -> None:
        if truth := self.live(session):
            truth.percent += 0.5
            self.offer(session, self.progress(session))

    @rule(session=st.sampled_from(NAMES), data=st.binary(max_size=400))
    def preview_taken(self, session: str, data: bytes) -> None:
        if self.live(session):
            self.offer(session, Preview(session=session, step=1, mime="image/webp", width=1, height=1, data=data))

    @rule(session=st.sampled_from(NAMES), really=SELDOM)
    def begin_epoch(self, session: str, really: bool) -> None:
        if really and (truth := self.live(session)):
            truth.epoch, truth.offset, truth.percent, truth.texts = truth.epoch + 1, 0, 0.0, {}
            self.outbox.reset(session)
            if self.outbox.attached(session):
                self.client.awaits_snapshot.add(session)

    @rule(session=st.sampled_from(NAMES), really=SELDOM)
    def finish(self, session: str, really: bool) -> None:
        if really and (truth := self.live(session)):
            truth.seq, truth.ended, truth.percent = truth.seq + 1, True, 100.0
            last = End(session=session, seq=truth.seq, outcome="done", receipt=RECEIPT)
            self.offer(session, self.progress(session), last)

    # --- what the client does

    @rule(
        session=st.sampled_from(NAMES),
        previews=st.booleans(),
        max_hz=st.sampled_from([None, 0.5, 10.0]),
        with_id=st.booleans(),
    )
    def watch(self, session: str, previews: bool, max_hz: float | None, with_id: bool) -> None:
        request_id: Id | UnsetType = self.fresh_id() if with_id else UNSET
        if request_id is not UNSET:
            self.client.requests.append(request_id)
        self.client.known.setdefault(session, Known())
        self.client.awaits_snapshot.add(session)
        self._wish(session, previews, max_hz)
        self.outbox.attach(session, previews=previews, max_hz=max_hz, owe_snapshot=True, request_id=request_id)

    @rule(session=st.sampled_from(NAMES), previews=st.booleans(), max_hz=st.sampled_from([None, 2.0]))
    def watch_from_current(self, session: str, previews: bool, max_hz: float | None) -> None:
        truth, known = self.live(session), self.client.known.get(session)
        if truth is None or self.client.requests or (known is not None and not self.outbox.attached(session)):
            return
        if known is None:
            self.client.known[session] = Known(truth.epoch, truth.seq, truth.offset, truth.percent, dict(truth.texts))
        self._wish(session, previews, max_hz)
        self.outbox.attach(session, previews=previews, max_hz=max_hz, owe_snapshot=False)

    def _wish(self, session: str, previews: bool, max_hz: float | None) -> None:
        (self.client.wants_previews.add if previews else self.client.wants_previews.discard)(session)
        self.max_hz[session] = max_hz
        self.client.progress_times.pop(session, None)

    @rule(session=st.sampled_from(NAMES))
    def unwatch(self, session: str) -> None:
        self.outbox.detach(session)
        self.client.known.pop(session, None)
        self.client.awaits_snapshot.discard(session)

    @rule()
    def ping(self) -> None:
        id_ = self.fresh_id()
        self.said.append(id_)
        self.outbox.say(Envelope(Kind.ANSWER, (Pong(id=id_),)))

    @rule(seconds=st.sampled_from([0.05, 0.3, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    # --- what is sent

    @rule()
    def drain(self) -> None:
        if not self.outbox.too_slow:
            self.receive()

    def receive(self) -> bool:
        due = self.outbox.due(self.now)
        try:
            envelopes = self.outbox.drain(self.now)
        except TooSlow:
            return False  # the snapshot alone was longer than the bound
        if due is None or due > self.now:
            assert envelopes == []
        size = sum(len(envelope.element(self.codec)) for envelope in envelopes)
        assert len(envelopes) <= 1 or size <= 300
        frame = frame_payload(envelopes, self.codec)
        decode = msgspec.json.decode if self.codec is Codec.JSON else msgspec.msgpack.decode
        for message in decode(frame, type=list[ServerMessage]):
            self._check_rate(message)
            self.client.apply(message)
        return bool(envelopes)

    def _check_rate(self, message: ServerMessage) -> None:
        if isinstance(message, Progress) and (max_hz := self.max_hz[message.session]) and message.percent < 100:
            last = self.client.progress_times.get(message.session)
            assert last is None or self.now >= last + 1 / max_hz - 1e-9
            self.client.progress_times[message.session] = self.now

    @precondition(lambda self: not self.outbox.too_slow)
    @rule()
    def catch_up(self) -> None:
        """All that can be sent now is sent: the client must know what there is to know."""
        while self.receive():
            pass
        if self.outbox.too_slow:
            return
        due = self.outbox.due(self.now)
        assert due is None or due > self.now
        assert not self.outbox.urgent
        assert self.client.answers == self.said
        assert self.client.requests == []
        for session, known in self.client.known.items():
            truth = self.sessions[session]
            assert (known.epoch, known.seq, known.offset) == (truth.epoch, truth.seq, truth.offset)
            assert known.texts == truth.texts
            assert known.ended == truth.ended
            assert self.outbox.attached(session) == (not truth.ended)
            assert known.percent <= truth.percent

    @precondition(lambda self: self.outbox.too_slow)
    @rule()
    def reconnect(self) -> None:
        with pytest.raises(TooSlow):
            self.outbox.drain(self.now)
        self.connect()

    @precondition(lambda self: all(truth.ended for truth in self.sessions.values()))
    @rule()
    def begin_anew(self) -> None:
        """Other sessions, which happen to have the same names."""
        self.sessions = {name: Known(epoch=1) for name in NAMES}
        self.connect()

    @invariant()
    def bounded(self) -> None:
        if hasattr(self, "outbox"):
            assert 0 <= self.outbox.bytes <= self.outbox.limits.max_bytes
            if self.outbox.due(self.now) is None:
                assert self.outbox.bytes == 0
            assert set(self.outbox.sessions) <= set(self.client.known)


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=120, stateful_step_count=60, deadline=None)
