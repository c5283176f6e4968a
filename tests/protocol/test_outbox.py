"""One rule of delivery a test; the rules together are played against a client in test_outbox_machine.py."""

import msgspec
import pytest
from msgspec import UNSET, UnsetType

from protocol.attachment import OWED_BYTES
from protocol.codec import Codec
from protocol.commands import Id
from protocol.envelope import Envelope, Kind
from protocol.events import (
    End,
    Engines,
    Error,
    Event,
    Pong,
    Preview,
    Progress,
    Receipt,
    Snapshot,
    State,
    Text,
    Thinking,
)
from protocol.outbox import Drop, Outbox, OutboxLimits, TooSlow

RECEIPT = Receipt(
    queued_ms=0,
    writing_ms=0,
    waiting_ms=0,
    drawing_ms=0,
    total_ms=0,
    steps_done=0,
    steps=0,
    worker="none",
    llm="none",
    engines=Engines(llm="sim", image="sim"),
)


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


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def outbox(gateway: Gateway) -> Outbox:
    """Attached to session `s`, wanting previews, with a current cursor."""
    outbox = Outbox(Codec.JSON, OutboxLimits(), gateway.snapshot)
    outbox.attach("s", previews=True, owe_snapshot=False)
    return outbox


def small(gateway: Gateway, max_bytes: int, frame_bytes: int = 1 << 16) -> Outbox:
    outbox = Outbox(Codec.JSON, OutboxLimits(max_bytes=max_bytes, frame_bytes=frame_bytes), gateway.snapshot)
    outbox.attach("s", previews=True, owe_snapshot=False)
    return outbox


def messages(outbox: Outbox, now: float = 0.0) -> list[Event]:
    return [message for envelope in outbox.drain(now) for message in envelope.messages]


def sizes(*envelopes: Envelope) -> int:
    return sum(len(envelope.element(Codec.JSON)) for envelope in envelopes)


# --- order and conflation


def test_nothing_is_owed_at_first(outbox: Outbox) -> None:
    assert outbox.drain(0.0) == []
    assert outbox.due(0.0) is None
    assert outbox.bytes == 0
    assert not outbox.urgent


def test_reliable_text_and_thinking_keep_their_order(outbox: Outbox) -> None:
    offered = [state(1), text("a"), thinking("hm"), state(2), text("b", 1)]
    for envelope in offered:
        outbox.offer(envelope)
    assert outbox.drain(0.0) == offered


def test_a_lone_envelope_is_handed_on_as_the_same_object(outbox: Outbox) -> None:
    envelope = text("a")
    outbox.offer(envelope)
    (drained,) = outbox.drain(0.0)
    assert drained is envelope


def test_only_the_latest_progress_is_sent_and_after_what_preceded_it(outbox: Outbox) -> None:
    for envelope in (progress(1), state(1), progress(2), progress(3)):
        outbox.offer(envelope)
    assert messages(outbox) == [*state(1).messages, progress_event(3)]


def test_only_the_latest_preview_is_sent(outbox: Outbox) -> None:
    outbox.offer(preview(1))
    outbox.offer(preview(2))
    assert messages(outbox) == [*preview(2).messages]


def test_previews_are_for_those_who_asked(gateway: Gateway) -> None:
    outbox = Outbox(Codec.JSON, OutboxLimits(), gateway.snapshot)
    outbox.attach("s", owe_snapshot=False)
    outbox.offer(preview(1))
    assert outbox.due(0.0) is None
    assert outbox.bytes == 0


def test_who_no_longer_wants_previews_is_spared_the_pending_one(outbox: Outbox) -> None:
    outbox.offer(preview(1))
    outbox.attach("s", previews=False, owe_snapshot=False)
    assert outbox.drain(0.0) == []


def test_adjacent_deltas_of_one_path_are_merged(outbox: Outbox) -> None:
    outbox.offer(text("on", 0))
    outbox.offer(text("ce ", 2))
    outbox.offer(text("upon", 5))
    (drained,) = outbox.drain(0.0)
    assert drained.messages == text("once upon").messages
    assert msgspec.json.decode(drained.element(Codec.JSON))["delta"] == "once upon"


