"""Shared by the tests of hatches: a persona, a recorder, scripted engines, the promises, and a steady scheduler."""

import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from random import Random

import msgspec
import trio
import trio._core._run
from PIL import Image

from actors.artifacts import StoredPicture
from actors.llm.backend import Chunk, Finished, LlmRequest, TextChunk
from actors.mflux.engine import RenderJob, Tell
from protocol.commands import HatchRequest, ImageOptions
from protocol.events import Artifact, Choices, End, Engines, PersonaReady, Progress, Reliable, State, Text
from protocol.forecast import Range
from protocol.journal import Entry, EpochBegun, SessionRecord
from protocol.mail import PictureStored, StepFinished, WorkerLeft
from protocol.maker import Maker
from protocol.persona import Persona
from protocol.view import SessionView

ENGINES = Engines(llm="scripted", image="scripted")
PERSONA = Persona(
    name="Ada",
    species="owl",
    tagline="Sees it first.",
    traits=["calm", "curious", "kind"],
    backstory="Hatched in a tower.\n\nStayed there.",
    greeting="Hoo!",
    system_prompt="You are Ada.",
    palette=["#102030", "#405060", "#708090"],
    avatar_prompt="an owl in a tower",
)
WRITER = Maker(engine="scripted", model="owl-7b")
PAINTER = Maker(engine="scripted", model="schnell", version="0.24.1")
STORED = StoredPicture("ab" * 32, 4711, "image/png", 64, 32)
PICTURE = PictureStored(sha256=STORED.sha256, bytes=4711, mime="image/png", width=64, height=32)


def record_of(session: str = "s1", *, owner: str = "ann", persona: Persona | None = None) -> SessionRecord:
    """The record of a session that begins with nothing but a prompt, or is a redraw."""
    return SessionRecord(
        session=session, owner=owner, hatch=HatchRequest(prompt="an owl", persona=persona), created_at_ms=1_000
    )


def png(width: int = 64, height: int = 32, colour: str = "teal") -> bytes:
    """A whole PNG with more than one row of noise-free pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


class Recorder:
    """Stands where the hub stands: keeps all that is published, and wakes who waits for it."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Entry]] = {}
        self.batches: list[list[Entry]] = []
        self._news = trio.lowlevel.ParkingLot()

    def publish(self, view: SessionView, entries: Sequence[Entry]) -> None:
        """What an EventLog calls."""
        self.entries.setdefault(view.session, []).extend(entries)
        self.batches.append(list(entries))
        self._news.unpark_all()

    def of(self, session: str = "s1") -> list[Entry]:
        """All entries of one session, in order."""
        return self.entries.get(session, [])

    def end(self, session: str = "s1") -> End:
        """Its one end."""
        (end,) = [entry for entry in self.of(session) if isinstance(entry, End)]
        return end

    async def until(self, condition: Callable[[list[Entry]], bool], session: str = "s1") -> None:
        """Wait until what has been published of the session fulfils the condition."""
        while not condition(self.of(session)):
            await self._news.park()

    async def until_state(self, state: str, session: str = "s1") -> None:
        """Wait until the session is said to be in a state; sessions are born `queued`, or `waiting` in a redraw."""
        await self.until(lambda entries: state in states(entries), session)


def states(entries: Sequence[Entry]) -> list[str]:
    """The states that were announced, in order, the outcome included."""
    return [
        entry.outcome if isinstance(entry, End) else entry.state for entry in entries if isinstance(entry, State | End)
    ]


class Promises:
    """Checks entries, one by one, against what the wire contract promises of a session; see its sections 4 and 5."""

    def __init__(self, *, redraw: bool = False) -> None:
        self.ended = False
        self._seq = 0
        self._epoch = 1
        self._offset = 0
        self._percent = 0.0
        self._persona_complete = redraw
        self._hundred = False

    def check(self, entry: Entry) -> None:
        """Raise AssertionError for an entry that may not come now."""
        assert not self.ended, "nothing comes after the end"
        assert not self._hundred or isinstance(entry, End), "100 % comes directly before the end"
        if isinstance(entry, Reliable):
            assert entry.seq == self._seq + 1, "seq rises by one"
            self._seq = entry.seq
        match entry:
            case EpochBegun(epoch=epoch, keeps_persona=keeps_persona):
                assert epoch == self._epoch + 1
                assert keeps_persona == self._persona_complete
                self._epoch, self._offset, self._percent = epoch, 0, 0.0
            case Text(offset=offset, delta=delta):
                assert offset == self._offset, "no character is lost"
                assert not self._persona_complete, "the persona supersedes all text"
                self._offset += len(delta)
            case PersonaReady():
                self._persona_complete = True
            case Progress(percent=percent):
                assert percent >= self._percent, "percent never goes back"
                assert percent < 33 or self._persona_complete, "33 % is a complete persona"
                self._percent, self._hundred = percent, percent >= 100
            case End(outcome=outcome):
                assert (outcome == "done") == self._hundred, "100 % comes before done, and never otherwise"
                self.ended = True
            case _:
                pass


