"""The bounds of an outbox: frames, fairness, what is given up first, and when it is too much."""

import pytest
from msgspec import UNSET

from protocol.attachment import OWED_BYTES
from protocol.codec import Codec
from protocol.events import (
    End,
    Event,
    Pong,
    Snapshot,
)
from protocol.outbox import Drop, Outbox, OutboxLimits, TooSlow
from tests.helpers.outboxes import Gateway, end, messages, pong, preview, progress, sizes, small, state, text, thinking


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
