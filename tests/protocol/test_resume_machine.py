"""A session's life, its journal and its clients' outboxes together, against a model that is a plain list.

Clients come, take a frame now and then, lose one on its way, lag, leave, and resume by their cursor; epochs rise, and
the gateway dies, before or after something was kept, and goes on from its journal. Whatever happens, each client knows
a prefix of what was said: no hole, no repeat, no character wrong, and one end.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import UNSET, UnsetType

from protocol import mail
from protocol.codec import Codec
from protocol.commands import Cursor, Id
from protocol.envelope import Envelope, frame_payload
from protocol.errors import ImageFailed
from protocol.events import Artifact, End, Event, PersonaReady, Progress, Reliable, ServerMessage, Snapshot, State, Text
from protocol.journal import Entry, EpochBegun, Kept, Recovered
from protocol.lifecycle import Lifecycle
from protocol.outbox import Outbox, OutboxLimits, TooSlow
from protocol.persona import Persona, extend, persona_strings
from protocol.view import SessionView
from tests.helpers.fakes import ENGINES, PERSONA, PICTURE, record_of

SESSION: Final = "s1"
PATHS: Final = [path for path, _ in persona_strings(PERSONA)]
CLIENTS: Final = 2
LIMITS: Final = OutboxLimits(max_bytes=3000, frame_bytes=400)  # nearly always full
SELDOM = st.sampled_from([False] * 4 + [True])
CLIENT = st.integers(0, CLIENTS - 1)
DELTAS = st.lists(st.tuples(st.sampled_from(PATHS), st.text(min_size=1, max_size=9)), min_size=1, max_size=9)


def when(*states: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule for these states only."""
    return precondition(lambda self: self.lifecycle.state in states)


@dataclass
class Truth:
    """The model: all that was ever published."""

    reliable: list[Reliable] = field(default_factory=list)
    said: dict[int, list[tuple[str, str]]] = field(default_factory=lambda: {1: []})  # path and character, by epoch

    shown: dict[int, list[Progress]] = field(default_factory=lambda: {1: []})

    @property
    def epoch(self) -> int:
        return max(self.said)

    def note(self, entry: Entry) -> None:
        match entry:
            case EpochBegun(epoch=epoch):
                assert epoch == self.epoch + 1
                self.said[epoch], self.shown[epoch] = [], []
            case Progress():
                self.shown[self.epoch].append(entry)
            case Text(path=path, delta=delta):
                self.said[self.epoch] += [(path, character) for character in delta]
            case State() | PersonaReady() | Artifact() | End():
                assert not any(isinstance(one, End) for one in self.reliable), "one end, and nothing after it"
                self.reliable.append(entry)
                assert entry.seq == len(self.reliable)
            case _:
                pass

    def persona(self, epoch: int, offset: int) -> dict[str, Any]:
        """What of the persona is written up to an offset."""
        persona: dict[str, Any] = {}
        for path, character in self.said[epoch][:offset]:
            extend(persona, path, character)
        return persona


class Client:
    """Applies what it is sent and holds it against the truth."""

    def __init__(self, truth: Truth) -> None:
        self.outbox: Outbox | None = None
        self.epoch = self.seq = self.offset = 0
        self.percent = 0.0
        self.ended = False
        self._truth = truth
        self._snapshot_first = True

    @property
    def cursor(self) -> Cursor | None:
        return Cursor(epoch=self.epoch, seq=self.seq, offset=self.offset) if self.epoch else None

    def connect(self, outbox: Outbox, view: SessionView) -> None:
        """As `hello.resume` does it."""
        self.outbox = outbox
        self._snapshot_first = self.cursor is None or not view.is_current(self.cursor)
        if self._snapshot_first or view.end is None:
            outbox.attach(SESSION, owe_snapshot=self._snapshot_first)

    def apply(self, message: ServerMessage) -> None:
        assert not self.ended or isinstance(message, Snapshot), "nothing comes after the end"
        assert isinstance(message, Snapshot) or not self._snapshot_first, "nothing comes before the snapshot"
        match message:
            case Snapshot():
                self._resync(message)
            case State() | PersonaReady() | Artifact() | End():
                assert message.seq == self.seq + 1, "no hole and no repeat"
                assert message == self._truth.reliable[self.seq]
                self.seq, self.ended = message.seq, isinstance(message, End)
            case Text(offset=offset, path=path, delta=delta):
                assert offset == self.offset
                self.offset += len(delta)
                assert [(path, character) for character in delta] == self._truth.said[self.epoch][offset : self.offset]
            case Progress(percent=percent):
                assert message in self._truth.shown[self.epoch], "none of what was taken back"
                assert percent >= self.percent
                self.percent = percent
            case _:
                pass

    def _resync(self, snapshot: Snapshot) -> None:
        truth = self._truth
        assert (snapshot.epoch, snapshot.seq) >= (self.epoch, self.seq)
        assert (snapshot.epoch, snapshot.seq) == (truth.epoch, len(truth.reliable)), "it is of now"
        assert snapshot.offset == len(truth.said[snapshot.epoch])
        told = truth.reliable[: snapshot.seq]
        written = [one for one in told if isinstance(one, PersonaReady)]
        if written:
            assert snapshot.persona == msgspec.to_builtins(written[-1].persona)
        elif snapshot.end is UNSET:
            assert snapshot.persona == truth.persona(snapshot.epoch, snapshot.offset)
        assert snapshot.artifacts == [one for one in told if isinstance(one, Artifact)]
        assert (snapshot.end is not UNSET) == any(isinstance(one, End) for one in told)
        self.epoch, self.seq, self.offset = snapshot.epoch, snapshot.seq, snapshot.offset
        self.percent = snapshot.progress.percent if isinstance(snapshot.progress, Progress) else 0.0
        self.ended = snapshot.end is not UNSET
        self._snapshot_first = False