def test_adjacent_thoughts_are_merged(outbox: Outbox) -> None:
    outbox.offer(thinking("let me "))
    outbox.offer(thinking("see"))
    assert messages(outbox) == [*thinking("let me see").messages]


@pytest.mark.parametrize("between", [state(1), thinking("hm"), text("x", 1, "/name")])
def test_deltas_with_something_between_them_are_not_merged(outbox: Outbox, between: Envelope) -> None:
    offered = [text("a"), between, text("b", 2)]
    for envelope in offered:
        outbox.offer(envelope)
    assert outbox.drain(0.0) == offered


def test_deltas_of_two_sessions_are_not_merged(outbox: Outbox) -> None:
    outbox.attach("t", owe_snapshot=False)
    offered = [text("a"), text("b", session="t")]
    for envelope in offered:
        outbox.offer(envelope)
    assert outbox.drain(0.0) == offered


def test_watchers_of_one_session_get_the_same_merged_envelope(gateway: Gateway) -> None:
    outboxes = [small(gateway, 1 << 20) for _ in range(3)]
    deltas = [text("a"), text("b", 1), text("c", 2)]
    for delta in deltas:
        for outbox in outboxes:
            outbox.offer(delta)
    first, second, third = (outbox.drain(0.0)[0] for outbox in outboxes)
    assert first is second is third
    assert first.messages == text("abc").messages


def test_events_of_sessions_not_attached_are_ignored(outbox: Outbox) -> None:
    outbox.offer(state(1, "other"))
    assert outbox.due(0.0) is None


# --- throttling


def test_progress_is_throttled_per_session(gateway: Gateway) -> None:
    outbox = Outbox(Codec.JSON, OutboxLimits(), gateway.snapshot)
    outbox.attach("s", max_hz=2, owe_snapshot=False)
    outbox.attach("t", owe_snapshot=False)
    outbox.offer(progress(1))
    assert messages(outbox, 10.0) == [progress_event(1)]
    outbox.offer(progress(2))
    outbox.offer(progress(3))
    assert outbox.due(10.1) == 10.5
    assert outbox.drain(10.1) == []
    outbox.offer(progress(5, "t"))
    assert messages(outbox, 10.2) == [progress_event(5, "t")]
    assert outbox.due(10.2) == 10.5
    assert messages(outbox, 10.5) == [progress_event(3)]
    assert outbox.due(10.5) is None


def test_throttled_progress_waits_while_events_pass(gateway: Gateway) -> None:
    outbox = Outbox(Codec.JSON, OutboxLimits(), gateway.snapshot)
    outbox.attach("s", max_hz=1, owe_snapshot=False)
    outbox.offer(progress(1))
    outbox.drain(0.0)
    outbox.offer(progress(2))
    outbox.offer(state(1))
    assert outbox.due(0.5) == 0.5
    assert messages(outbox, 0.5) == [*state(1).messages]
    assert outbox.due(0.5) == 1.0
    assert messages(outbox, 1.0) == [progress_event(2)]


def test_progress_that_is_overdue_is_due_now(gateway: Gateway) -> None:
    outbox = Outbox(Codec.JSON, OutboxLimits(), gateway.snapshot)
    outbox.attach("s", max_hz=1, owe_snapshot=False)
    outbox.offer(progress(1))
    outbox.drain(0.0)
    outbox.offer(progress(2))
    assert outbox.due(7.0) == 7.0


def test_a_new_wish_lifts_the_throttle(gateway: Gateway) -> None:
    outbox = Outbox(Codec.JSON, OutboxLimits(), gateway.snapshot)
    outbox.attach("s", max_hz=0.01, owe_snapshot=False)
    outbox.offer(progress(1))
    outbox.drain(0.0)
    outbox.offer(progress(2))
    outbox.attach("s", owe_snapshot=False)
    assert messages(outbox, 0.1) == [progress_event(2)]


def test_throttled_progress_of_a_detached_session_is_not_due(gateway: Gateway) -> None:
    outbox = Outbox(Codec.JSON, OutboxLimits(), gateway.snapshot)
    outbox.attach("s", max_hz=1, owe_snapshot=False)
    outbox.offer(progress(1))
    outbox.drain(0.0)
    outbox.offer(progress(2))
    outbox.detach("s")
    assert outbox.due(0.0) is None
    assert outbox.drain(5.0) == []


