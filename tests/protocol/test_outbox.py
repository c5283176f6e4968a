"""One rule of delivery a test; the rules together are played against a client in test_outbox_machine.py."""

import msgspec
import pytest

from protocol.codec import Codec
from protocol.envelope import Envelope
from protocol.outbox import Outbox, OutboxLimits
from tests.helpers.outboxes import Gateway, messages, preview, progress, progress_event, small, state, text, thinking

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
