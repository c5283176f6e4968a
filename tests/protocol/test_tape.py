from typing import Any

import msgspec
import pytest

from protocol.events import PersonaReady, Snapshot, Text, Thinking
from protocol.persona import Persona
from protocol.tape import (
    Tape,
    TapeEvent,
    TapePicture,
    TapeUnreadable,
    as_json,
    drawing_of,
    fraction_of,
    read_tape,
    write_line,
    writing_of,
)
from tests.helpers.fakes import PERSONA
from tests.helpers.tapes import HEADER, SNAPSHOT, drawing, failure, tape, texts, whole_tape, writing


def written(played: Tape) -> bytes:
    picture = write_line(TapePicture(picture=played.picture)) if played.picture else b""
    return write_line(HEADER) + b"".join(write_line(message) for message in played.messages) + picture


def json_of(played: Tape) -> Any:
    pieces = as_json(writing_of(played).pieces, whole=True)
    return msgspec.json.decode("".join(piece for _, piece in pieces if isinstance(piece, str)))


@pytest.mark.parametrize("picture", [True, False])
def test_what_is_written_is_read(picture: bool) -> None:
    assert read_tape(written(whole_tape(picture=picture))) == whole_tape(picture=picture)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "line 1: there is no header"),
        ([b"{"], "line 1: "),
        ([b"\xff"], "line 1: "),
        ([b'{"tape": 2}'], "line 1: Invalid enum value 2"),
        ([write_line(HEADER)], "line 2: there is no snapshot"),
        ([write_line(HEADER), b"[0.0]"], "line 2: Expected `array` of length 2"),
        ([write_line(HEADER), b'[0.0, {"type": "pong", "id": 1}]'], "line 2: Invalid value 'pong'"),
        (
            [write_line(HEADER), write_line((1.0, SNAPSHOT)), write_line((0.5, SNAPSHOT))],
            "line 3: it goes back in time",
        ),
        ([write_line(HEADER), write_line((-1.0, SNAPSHOT))], "line 2: it goes back in time"),
        ([write_line(HEADER), b'[0.0, {"type": "snapshot"'], "line 2: Input data was truncated"),
        ([write_line(HEADER), write_line((0.0, SNAPSHOT)), b'{"picture": 7}'], "line 3: "),
        (
            [write_line(HEADER), write_line((0.0, SNAPSHOT)), b'{"picture": "AA=="}', write_line((0.0, SNAPSHOT))],
            "line 4: nothing comes after the picture",
        ),
    ],
)
def test_what_is_no_tape_is_refused_with_its_line(lines: list[bytes], said: str) -> None:
    with pytest.raises(TapeUnreadable) as raised:
        read_tape(b"\n".join(line.rstrip() for line in lines))
    assert str(raised.value).startswith(said)


def test_the_text_is_the_json_that_a_model_would_write() -> None:
    assert json_of(whole_tape()) == msgspec.to_builtins(PERSONA)
    odd = msgspec.structs.replace(PERSONA, name='"\\', backstory="ü\n\t🦊\u2028", traits=["]", "}", ","])
    ready = PersonaReady(session="s", seq=2, persona=odd)
    assert json_of(tape([(0.0, SNAPSHOT), *((0.0, text) for text in texts(odd, 1)), (1.0, ready)])) == (
        msgspec.to_builtins(odd)
    )


def test_times_count_from_the_beginning_of_the_writing() -> None:
    pieces = writing_of(tape(writing(began=100.0, every_s=0.5))).pieces
    assert [at for at, _ in pieces[:3]] == [0.5, 1.0, 1.5]
    assert isinstance(pieces[0][1], Thinking)


def test_what_was_taken_back_is_not_played() -> None:
    first: list[tuple[float, TapeEvent]] = [
        (0.0, SNAPSHOT),
        (1.0, Text(session="s", offset=0, path="/name", delta="Never")),
    ]
    again = msgspec.structs.replace(SNAPSHOT, epoch=2, state="writing")
    ready = PersonaReady(session="s", seq=2, persona=PERSONA)
    second: list[tuple[float, TapeEvent]] = [(3.0, again), *((4.0, text) for text in texts(PERSONA)), (5.0, ready)]
    played = tape([*first, *second])
    assert json_of(played) == msgspec.to_builtins(PERSONA)
    assert {at for at, _ in writing_of(played).pieces} == {1.0}
    assert writing_of(played).ends_s == 2.0


def test_text_from_before_the_recording_comes_at_once() -> None:
    half = Snapshot(**{**msgspec.structs.asdict(SNAPSHOT), "state": "writing", "persona": {"name": PERSONA.name}})
    rest = [text for text in texts(PERSONA) if text.path != "/name"]
    ready = PersonaReady(session="s", seq=2, persona=PERSONA)
    played = tape([(0.0, half), *((2.0, text) for text in rest), (3.0, ready)])
    assert json_of(played) == msgspec.to_builtins(PERSONA)
    assert writing_of(played).pieces[0][0] == 0.0


@pytest.mark.parametrize("state", ["waiting", "done"])
def test_a_persona_that_was_complete_is_played_whole(state: Any) -> None:
    persona = msgspec.to_builtins(PERSONA)
    complete = Snapshot(**{**msgspec.structs.asdict(SNAPSHOT), "state": state, "persona": persona})
    assert writing_of(tape([(0.0, complete)])).persona == PERSONA
    assert json_of(tape([(0.0, complete)])) == persona
    given: Persona = msgspec.structs.replace(PERSONA, name="Given")
    redraw = tape([(0.0, SNAPSHOT), (0.0, PersonaReady(session="s", seq=1, persona=given))])
    assert json_of(redraw)["name"] == "Given"


def test_a_writing_that_failed_says_when_and_why() -> None:
    half = writing_of(tape([*writing()[:6], failure(9.0, "hung up")]))
    assert half.persona is None
    assert half.ends_s == 8.0
    assert half.failure == "on the tape the hatch fails here: hung up"
    assert writing_of(tape(writing()[:6])).failure == "the tape breaks off here"


def test_a_drawing_begins_when_it_begins() -> None:
    played = drawing_of(whole_tape())
    assert [(at, progress.percent) for at, progress in played.advances] == [
        (0.0, 35.0),
        (3.0, 66.5),
        (4.0, 80.75),
        (5.0, 95.0),
        (5.0, 95.0),
    ]
    assert played.ends_s == 6.0
    assert played.steps == 2
    assert [fraction_of(progress) for _, progress in played.advances] == [0.0, 0.5, 0.75, 1.0, 0.0]


def test_only_the_last_attempt_at_a_picture_is_played() -> None:
    begun = writing()
    again = msgspec.structs.replace(SNAPSHOT, epoch=2, state="waiting", persona=msgspec.to_builtins(PERSONA))
    played = tape([*begun, *drawing(50.0)[:3], (60.0, again), *drawing(70.0)])
    assert drawing_of(played) == drawing_of(whole_tape())
    assert json_of(played) == msgspec.to_builtins(PERSONA)