# --- the end


def test_pending_progress_and_preview_give_way_to_the_end(outbox: Outbox) -> None:
    outbox.offer(progress(99))
    outbox.offer(preview(4))
    outbox.offer(end(1, "done"))
    drained = messages(outbox)
    assert drained == [*end(1, "done").messages]
    assert [type(message) for message in drained] == [Progress, End]


def test_throttled_progress_gives_way_to_the_end(gateway: Gateway) -> None:
    outbox = Outbox(Codec.JSON, OutboxLimits(), gateway.snapshot)
    outbox.attach("s", max_hz=1, owe_snapshot=False)
    outbox.offer(progress(1))
    outbox.drain(0.0)
    outbox.offer(progress(2))
    outbox.offer(end(1))
    assert messages(outbox) == [*end(1).messages]
    assert outbox.due(0.0) is None
    assert outbox.drain(9.0) == []


def test_a_session_is_detached_once_its_end_is_drained(outbox: Outbox) -> None:
    outbox.offer(end(1))
    assert outbox.attached("s")
    outbox.drain(0.0)
    assert not outbox.attached("s")
    assert not outbox.sessions


def test_a_session_is_detached_once_a_snapshot_with_its_end_is_drained(gateway: Gateway, outbox: Outbox) -> None:
    gateway.ended = True
    outbox.attach("s", owe_snapshot=True, request_id=1)
    outbox.attach("s", owe_snapshot=True, request_id=2)
    assert [message.id for message in messages(outbox) if isinstance(message, Snapshot)] == [1, 2]
    assert not outbox.attached("s")


def test_an_error_in_place_of_a_snapshot_detaches() -> None:
    def gone(session: str, request_id: Id | UnsetType, _previews: bool) -> Envelope:
        return Envelope(Kind.ANSWER, (Error(code="gone", message="", retryable=False, id=request_id),), session)

    outbox = Outbox(Codec.JSON, OutboxLimits(), gone)
    outbox.attach("s", owe_snapshot=True, request_id=1)
    assert [type(message) for message in messages(outbox)] == [Error]
    assert not outbox.attached("s")


# --- snapshots


def test_a_snapshot_stands_for_what_is_offered_while_it_is_owed(gateway: Gateway) -> None:
    outbox = Outbox(Codec.JSON, OutboxLimits(), gateway.snapshot)
    outbox.attach("s", owe_snapshot=True, request_id="w", previews=True)
    for envelope in (state(1), text("a"), progress(3), preview(1)):
        outbox.offer(envelope)
    assert gateway.calls == []
    assert [type(message) for message in messages(outbox)] == [Snapshot]
    assert gateway.calls == [("s", "w", True)]
    outbox.offer(state(8))
    assert messages(outbox) == [*state(8).messages]


def test_every_watch_request_gets_its_own_snapshot(gateway: Gateway, outbox: Outbox) -> None:
    outbox.attach("s", owe_snapshot=True, request_id=1)
    outbox.attach("s", owe_snapshot=True, request_id="two")
    outbox.offer(state(1))
    assert [message.id for message in messages(outbox) if isinstance(message, Snapshot)] == [1, "two"]


def test_a_requested_snapshot_also_serves_a_new_epoch(gateway: Gateway, outbox: Outbox) -> None:
    outbox.reset("s")
    outbox.attach("s", owe_snapshot=True, request_id=1)
    outbox.reset("s")
    assert [message.id for message in messages(outbox) if isinstance(message, Snapshot)] == [1]


def test_an_accepted_answer_precedes_the_snapshot(gateway: Gateway) -> None:
    outbox = Outbox(Codec.JSON, OutboxLimits(), gateway.snapshot)
    outbox.attach("s", owe_snapshot=True)
    outbox.say(pong(1))
    assert [type(message) for message in messages(outbox)] == [Pong, Snapshot]


def test_a_new_epoch_drops_what_is_pending(outbox: Outbox) -> None:
    for envelope in (state(1), text("a"), progress(1), preview(1)):
        outbox.offer(envelope)
    outbox.reset("s")
    assert [type(message) for message in messages(outbox)] == [Snapshot]


