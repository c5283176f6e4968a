"""The checker: a true story is believed, and every way of breaking it is named."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from gateway.load.invariants import Violation, Witness, audit, fingerprint
from protocol.commands import ResumeCursor
from protocol.events import Event, Preview, Snapshot, State, Text, Thinking
from protocol.persona import extend
from tests.helpers.gateways import PERSONA
from tests.helpers.lying_gateway import Story, end, last_word, progress, snapshot, true_story

S = "s1"


def hear(story: Story, witness: Witness | None = None) -> list[Violation]:
    """All violations of a story told to one client."""
    witness = witness or Witness(S)
    found: list[Violation] = []
    for frame in story:
        for message in frame:
            found += witness.hear(message)  # type: ignore[arg-type]
        found += witness.settle()
    return found


def named(violations: Sequence[Violation]) -> set[str]:
    return {violation.invariant for violation in violations}


def test_a_true_story_is_believed() -> None:
    witness = Witness(S)
    assert hear(true_story(S), witness) == []
    assert witness.testimony is not None
    assert witness.testimony.outcome == "done"
    assert witness.testimony.persona == fingerprint(msgspec.to_builtins(PERSONA))
    assert audit(witness.testimony, last_word(S)) == []


def replaced(at: tuple[int, int], **fields: object) -> Callable[[Story], Story]:
    """The lie of one message (frame, place) with other fields."""
    frame, place = at

    def lie(story: Story) -> Story:
        told = [list(messages) for messages in story]
        told[frame][place] = msgspec.structs.replace(told[frame][place], **fields)
        return told

    return lie


def without(frame: int, place: int) -> Callable[[Story], Story]:
    return lambda story: [[m for j, m in enumerate(f) if (i, j) != (frame, place)] for i, f in enumerate(story)]


def then(frame: int, *messages: Event) -> Callable[[Story], Story]:
    """The lie of more messages after a frame, in a frame of their own."""
    return lambda story: [*story[: frame + 1], list(messages), *story[frame + 1 :]]


STOPPING = State(session=S, seq=2, state="cancelling")
TEXT = Text(session=S, offset=0, path="/name", delta="x")

LIES: list[tuple[str, str, Callable[[Story], Story]]] = [
    ("a gap in seq", "seq", replaced((5, 0), seq=7)),
    ("a repeated seq", "seq", replaced((4, 1), seq=2)),
    ("a reliable message is lost", "seq", without(4, 1)),
    ("no snapshot", "snapshot", without(0, 0)),
    ("a snapshot of the past", "snapshot", then(5, snapshot(S, seq=1, offset=0))),
    ("a snapshot that took text back", "snapshot", then(2, snapshot(S, seq=1, offset=3, state="writing"))),
    ("text is lost", "text-offset", without(2, 1)),
    ("text is told twice", "text-offset", lambda story: [*story[:3], story[2][:1], *story[3:]]),
    ("text after the persona", "text-offset", then(4, TEXT)),
    ("text for no field", "text-path", replaced((2, 3), path="/traits/5")),
    ("a list told as a string", "text-path", lambda story: replaced((3, 0), path="/traits")(story)),
    ("another letter", "text-differs", replaced((2, 0), delta="Wrem")),
    ("a snapshot with another text", "text-differs", then(2, snapshot(S, seq=1, offset=9999, state="writing"))),
    ("percent falls", "percent", then(5, progress(S, 49.0))),
    ("33 before the persona", "percent", replaced((2, 4), percent=33.0)),
    ("done at 99", "hundred", replaced((6, 1), percent=99.0)),
    ("done without 100", "hundred", without(6, 1)),
    ("100 in an earlier frame", "hundred", lambda story: [*story[:6], story[6][:2], story[6][2:]]),
    ("100 and no done", "hundred", lambda story: [*story[:6], [*story[6][:2], end(S, 6, "failed")]]),
    ("something between 100 and done", "hundred", lambda s: [*s[:6], [s[6][1], s[6][0], end(S, 6)]]),
    ("two ends", "one-end", then(6, end(S, 7))),
    ("progress after the end", "after-end", then(6, progress(S, 100.0))),
    ("a snapshot after the end", "after-end", then(6, last_word(S))),
    ("text after a cancel", "work-after-cancel", then(1, STOPPING, TEXT)),
    ("thoughts after a cancel", "work-after-cancel", then(1, STOPPING, Thinking(session=S, delta="hm"))),
    ("a persona after a cancel", "work-after-cancel", lambda s: [*s[:2], [STOPPING], *s[4:5]]),
    ("progress after a cancel", "work-after-cancel", then(1, STOPPING, progress(S, 2.0), progress(S, 3.0))),
    ("a stuck worker", "receipt", lambda s: [*s[:6], [*s[6][:2], stuck()]]),
]


def stuck() -> Event:
    told = end(S, 6)
    return msgspec.structs.replace(told, receipt=msgspec.structs.replace(told.receipt, worker="stuck"))


@pytest.mark.parametrize(("invariant", "lie"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES])
def test_a_lie_is_named(invariant: str, lie: Callable[[Story], Story]) -> None:
    assert invariant in named(hear(lie(true_story(S))))


def test_a_preview_after_a_cancel_is_work() -> None:
    preview = Preview(session=S, step=1, mime="image/png", width=1, height=1, data=b"")
    assert named(hear([[snapshot(S, seq=1, state="drawing")], [STOPPING], [preview]])) == {"work-after-cancel"}


def test_progress_that_waited_may_come_after_the_cancel_that_overtook_it() -> None:
    story: Story = [*true_story(S)[:2], [STOPPING, progress(S, 2.0)], [end(S, 3, "cancelled")]]
    assert hear(story) == []


def test_a_hatch_that_was_done_already_may_end_so_after_a_cancel() -> None:
    told = true_story(S)
    late: Story = [told[6][:1], [State(session=S, seq=6, state="cancelling")], [progress(S, 100.0), end(S, 7)]]
    assert hear([*told[:6], *late]) == []


def test_a_new_epoch_takes_back_percent_and_text() -> None:
    told = true_story(S)
    again = snapshot(S, epoch=2, seq=2, state="queued", attempt=2)
    assert hear([*told[:3], [again, progress(S, 0.0), *told[2][:1]]]) == []
    assert named(hear([*told[:3], [progress(S, 0.0)]])) == {"percent"}


def test_an_earlier_epoch_is_of_the_past() -> None:
    told = true_story(S)
    again = snapshot(S, epoch=2, seq=2, state="queued", attempt=2)
    assert named(hear([*told[:3], [again], [snapshot(S, epoch=1, seq=2)]])) == {"snapshot"}


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_client_that_was_away_goes_on_from_its_cursor_or_from_a_snapshot(cut: int) -> None:
    told, witness = true_story(S), Witness(S)
    assert hear(told[:cut], witness) == []
    witness.detached()
    witness.attached = True  # `current`: nothing was missed
    assert hear(told[cut:], witness) == []

    late = Witness(S)
    assert hear(told[:cut], late) == []
    late.detached()
    assert hear([[last_word(S)]], late) == []
    assert late.testimony == witness.testimony


def test_after_a_reconnect_nothing_comes_before_the_snapshot() -> None:
    told, witness = true_story(S), Witness(S)
    hear(told[:3], witness)
    witness.detached()
    assert named(hear(told[3:4], witness)) == {"snapshot"}


def test_the_cursor_is_what_was_heard() -> None:
    witness = Witness(S)
    hear(true_story(S)[:3], witness)
    heard = sum(len(m.delta) for m in true_story(S)[2] if isinstance(m, Text))
    assert witness.cursor == ResumeCursor(session=S, epoch=1, seq=1, offset=heard)
    assert witness.percent == 12.0


def test_a_snapshot_s_percent_counts() -> None:
    first = snapshot(S, seq=1, state="writing", progress=msgspec.to_builtins(progress(S, 20.0)))
    assert named(hear([[first], [progress(S, 19.0)]])) == {"percent"}


@pytest.mark.parametrize(
    "fields",
    [{"seq": 7}, {"offset": 1}, {"epoch": 2}, {"end": msgspec.UNSET}, {"artifacts": []}, {"persona": {"name": "Wran"}}],
)
def test_an_audit_finds_what_is_told_otherwise_at_last(fields: dict[str, object]) -> None:
    witness = Witness(S)
    hear(true_story(S), witness)
    assert witness.testimony is not None
    shown: Snapshot = msgspec.structs.replace(last_word(S), **fields)
    assert named(audit(witness.testimony, shown)) == {"audit"}


def test_a_persona_cut_short_is_neither_forgotten_nor_changed() -> None:
    witness = Witness(S)
    assert hear([*true_story(S)[:3], [end(S, 2, "cancelled")]], witness) == []
    assert witness.testimony is not None
    offset, cancelled = witness.testimony.offset, msgspec.to_builtins(end(S, 2, "cancelled"))
    shown = snapshot(S, seq=2, offset=offset, state="cancelled", end=cancelled)
    half: dict[str, Any] = {}
    for message in true_story(S)[2]:
        if isinstance(message, Text):
            extend(half, message.path, message.delta)
    for persona in ({}, half | {"name": "Wran"}):
        assert named(audit(witness.testimony, msgspec.structs.replace(shown, persona=persona))) == {"audit"}
    assert audit(witness.testimony, msgspec.structs.replace(shown, persona=half)) == []


def test_it_names_the_session_and_what_it_saw() -> None:
    (violation,) = hear([[snapshot(S)], [progress(S, 40.0)]])
    assert violation == Violation("percent", S, "40.0 before the persona")
