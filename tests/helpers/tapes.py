"""Tapes made by hand."""

import msgspec

from protocol.events import (
    Artifact,
    End,
    Engines,
    Failure,
    PersonaReady,
    Progress,
    Receipt,
    Snapshot,
    State,
    Text,
    Thinking,
)
from protocol.persona import Persona, persona_strings
from protocol.tape import Tape, TapeEvent, TapeHeader
from tests.helpers.fakes import PERSONA, png

ENGINES = Engines(llm="openai", image="mflux")
HEADER = TapeHeader(session="s", prompt="an owl", timing="live", server="hatchery/1", engines=ENGINES)
SNAPSHOT = Snapshot(
    session="s", epoch=1, seq=0, offset=0, state="queued", attempt=1, prompt="an owl", persona={}, artifacts=[]
)
ARTIFACT = Artifact(session="s", seq=5, kind="avatar", url="", sha256="a", bytes=1, mime="", width=64, height=32)
RECEIPT = Receipt(
    queued_ms=0,
    writing_ms=0,
    waiting_ms=0,
    drawing_ms=0,
    total_ms=0,
    steps_done=2,
    steps=2,
    worker="idle",
    llm="closed",
    engines=ENGINES,
)


def texts(persona: Persona, size: int = 7) -> list[Text]:
    """The text of a persona in pieces of so many characters."""
    found: list[Text] = []
    offset = 0
    for path, text in persona_strings(persona):
        for at in range(0, len(text), size):
            delta = text[at : at + size]
            found.append(Text(session="s", offset=offset, path=path, delta=delta))
            offset += len(delta)
    return found


def writing(began: float = 1.0, every_s: float = 0.5) -> list[tuple[float, TapeEvent]]:
    """Queued for a second, then a thought, and a piece of PERSONA every half second."""
    pieces: list[Text | Thinking] = [Thinking(session="s", delta="Hm."), *texts(PERSONA)]
    told: list[tuple[float, TapeEvent]] = [(0.0, SNAPSHOT), (began, State(session="s", seq=1, state="writing"))]
    for n, piece in enumerate(pieces, start=1):
        told.append((began + n * every_s, piece))
    ready = PersonaReady(session="s", seq=2, persona=PERSONA)
    return [*told, (told[-1][0] + every_s, ready), (told[-1][0] + every_s, State(session="s", seq=3, state="waiting"))]


def drawing(began: float) -> list[tuple[float, TapeEvent]]:
    """A second of loading, two steps of two seconds with an estimate between, a second of decoding."""

    def progress(at: float, percent: float, **fields: object) -> tuple[float, Progress]:
        return began + at, msgspec.convert({"type": "progress", "session": "s", "percent": percent, **fields}, Progress)

    loading = {"stage": "loading", "basis": "indeterminate", "message": "The painter gets ready"}
    decoding = {"stage": "decoding", "basis": "measured", "message": "Decoding"}
    step = {"stage": "steps", "basis": "measured", "steps": 2, "step_s": 2.0}
    return [
        (began, State(session="s", seq=4, state="drawing")),
        progress(0.0, 35.0, **loading),
        progress(3.0, 66.5, **step, step=1, message="Step 1 of 2", eta_s=(2.0, 4.0)),
        progress(4.0, 80.75, stage="steps", basis="estimated", message="Drawing", step=1, steps=2),
        progress(5.0, 95.0, **step, step=2, message="Step 2 of 2"),
        progress(5.0, 95.0, **decoding),
        (began + 6.0, ARTIFACT),
        progress(6.0, 100.0, stage="saving", basis="measured", message="Hatched"),
        (began + 6.0, End(session="s", seq=6, outcome="done", receipt=RECEIPT)),
    ]


def tape(messages: list[tuple[float, TapeEvent]], *, picture: bool = True) -> Tape:
    """A tape of these, with a picture."""
    return Tape(header=HEADER, messages=messages, picture=png() if picture else None)


def whole_tape(*, picture: bool = True) -> Tape:
    """A whole hatch."""
    written = writing()
    return tape([*written, *drawing(written[-1][0] + 10)], picture=picture)


def failure(at: float, message: str) -> tuple[float, TapeEvent]:
    """An end that is none."""
    failed = Failure(code="llm_failed", message=message, retryable=False)
    return at, End(session="s", seq=9, outcome="failed", receipt=RECEIPT, error=failed)