def test_a_reset_of_another_session_changes_nothing(outbox: Outbox) -> None:
    outbox.reset("other")
    assert outbox.due(0.0) is None


def test_a_built_snapshot_that_did_not_fit_still_answers_its_request_after_a_new_epoch(gateway: Gateway) -> None:
    outbox = small(gateway, 10_000, frame_bytes=250)
    outbox.attach("s", owe_snapshot=True, request_id=1)
    outbox.attach("s", owe_snapshot=True, request_id=2)
    assert [type(message) for message in messages(outbox)] == [Snapshot]
    assert [call[1] for call in gateway.calls] == [1, 2]
    outbox.reset("s")
    (second,) = messages(outbox)
    assert isinstance(second, Snapshot)
    assert second.id == 2
    assert [call[1] for call in gateway.calls] == [1, 2, 2]


def test_detaching_drops_what_is_pending(outbox: Outbox) -> None:
    outbox.offer(state(1))
    outbox.detach("s")
    assert outbox.drain(0.0) == []
    assert outbox.bytes == 0
    outbox.offer(state(2))
    assert outbox.due(0.0) is None


def test_a_request_is_answered_even_if_its_session_is_detached_before(gateway: Gateway, outbox: Outbox) -> None:
    outbox.attach("s", owe_snapshot=True, request_id=1)
    outbox.detach("s")
    outbox.say(pong(2))
    first, second = messages(outbox)
    assert isinstance(first, Snapshot)
    assert first.id == 1
    assert second == Pong(id=2)
    assert not outbox.attached("s")


def test_detaching_what_is_not_attached_changes_nothing(outbox: Outbox) -> None:
    outbox.detach("other")
    assert list(outbox.sessions) == ["s"]


# --- urgency and frames


def test_answers_reliable_events_and_snapshots_are_urgent(outbox: Outbox) -> None:
    for envelope in (text("a"), thinking("b"), progress(1), preview(1)):
        outbox.offer(envelope)
    assert not outbox.urgent
    outbox.offer(state(1))
    assert outbox.urgent
    outbox.drain(0.0)
    assert not outbox.urgent
    outbox.say(pong(1))
    assert outbox.urgent
    outbox.drain(0.0)
    outbox.reset("s")
    assert outbox.urgent


def test_a_frame_is_bounded_and_the_rest_comes_next(gateway: Gateway) -> None:
    offered = [state(seq) for seq in range(1, 7)]
    outbox = small(gateway, 1 << 20, frame_bytes=2 * sizes(offered[0]))
    for envelope in offered:
        outbox.offer(envelope)
    frames = [outbox.drain(0.0) for _ in range(4)]
    assert frames == [offered[:2], offered[2:4], offered[4:], []]


def test_an_envelope_longer_than_a_frame_has_its_own(gateway: Gateway) -> None:
    outbox = small(gateway, 1 << 20, frame_bytes=10)
    offered = [state(1), state(2), progress(3)]
    for envelope in offered:
        outbox.offer(envelope)
    assert [outbox.drain(0.0) for _ in range(4)] == [[state_] for state_ in offered] + [[]]


def test_answers_keep_their_order_over_frames(gateway: Gateway) -> None:
    outbox = small(gateway, 1 << 20, frame_bytes=60)
    outbox.offer(state(1))
    for id_ in range(5):
        outbox.say(pong(id_))
    drained: list[Event] = []
    while batch := messages(outbox):
        drained += batch
    assert drained == [*(Pong(id=id_) for id_ in range(5)), *state(1).messages]


def test_a_full_session_does_not_starve_another(gateway: Gateway) -> None:
    outbox = small(gateway, 1 << 20, frame_bytes=2 * sizes(state(1)))
    outbox.attach("t", owe_snapshot=False)
    for seq in range(1, 100):
        outbox.offer(state(seq))
    outbox.offer(state(1, "t"))
    outbox.drain(0.0)
    assert state(1, "t").messages[0] in messages(outbox)


# --- the bound


