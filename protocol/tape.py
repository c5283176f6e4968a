"""A hatch as it was told, with its times: one JSON value a line, to be kept, sent along and played again.

First a header, then `[seconds, message]` for every message of the wire protocol, and at last the picture, if kept.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from protocol.events import (
    Artifact,
    End,
    Engines,
    PersonaReady,
    Progress,
    SessionEvent,
    Snapshot,
    State,
    Text,
    Thinking,
)
from protocol.persona import Persona, persona_strings
from protocol.progress import SPANS

VERSION: Final = 1
MAX_BYTES: Final = 64 * 1024 * 1024  # of a whole tape

TapeEvent = SessionEvent | Snapshot


class TapeHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. `timing` tells whether the hatch was watched from its beginning, joined, or over already."""

    tape: Literal[1] = VERSION
    session: str
    prompt: str
    timing: Literal["live", "joined", "none"]
    server: str
    engines: Engines


class TapePicture(msgspec.Struct, frozen=True, kw_only=True):
    """The last line: the finished picture."""

    picture: bytes


class Tape(msgspec.Struct, frozen=True, kw_only=True):
    """A whole tape; times are seconds from the first message."""

    header: TapeHeader
    messages: Sequence[tuple[float, TapeEvent]]
    picture: bytes | None


class TapeUnreadable(ValueError):
    """A line of a tape that cannot be; counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line


_HEADER: Final = msgspec.json.Decoder(TapeHeader)
_MESSAGE: Final = msgspec.json.Decoder(tuple[float, TapeEvent])
_PICTURE: Final = msgspec.json.Decoder(TapePicture)


def write_line(line: TapeHeader | tuple[float, TapeEvent] | TapePicture) -> bytes:
    """One line of a tape, with its end."""
    return msgspec.json.encode(line) + b"\n"


def read_tape(data: bytes) -> Tape:
    """The tape that `data` holds; one that breaks off between two lines is a tape. Raises TapeUnreadable."""
    header: TapeHeader | None = None
    messages: list[tuple[float, TapeEvent]] = []
    picture: bytes | None = None
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            if header is None:
                header = _HEADER.decode(line)
            elif picture is not None:
                raise TapeUnreadable(number, "nothing comes after the picture")
            elif line.startswith(b"["):
                message = _MESSAGE.decode(line)
                if message[0] < (messages[-1][0] if messages else 0.0):
                    raise TapeUnreadable(number, "it goes back in time")
                messages.append(message)
            else:
                picture = _PICTURE.decode(line).picture
        except (msgspec.DecodeError, RecursionError) as error:
            raise TapeUnreadable(number, str(error) or "it is nested too deeply") from error
    if header is None:
        raise TapeUnreadable(1, "there is no header")
    if not any(isinstance(message, Snapshot) for _, message in messages):
        raise TapeUnreadable(2, "there is no snapshot, with which every hatch begins")
    return Tape(header=header, messages=messages, picture=picture)


# --- what an engine does, as seen from its tape: the last epoch of each part, in seconds from the part's beginning


class Writing(msgspec.Struct, frozen=True, kw_only=True):
    """How a persona was written: when which piece came, and the persona, or else why there is none."""

    pieces: Sequence[tuple[float, Text | Thinking]]
    ends_s: float
    persona: Persona | None
    failure: str


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """How a picture was drawn: what progress was told when, and the picture, or else why there is none."""

    advances: Sequence[tuple[float, Progress]]
    ends_s: float
    artifact: Artifact | None
    failure: str

    @property
    def steps(self) -> int:
        """How many there were; 0 if none was told."""
        return max((advance.steps or 0 for _, advance in self.advances), default=0)


def writing_of(tape: Tape) -> Writing:
    """The last writing on a tape; text that was there when the recording began comes at once."""
    pieces: list[tuple[float, Text | Thinking]] = []
    began = ends = 0.0
    epoch = 0
    persona: Persona | None = None
    for at, message in tape.messages:
        match message:
            case Snapshot() if message.epoch != epoch:
                epoch, began = message.epoch, at
                if not message.persona:
                    persona = None
                if persona is None:
                    pieces = [(0.0, text) for text in _texts(tape.header.session, _partial_strings(message.persona))]
                if message.state not in ("queued", "writing"):
                    persona = persona or _whole(message.persona)
            case State(state="writing"):
                began = at
            case Text() | Thinking() if persona is None:
                pieces.append((at - began, message))
            case PersonaReady():
                persona, ends = message.persona, at - began
            case End() if persona is None:
                ends = at - began
            case _:
                pass
    if persona is not None and not any(isinstance(piece, Text) for _, piece in pieces):
        pieces.extend((0.0, text) for text in _texts(tape.header.session, persona_strings(persona)))
    return Writing(pieces=pieces, ends_s=ends, persona=persona, failure=_failure(tape))


def drawing_of(tape: Tape) -> Drawing:
    """The last drawing on a tape."""
    advances: list[tuple[float, Progress]] = []
    began = ends = 0.0
    epoch = 0
    artifact: Artifact | None = None
    for at, message in tape.messages:
        match message:
            case Snapshot():
                if message.epoch != epoch:
                    epoch, began, advances = message.epoch, at, []
                if message.artifacts:
                    artifact, ends = message.artifacts[-1], at - began
            case State(state="drawing"):
                began, advances = at, []
            case Progress() if message.stage not in ("queued", "persona", "waiting") and message.percent < 100:
                advances.append((at - began, message))
            case Artifact():
                artifact, ends = message, at - began
            case End() if artifact is None:
                ends = at - began
            case _:
                pass
    return Drawing(advances=advances, ends_s=ends, artifact=artifact, failure=_failure(tape))


def fraction_of(progress: Progress) -> float:
    """The share of its stage that a progress event stands for, 0 to 1."""
    begin, end = SPANS[progress.stage]
    return min(max((progress.percent - begin) / (end - begin), 0.0), 1.0) if end > begin else 0.0


def as_json(pieces: Iterable[tuple[float, Text | Thinking]], *, whole: bool) -> Iterator[tuple[float, Thinking | str]]:
    """The pieces with their text as a model writes it: the parts of one JSON object, closed if it is `whole`."""
    path = ""
    for at, piece in pieces:
        if isinstance(piece, Thinking):
            yield at, piece
            continue
        between = "" if piece.path == path else _between(path, piece.path)
        path = piece.path
        yield at, between + json.dumps(piece.delta, ensure_ascii=False)[1:-1]
    if whole:
        yield 0.0, _between(path, "")


def _between(path: str, following: str) -> str:
    """The JSON that ends the string at one pointer and begins that at the next; "" stands for the object's ends."""
    name, _, index = path[1:].partition("/")
    next_name, _, next_index = following[1:].partition("/")
    if name and name == next_name:
        return '", "'
    closed = ('"]' if index else '"') if name else "{"
    if not next_name:
        return closed + "}"
    comma = ", " if name else ""
    bracket = "[" if next_index else ""
    return f'{closed}{comma}"{next_name}": {bracket}"'


def _partial_strings(persona: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in persona.items():
        if isinstance(value, str):
            yield f"/{name}", value
        else:
            yield from ((f"/{name}/{i}", item) for i, item in enumerate(value))


def _texts(session: str, strings: Iterable[tuple[str, str]]) -> list[Text]:
    texts: list[Text] = []
    offset = 0
    for path, text in strings:
        texts.append(Text(session=session, offset=offset, path=path, delta=text))
        offset += len(text)
    return texts


def _whole(persona: dict[str, Any]) -> Persona | None:
    try:
        return msgspec.convert(persona, Persona)
    except msgspec.ValidationError:
        return None


def _failure(tape: Tape) -> str:
    """Why what is asked for is not on the tape."""
    end = next((message for _, message in reversed(tape.messages) if isinstance(message, End)), None)
    last = tape.messages[-1][1]
    if end is None and isinstance(last, Snapshot) and isinstance(last.end, End):
        end = last.end
    if end is None:
        return "the tape breaks off here"
    if end.error is not None:
        return f"on the tape the hatch fails here: {end.error.message}"
    return f"on the tape the hatch is {end.outcome} here"
