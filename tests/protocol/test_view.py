"""The fold of a session's entries, and the snapshots taken of it."""

import msgspec
import pytest

from protocol.commands import Cursor
from protocol.events import (
    Artifact,
    End,
    PersonaReady,
    Preview,
    Progress,
    Receipt,
    SessionItem,
    State,
    Text,
    Thinking,
)
from protocol.journal import Entry, EpochBegun
from protocol.view import SessionView
from tests.helpers.fakes import ENGINES, PERSONA, WRITER, record_of

RECEIPT = Receipt(
    queued_ms=1,
    writing_ms=2,
    waiting_ms=3,
    drawing_ms=4,
    total_ms=10,
    steps_done=4,
    steps=4,
    worker="exited",
    llm="closed",
    engines=ENGINES,
)
ARTIFACT = Artifact(
    session="s1", seq=4, kind="avatar", url="", sha256="ab" * 32, bytes=9, mime="image/png", width=16, height=16
)
PREVIEW = Preview(session="s1", step=1, mime="image/webp", width=8, height=8, data=b"x")
PROGRESS = Progress(session="s1", percent=50.0, stage="steps", basis="measured", message="")


def text(offset: int, path: str, delta: str) -> Text:
    return Text(session="s1", offset=offset, path=path, delta=delta)


def view_of(*entries: Entry) -> SessionView:
    view = SessionView(record_of())
    for entry in entries:
        view.apply(entry)
    return view


def sign(artifact: Artifact) -> Artifact:
    return msgspec.structs.replace(artifact, url=f"/signed/{artifact.sha256[:2]}")


def test_a_new_session() -> None:
    snapshot = view_of().snapshot(sign)
    assert (snapshot.state, snapshot.epoch, snapshot.seq, snapshot.offset, snapshot.attempt) == ("queued", 1, 0, 0, 1)
    assert snapshot.prompt == "an owl"
    assert (snapshot.persona, snapshot.artifacts) == ({}, [])
    assert {snapshot.id, snapshot.progress, snapshot.preview, snapshot.end} == {msgspec.UNSET}
    assert SessionView(record_of(persona=PERSONA)).state == "waiting"


def test_text_grows_where_it_belongs() -> None:
    view = view_of(
        text(0, "/name", "A"),
        Thinking(session="s1", delta="hm"),
        text(1, "/name", "da"),
        text(3, "/traits/0", "calm"),
        text(7, "/traits/1", "k"),
        text(8, "/traits/1", "ind 🦉"),
    )
    assert view.persona == {"name": "Ada", "traits": ["calm", "kind 🦉"]}
    assert view.offset == 13


def test_an_element_that_was_left_empty_does_not_end_a_hatch() -> None:
    assert view_of(text(0, "/traits/1", "kind")).persona == {"traits": ["", "kind"]}


def test_the_complete_persona_takes_the_place_of_the_text() -> None:
    view = view_of(text(0, "/name", "Ad"), PersonaReady(session="s1", seq=1, persona=PERSONA))
    assert msgspec.convert(view.persona, type(PERSONA)) == PERSONA
    assert view.seq == 1


def test_an_epoch_takes_back_what_was_shown() -> None:
    begun = EpochBegun(session="s1", epoch=2, attempt=2, state="queued", keeps_persona=False)
    view = view_of(text(0, "/name", "Ad"), PROGRESS, PREVIEW, begun)
    assert (view.epoch, view.attempt, view.state, view.offset) == (2, 2, "queued", 0)
    assert (view.persona, view.progress, view.preview) == ({}, None, None)


def test_an_epoch_may_keep_the_persona_and_never_resets_seq() -> None:
    begun = EpochBegun(session="s1", epoch=2, attempt=2, state="waiting", keeps_persona=True)
    view = view_of(PersonaReady(session="s1", seq=7, persona=PERSONA), begun)
    assert view.persona["name"] == "Ada"
    assert view.seq == 7