def test_bytes_are_the_encoded_size_for_this_codec(gateway: Gateway) -> None:
    for codec in Codec:
        outbox = Outbox(codec, OutboxLimits(), gateway.snapshot)
        outbox.attach("s", previews=True, owe_snapshot=False)
        kept = [state(1), text("a"), text("b", 1), progress(2), preview(2, b"\0\1")]
        for envelope in (*kept[:3], progress(1), progress(2), preview(1), kept[4]):
            outbox.offer(envelope)
        outbox.say(pong(1))
        assert outbox.bytes == sum(len(envelope.element(codec)) for envelope in [*kept, pong(1)])
        outbox.drain(0.0)
        assert outbox.bytes == 0


def test_over_the_bound_previews_go_first(gateway: Gateway) -> None:
    kept = [state(1), progress(1), state(2)]
    outbox = small(gateway, sizes(*kept))
    for envelope in (kept[0], preview(1), *kept[1:]):
        outbox.offer(envelope)
    assert outbox.drain(0.0) == [kept[0], kept[2], kept[1]]


def test_over_the_bound_progress_goes_next(gateway: Gateway) -> None:
    kept = [state(1), state(2)]
    outbox = small(gateway, sizes(*kept))
    for envelope in (kept[0], preview(1), progress(1), kept[1]):
        outbox.offer(envelope)
    assert outbox.drain(0.0) == kept


def test_over_the_bound_the_largest_session_becomes_a_snapshot(gateway: Gateway) -> None:
    outbox = small(gateway, 1000)
    outbox.attach("t", owe_snapshot=False)
    outbox.offer(state(1, "t"))
    outbox.say(pong(1))
    for seq in range(1, 31):
        outbox.offer(state(seq))
        assert outbox.bytes <= 1000
    assert sorted(type(message).__name__ for message in messages(outbox)) == ["Pong", "Snapshot", "State"]
    assert gateway.calls == [("s", UNSET, True)]
    assert outbox.attached("s")


def test_an_end_that_was_shed_comes_with_the_snapshot(gateway: Gateway) -> None:
    outbox = small(gateway, 500)
    outbox.offer(state(6))
    outbox.offer(text("x" * 400))
    outbox.offer(end(7))
    gateway.ended = True
    (only,) = messages(outbox)
    assert isinstance(only, Snapshot)
    assert isinstance(only.end, End)
    assert not outbox.attached("s")


def test_answers_alone_over_the_bound_are_too_much(gateway: Gateway) -> None:
    outbox = small(gateway, 100)
    while not outbox.too_slow:
        assert outbox.bytes <= 100
        outbox.say(pong(1))
    assert outbox.urgent
    assert outbox.due(3.0) == 3.0
    assert outbox.bytes == 0
    with pytest.raises(TooSlow):
        outbox.drain(0.0)


def test_what_is_given_up_is_told(gateway: Gateway) -> None:
    drops: list[Drop] = []
    kept = [state(1), state(2)]
    outbox = Outbox(Codec.JSON, OutboxLimits(max_bytes=sizes(*kept)), gateway.snapshot, drops.append)
    outbox.attach("s", previews=True, owe_snapshot=False)
    for envelope in (kept[0], preview(1), progress(1), kept[1]):
        outbox.offer(envelope)
    assert drops == ["preview", "progress"]
    for seq in range(3, 9):
        outbox.offer(state(seq))
    assert drops == ["preview", "progress", "session"]
    while not outbox.too_slow:
        outbox.say(pong(1))
    assert drops == ["preview", "progress", "session", "client"]


def test_a_snapshot_longer_than_the_bound_is_too_much(gateway: Gateway) -> None:
    gateway.prompt = "x" * 1000
    outbox = small(gateway, 500)
    outbox.reset("s")
    with pytest.raises(TooSlow):
        outbox.drain(0.0)
    assert outbox.too_slow


def test_watch_requests_without_end_are_too_much(gateway: Gateway) -> None:
    outbox = small(gateway, 1000)
    for id_ in range(1000 // OWED_BYTES + 1):
        assert not outbox.too_slow
        outbox.attach("s", owe_snapshot=True, request_id=id_)
    assert outbox.too_slow


def test_an_outbox_given_up_takes_nothing_more(gateway: Gateway) -> None:
    outbox = small(gateway, 10)
    outbox.say(pong(1))
    assert outbox.too_slow
    outbox.say(pong(2))
    outbox.attach("s", owe_snapshot=True)
    outbox.offer(state(1))
    assert outbox.bytes == 0
    assert not outbox.sessions