def assert_truthful(entries: Sequence[Entry], *, redraw: bool = False) -> None:
    """Raise AssertionError unless these are all entries of one session, and keep every promise."""
    promises = Promises(redraw=redraw)
    for entry in entries:
        promises.check(entry)
    assert promises.ended, "there is one end"
    artifacts = [entry for entry in entries if isinstance(entry, Artifact)]
    assert bool(artifacts) == (states(entries)[-1] == "done")


def pieces(persona: Persona = PERSONA, size: int = 20) -> list[Chunk]:
    """One whole answer, as a model streams it."""
    text = json.dumps(msgspec.to_builtins(persona))
    return [*(TextChunk(text[at : at + size]) for at in range(0, len(text), size)), Finished("stop")]


class ScriptedWriter:
    """An LlmBackend that plays one answer per request, the last one for ever: chunks, exceptions and pauses in s."""

    name = "scripted"

    def __init__(self, *answers: Sequence[Chunk | Exception | float]) -> None:
        self.maker = WRITER
        self._answers = answers or (pieces(),)
        self.requests: list[LlmRequest] = []
        self.open = 0

    @asynccontextmanager
    async def open_stream(self, request: LlmRequest) -> AsyncIterator[AsyncIterator[Chunk]]:
        """See LlmBackend; an exception at the very beginning is raised before there is a stream."""
        answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
        self.requests.append(request)
        self.open += 1
        try:
            await trio.lowlevel.checkpoint()
            if answer and isinstance(answer[0], Exception):
                raise answer[0]
            async with aclosing(self._play(answer)) as chunks:
                yield chunks
        finally:
            self.open -= 1

    async def _play(self, answer: Sequence[Chunk | Exception | float]) -> AsyncGenerator[Chunk, None]:
        for item in answer:
            match item:
                case Exception():
                    raise item
                case float():
                    await trio.sleep(item)
                case _:
                    await trio.lowlevel.checkpoint()
                    yield item


class ScriptedPainter:
    """An ImageEngine whose drawings each take `step_s` per step and end as told; the last word is for ever."""

    name = "scripted"
    choices: Choices | None = None

    def __init__(self, *ends: StoredPicture | Exception, steps: int = 2, step_s: float = 1.0) -> None:
        self._ends = ends or (STORED,)
        self._steps = steps
        self._step_s = step_s
        self.farewell = WorkerLeft(fate="exited", exit_code=0)
        self.jobs: list[RenderJob] = []
        self.usual_s: Range | None = None
        self.prewarmed = 0
        self.hurried = 0
        self.drawing = 0

    def planned_steps(self, image: ImageOptions) -> int:
        """See ImageEngine."""
        return image.steps or self._steps

    def maker(self, image: ImageOptions) -> Maker:
        """See ImageEngine."""
        return PAINTER

    async def check(self, image: ImageOptions) -> None:
        """See ImageEngine; everything is honoured."""

    async def confirm(self, image: ImageOptions) -> None:
        """See ImageEngine."""

    async def expected(self, image: ImageOptions) -> Range | None:
        """See ImageEngine."""
        return self.usual_s

    async def prewarm(self, image: ImageOptions) -> None:
        """See ImageEngine."""
        self.prewarmed += 1

    def hurry(self) -> None:
        """See ImageEngine."""
        self.hurried += 1

    async def draw(self, job: RenderJob, tell: Tell) -> StoredPicture:
        """See ImageEngine."""
        end = self._ends[min(len(self.jobs), len(self._ends) - 1)]
        self.jobs.append(job)
        self.drawing += 1
        try:
            for step in range(1, self._steps + 1):
                await trio.sleep(self._step_s)
                await tell(StepFinished(step=step, steps=self._steps))
            if isinstance(end, Exception):
                raise end
            return end
        finally:
            self.drawing -= 1
            with trio.CancelScope(shield=True):
                await tell(self.farewell)


@contextmanager
def seeded_scheduler(seed: int) -> Iterator[Random]:
    """Have trio shuffle its runnable tasks from a seed, so that a failing order can be played again."""
    random = trio._core._run._r
    before = random.getstate()
    random.seed(seed)
    try:
        yield Random(seed)
    finally:
        random.setstate(before)