def test_the_end() -> None:
    end = End(session="s1", seq=5, outcome="done", receipt=RECEIPT, agent="a1")
    view = view_of(PROGRESS, PREVIEW, ARTIFACT, end)
    assert (view.state, view.seq, view.end) == ("done", 5, end)
    snapshot = view.snapshot(sign, previews=True)
    assert snapshot.end == end
    assert snapshot.preview is msgspec.UNSET, "an unfinished picture beside the finished one"
    assert [artifact.url for artifact in snapshot.artifacts] == ["/signed/ab"]


def test_a_snapshot_answers_its_request_and_shows_previews_to_those_who_want_them() -> None:
    view = view_of(PROGRESS, PREVIEW)
    assert view.snapshot(sign, id=0, previews=True).id == 0
    assert view.snapshot(sign, previews=True).preview == PREVIEW
    assert view.snapshot(sign).preview is msgspec.UNSET
    assert view.snapshot(sign).progress == PROGRESS


def test_a_snapshot_stays_what_it_was() -> None:
    view = view_of(text(0, "/name", "A"), text(1, "/traits/0", "c"))
    snapshot = view.snapshot(sign)
    view.apply(text(2, "/name", "da"))
    view.apply(text(4, "/traits/0", "alm"))
    view.apply(ARTIFACT)
    assert snapshot.persona == {"name": "A", "traits": ["c"]}
    assert snapshot.artifacts == []


@pytest.mark.parametrize(
    ("epoch", "seq", "offset", "current"),
    [(1, 1, 2, True), (1, 1, 1, False), (1, 0, 2, False), (2, 1, 2, False), (1, 2, 2, False)],
)
def test_a_cursor_is_current_when_nothing_was_missed(epoch: int, seq: int, offset: int, current: bool) -> None:
    view = view_of(State(session="s1", seq=1, state="writing"), text(0, "/name", "Ad"))
    assert view.is_current(Cursor(epoch=epoch, seq=seq, offset=offset)) is current


def test_the_line_of_a_listing() -> None:
    assert view_of(PROGRESS).item() == SessionItem(
        session="s1", state="queued", percent=50.0, created_at_ms=1000, prompt="an owl"
    )
    done = view_of(End(session="s1", seq=5, outcome="done", receipt=RECEIPT, agent="a1")).item()
    assert (done.state, done.percent, done.agent) == ("done", 100.0, "a1")
    assert view_of().item().percent == 0.0


def test_who_wrote_the_persona_is_known_for_as_long_as_the_persona_is() -> None:
    view = view_of(PersonaReady(session="s1", seq=1, persona=PERSONA, writer=WRITER))
    view.apply(EpochBegun(session="s1", epoch=2, attempt=2, state="waiting", keeps_persona=True))
    assert view.snapshot(sign).writer == WRITER
    view.apply(EpochBegun(session="s1", epoch=3, attempt=3, state="queued", keeps_persona=False))
    assert view.snapshot(sign).writer is msgspec.UNSET


def test_why_it_is_in_its_state_is_in_its_snapshots_and_outlasts_the_end() -> None:
    view = view_of(State(session="s1", seq=1, state="writing"))
    assert view.snapshot(sign).reason is msgspec.UNSET
    view.apply(State(session="s1", seq=2, state="cancelling", reason="enough"))
    assert view.snapshot(sign).reason == "enough"
    view.apply(End(session="s1", seq=3, outcome="cancelled", receipt=RECEIPT))
    assert view.snapshot(sign).reason == "enough"


def test_a_new_epoch_has_reasons_of_its_own() -> None:
    view = view_of(State(session="s1", seq=1, state="queued", reason="a crash"))
    view.apply(EpochBegun(session="s1", epoch=2, attempt=2, state="waiting", keeps_persona=True))
    assert view.snapshot(sign).reason is msgspec.UNSET