class Resuming(RuleBasedStateMachine):
    """One session at a time; what is done with its entries is what the log and the hub do with them."""

    @initialize(codec=st.sampled_from(Codec))
    def begin(self, codec: Codec) -> None:
        self.codec = codec
        self.now = 0.0
        self.begin_anew()

    @precondition(lambda self: self.view.end is not None)
    @rule(really=SELDOM)
    def begin_another(self, really: bool) -> None:
        if really:
            for client in self.clients:
                self.catch_up_with(client)
            self.begin_anew()

    def begin_anew(self) -> None:
        self.truth = Truth()
        self.journal: list[Kept] = []
        self.view = SessionView(record_of())
        self.lifecycle = self.new_lifecycle(None)
        self.clients = [Client(self.truth) for _ in range(CLIENTS)]
        self.say(self.lifecycle.begin())

    def new_lifecycle(self, persona: Persona | None) -> Lifecycle:
        return Lifecycle(SESSION, engines=ENGINES, steps=4, persona=persona, now=self.now)

    # --- the log and the hub

    def say(self, entries: list[Entry]) -> None:
        self.keep(entries)
        self.publish(entries)

    def keep(self, entries: list[Entry]) -> None:
        kept = [one for one in entries if isinstance(one, EpochBegun | State | PersonaReady | Artifact | End)]
        self.journal += kept

    def publish(self, entries: list[Entry]) -> None:
        waiting: list[Event] = []
        for entry in entries:
            self.truth.note(entry)
            self.view.apply(entry)
            match entry:
                case EpochBegun():
                    self.reset()
                case Progress(percent=100.0):
                    waiting.append(entry)
                case _:
                    self.offer(Envelope.of_session(SESSION, *waiting, entry))

    def reset(self) -> None:
        for client in self.clients:
            if client.outbox is not None and client.outbox.attached(SESSION):
                client.outbox.reset(SESSION)

    def offer(self, envelope: Envelope) -> None:
        for client in self.clients:
            if client.outbox is not None:
                client.outbox.offer(envelope)

    def make_snapshot(self, _session: str, request_id: Id | UnsetType, previews: bool) -> Envelope:
        id_ = None if request_id is UNSET else request_id
        return Envelope.of_session(SESSION, self.view.snapshot(lambda one: one, id=id_, previews=previews))

    # --- what actors and people do

    def mail(self, *letters: mail.AnyMail) -> None:
        for letter in letters:
            self.say(self.lifecycle.handle(letter, self.now))

    @when("queued")
    @rule()
    def write(self) -> None:
        self.mail(mail.WritingBegan())

    @when("writing")
    @rule(deltas=DELTAS)
    def grow(self, deltas: list[tuple[str, str]]) -> None:
        if self.view.offset < 300:
            self.mail(*(mail.TextGrew(path=path, delta=delta) for path, delta in deltas))

    @when("writing")
    @rule(fraction=st.floats(0, 1))
    def advance(self, fraction: float) -> None:
        self.mail(mail.ThoughtGrew(delta="hm"), mail.WritingAdvanced(fraction=fraction, basis="estimated"))

    @when("writing")
    @rule(good=SELDOM)
    def judge(self, good: bool) -> None:
        self.mail(mail.PersonaWritten(persona=PERSONA) if good else mail.PersonaRejected(reason="no"))

    @when("waiting", "drawing")
    @rule(step=st.integers(1, 4))
    def draw(self, step: int) -> None:
        self.mail(mail.DrawingBegan(steps=4), mail.StepFinished(step=step, steps=4))

    @when("drawing")
    @rule()
    def store(self) -> None:
        if not self.lifecycle.decided:
            self.mail(PICTURE)

    @rule(really=SELDOM)
    def cancel(self, really: bool) -> None:
        if really:
            self.say(self.lifecycle.cancel("enough", self.now))

    @rule(really=SELDOM)
    def retry(self, really: bool) -> None:
        if really and not self.lifecycle.decided:
            self.say(self.lifecycle.retry("once more", self.now))

    @rule(really=SELDOM)
    def finish(self, really: bool) -> None:
        if really or self.lifecycle.decided:
            self.say(self.lifecycle.finish(ImageFailed("no"), self.now))

    # --- what clients do

    @rule(number=CLIENT, frame_lost=SELDOM)
    def come_or_go(self, number: int, frame_lost: bool) -> None:
        client = self.clients[number]
        if client.outbox is None:
            client.connect(Outbox(self.codec, LIMITS, self.make_snapshot), self.view)
        else:
            self.take_frame(client, lost=frame_lost)
            client.outbox = None

    @when("writing")
    @rule(number=CLIENT, deltas=DELTAS, frame_lost=SELDOM)
    def miss_some_text(self, number: int, deltas: list[tuple[str, str]], frame_lost: bool) -> None:
        client = self.clients[number]
        if client.outbox is not None:
            self.come_or_go(number=number, frame_lost=frame_lost)
            self.grow(deltas=deltas)
            self.come_or_go(number=number, frame_lost=False)

    @rule(number=CLIENT)
    def take_a_frame(self, number: int) -> None:
        self.take_frame(self.clients[number])

    def take_frame(self, client: Client, *, lost: bool = False) -> bool:
        """Whether there was one; a client that is too slow is cut off."""
        if client.outbox is None:
            return False
        try:
            envelopes = client.outbox.drain(self.now)
        except TooSlow:
            client.outbox = None
            return False
        if envelopes and not lost:
            decode = msgspec.json.decode if self.codec is Codec.JSON else msgspec.msgpack.decode
            for message in decode(frame_payload(envelopes, self.codec), type=list[ServerMessage]):
                client.apply(message)
        return bool(envelopes)

    @rule(number=CLIENT)
    def catch_up(self, number: int) -> None:
        self.catch_up_with(self.clients[number])

    def catch_up_with(self, client: Client) -> None:
        """Once all that is owed has come, a client knows all there is."""
        while self.take_frame(client):
            pass
        if client.outbox is not None:
            assert (client.epoch, client.seq, client.offset) == (self.view.epoch, self.view.seq, self.view.offset)
            assert client.ended == (self.view.end is not None)

    # --- the gateway dies and goes on

    @rule(really=SELDOM, last_act=st.sampled_from(["nothing", "kept", "lost"]))
    def restart(self, really: bool, last_act: str) -> None:
        if not really:
            return
        if last_act != "nothing":
            unheard = self.lifecycle.cancel("in its last moment", self.now)
            if last_act == "kept":  # and told nobody
                self.keep(unheard)
                for entry in unheard:
                    self.truth.note(entry)
        for client in self.clients:
            client.outbox = None
        offset, progress = self.view.offset, self.view.progress
        self.view = SessionView(record_of())
        for kept in self.journal:
            self.view.apply(kept)
        if self.view.end is not None:
            self.view.offset, self.view.progress = offset, progress  # the end keeps these
        else:
            self.go_on()

    def go_on(self) -> None:
        view = self.view
        so_far = Recovered(
            record=view.record,
            state=view.state,
            epoch=view.epoch,
            attempt=view.attempt,
            seq=view.seq,
            persona=msgspec.convert(view.persona, Persona) if view.persona else None,
            artifacts=list(view.artifacts),
        )
        self.lifecycle = self.new_lifecycle(so_far.persona)
        if so_far.untold:
            self.say(self.lifecycle.begin())
        else:
            self.lifecycle.restore(so_far)
            self.say(self.lifecycle.resume(self.now))

    @invariant()
    def the_view_is_what_was_said(self) -> None:
        if hasattr(self, "view"):
            truth = self.truth
            assert (self.view.epoch, self.view.seq) == (truth.epoch, len(truth.reliable))
            assert self.view.offset == len(truth.said[truth.epoch])
            for client in self.clients:
                assert client.outbox is None or client.outbox.bytes <= LIMITS.max_bytes


TestResuming = Resuming.TestCase
TestResuming.settings = settings(max_examples=200, stateful_step_count=60, deadline=None, derandomize=True)
