"""What an outbox owes by snapshot, and how sessions come to their end in it."""

from msgspec import UnsetType

from protocol.codec import Codec
from protocol.commands import Id
from protocol.envelope import Envelope, Kind
from protocol.events import (
    End,
    Error,
    Pong,
    Progress,
    Snapshot,
)
from protocol.outbox import Outbox, OutboxLimits
from tests.helpers.outboxes import Gateway, end, messages, pong, preview, progress, small, state, text


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
