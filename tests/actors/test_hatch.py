"""One hatch from end to end in virtual time: however it goes, its promises are kept and nothing of it is left."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec
import pytest
import trio
import trio.testing

from actors.artifacts import ArtifactStore, StoredPicture
from actors.eventlog import Claim, Created, EventLog, MemoryLog
from actors.hatch import Hatch, HatchLimits, Workshop, open_hatch
from actors.llm.actor import WritingLimits
from actors.llm.backend import Chunk, LlmBackend, LlmRequest, TextChunk
from actors.llm.estimate import LengthHistory
from actors.llm.sim import SimWriter, WriterScript
from actors.mflux.engine import ImageEngine, RenderJob, Tell
from actors.mflux.sim import SimImage, SimImageEngine
from actors.slots import Slots
from protocol.commands import ImageOptions
from protocol.errors import HatcheryError, ImageFailed, ImageUnavailable, LlmFailed, LlmUnavailable
from protocol.events import Artifact, End, PersonaReady, Progress, State, Text
from protocol.forecast import Range
from protocol.journal import Entry, EpochBegun
from protocol.mail import RenderMail, StepFinished
from protocol.maker import Maker
from protocol.persona import Persona, persona_strings
from protocol.restart import RestartPolicy
from tests.helpers.fakes import (
    PERSONA,
    STORED,
    Recorder,
    ScriptedPainter,
    ScriptedWriter,
    assert_truthful,
    pieces,
    record_of,
    seeded_scheduler,
    states,
)

CRASH = ImageFailed("toy was killed by signal 9", retryable=True)


class House:
    """A workshop of scripted engines, one slot each, and all that was published."""

    def __init__(
        self,
        writer: LlmBackend | None = None,
        painter: ImageEngine | None = None,
        *,
        whole_s: float = 1000.0,
        restarts: int = 2,
        log: Callable[[EventLog], EventLog] = lambda log: log,
    ) -> None:
        self.recorder = Recorder()
        self.log = log(MemoryLog(self.recorder.publish, retained=100))
        self.workshop = Workshop(
            llm=writer or ScriptedWriter(),
            llm_slots=Slots(1),
            lengths=LengthHistory(),
            image=painter or ScriptedPainter(),
            render_slots=Slots(1),
            eventlog=self.log,
            limits=HatchLimits(
                whole_s=whole_s,
                writing=WritingLimits(first_byte_s=60.0, gap_s=20.0, whole_s=300.0),
                restarts=RestartPolicy(intensity=restarts, backoff_s=2.0),
            ),
        )

    async def hatch(
        self,
        session: str = "s1",
        persona: Persona | None = None,
        *,
        task_status: trio.TaskStatus[Hatch] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run one session to its end, as the gateway does."""
        record = record_of(session, persona=persona)
        await self.log.create(record)
        async with open_hatch(record, 42, self.workshop) as hatch:
            task_status.started(hatch)
            await hatch.run()

    async def end_of(self, persona: Persona | None = None) -> End:
        """The end of a session that nobody disturbs."""
        await self.hatch(persona=persona)
        return self.check(redraw=persona is not None)

    def check(self, session: str = "s1", *, redraw: bool = False) -> End:
        """The one end of a session that kept all promises and left nothing behind."""
        assert_truthful(self.recorder.of(session), redraw=redraw)
        slots = (self.workshop.llm_slots, self.workshop.render_slots)
        assert [(line.held, line.waiting, line.quarantined) for line in slots] == [(0, 0, 0)] * 2
        return self.recorder.end(session)


def epochs(entries: Sequence[Entry]) -> list[EpochBegun]:
    return [entry for entry in entries if isinstance(entry, EpochBegun)]


def shown_text(entries: Sequence[Entry]) -> dict[str, str]:
    """What the text of the last epoch adds up to."""
    shown: dict[str, str] = {}
    for entry in entries:
        match entry:
            case EpochBegun(keeps_persona=False):
                shown.clear()
            case Text(path=path, delta=delta):
                shown[path] = shown.get(path, "") + delta
            case _:
                pass
    return shown


# --- done


async def test_from_a_sentence_to_a_picture(autojump_clock: trio.testing.MockClock) -> None:
    writer, painter = ScriptedWriter([1.0, *pieces()]), ScriptedPainter(steps=4, step_s=2.0)
    house = House(writer, painter)
    end = await house.end_of()
    entries = house.recorder.of()
    assert states(entries) == ["writing", "waiting", "drawing", "done"]
    assert shown_text(entries) == dict(persona_strings(PERSONA))
    assert [entry.persona for entry in entries if isinstance(entry, PersonaReady)] == [PERSONA]
    assert [entry.sha256 for entry in entries if isinstance(entry, Artifact)] == [STORED.sha256]
    receipt = end.receipt
    assert (receipt.writing_ms, receipt.drawing_ms, receipt.total_ms) == (1000, 8000, 9000)
    assert (receipt.steps_done, receipt.steps, receipt.worker, receipt.llm) == (4, 4, "exited", "closed")
    assert writer.open == painter.drawing == 0
    assert (painter.jobs[0].persona, painter.jobs[0].seed) == (PERSONA, 42)
    assert "an owl" in writer.requests[0].prompt


async def test_the_time_left_is_that_of_the_whole_hatch_while_it_is_written(
    autojump_clock: trio.testing.MockClock,
) -> None:
    painter = ScriptedPainter()
    painter.usual_s = (100.0, 120.0)
    first, *rest = pieces()
    house = House(ScriptedWriter([first, 1.0, *rest]), painter)
    await house.end_of()
    told = [entry for entry in house.recorder.of() if isinstance(entry, Progress) and entry.stage == "persona"]
    left = [progress.eta_s for progress in told if progress.eta_s is not None]
    assert left
    assert all(100 < likely <= at_worst and at_worst > 120 for likely, at_worst in left)


async def test_done_comes_with_100_percent_in_the_same_portion(autojump_clock: trio.testing.MockClock) -> None:
    house = House()
    await house.end_of()
    progress, end = house.recorder.batches[-1]
    assert isinstance(progress, Progress)
    assert progress.percent == 100.0
    assert isinstance(end, End)


async def test_a_redraw_asks_no_writer(autojump_clock: trio.testing.MockClock) -> None:
    writer = ScriptedWriter()
    house = House(writer)
    end = await house.end_of(PERSONA)
    assert states(house.recorder.of()) == ["drawing", "done"]
    assert writer.requests == []
    assert (end.receipt.llm, end.receipt.writing_ms) == ("none", 0)


async def test_two_hatches_take_turns(autojump_clock: trio.testing.MockClock) -> None:
    house = House(ScriptedWriter([5.0, *pieces()]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.hatch, "s1")
        nursery.start_soon(house.hatch, "s2")
    ends = [house.check("s1"), house.check("s2")]
    assert sorted(end.receipt.queued_ms for end in ends) == [0, 5000]
    places = [entry.queue_position for entry in house.recorder.of("s1") if isinstance(entry, Progress)]
    places += [entry.queue_position for entry in house.recorder.of("s2") if isinstance(entry, Progress)]
    assert 1 in places


# --- taken back


async def test_an_invalid_persona_is_repaired_in_a_new_epoch(autojump_clock: trio.testing.MockClock) -> None:
    broken = [TextChunk('{"name": "Ada", "species": 3}')]
    writer = ScriptedWriter(broken, pieces())
    house = House(writer)
    end = await house.end_of()
    assert end.outcome == "done"
    (epoch,) = epochs(house.recorder.of())
    assert (epoch.epoch, epoch.attempt, epoch.state) == (2, 1, "writing")
    assert len(writer.requests[1].messages) > len(writer.requests[0].messages)
    assert shown_text(house.recorder.of()) == dict(persona_strings(PERSONA))


@pytest.mark.parametrize("traits", [["", "calm", "kind"], ["calm", "", "kind"]])
async def test_an_empty_trait_is_an_invalid_persona_and_no_more(
    traits: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    odd = msgspec.structs.replace(PERSONA, traits=traits)
    house = House(ScriptedWriter(pieces(odd, size=7), pieces()))
    end = await house.end_of()
    assert end.outcome == "done"
    assert epochs(house.recorder.of())[0].attempt == 1


async def test_an_unavailable_llm_is_asked_again(autojump_clock: trio.testing.MockClock) -> None:
    half = pieces()[:4]
    house = House(ScriptedWriter([*half, LlmUnavailable("The server is busy", retry_after_ms=7000)], pieces()))
    end = await house.end_of()
    assert end.outcome == "done"
    (epoch,) = epochs(house.recorder.of())
    assert (epoch.epoch, epoch.attempt, epoch.state, epoch.keeps_persona) == (2, 2, "queued", False)
    assert states(house.recorder.of()) == ["writing", "queued", "writing", "waiting", "drawing", "done"]
    assert end.receipt.queued_ms == 7000
    reasons = [entry.reason for entry in house.recorder.of() if isinstance(entry, State) and entry.reason]
    assert reasons == ["The server is busy"]
    assert shown_text(house.recorder.of()) == dict(persona_strings(PERSONA))


async def test_a_crashed_render_is_run_again_with_the_same_persona(autojump_clock: trio.testing.MockClock) -> None:
    writer, painter = ScriptedWriter(), ScriptedPainter(CRASH, STORED)
    house = House(writer, painter)
    end = await house.end_of()
    assert end.outcome == "done"
    (epoch,) = epochs(house.recorder.of())
    assert (epoch.epoch, epoch.attempt, epoch.state, epoch.keeps_persona) == (2, 2, "waiting", True)
    assert states(house.recorder.of()) == ["writing", "waiting", "drawing", "waiting", "drawing", "done"]
    assert len(writer.requests) == 1
    assert [job.persona for job in painter.jobs] == [PERSONA, PERSONA]
    percents = [entry.percent for entry in house.recorder.of() if isinstance(entry, Progress)]
    assert min(percents[percents.index(95.0) :]) == 33.0


# --- failed

BROKEN = [TextChunk('{"name": 3}')]


@pytest.mark.parametrize(
    ("answers", "code", "requests"),
    [
        ([[LlmFailed("The model fell over")]], "llm_failed", 1),
        ([pieces()[:-1]], "llm_failed", 1),  # hung up
        ([[LlmUnavailable("away")]], "llm_unavailable", 3),  # the first and two restarts
        ([BROKEN], "persona_invalid", 2),  # after one repair
        ([BROKEN, [LlmUnavailable("away")], BROKEN], "persona_invalid", 4),
        ([[100.0, *pieces()]], "deadline_exceeded", 1),  # silent
        ([[ZeroDivisionError("a secret of ours")]], "internal", 1),
    ],
)
async def test_failures_of_the_writing(
    answers: list[list[Chunk | Exception | float]], code: str, requests: int, autojump_clock: trio.testing.MockClock
) -> None:
    writer, painter = ScriptedWriter(*answers), ScriptedPainter()
    end = await House(writer, painter).end_of()
    assert end.outcome == "failed"
    assert end.error is not None
    assert end.error.code == code
    assert "secret" not in end.error.message
    assert len(writer.requests) == requests
    assert (writer.open, painter.jobs) == (0, [])
    assert (end.receipt.llm, end.receipt.worker) == ("closed", "none")


@pytest.mark.parametrize(
    ("error", "code", "jobs"),
    [
        (CRASH, "image_failed", 3),
        (ImageFailed("The picture is damaged"), "image_failed", 1),
        (ImageUnavailable("toy is missing"), "image_unavailable", 1),
        (ImageUnavailable("no terminal is left", retryable=True), "image_unavailable", 1),
        (LlmUnavailable("a stray one"), "llm_unavailable", 1),
        (ZeroDivisionError("a secret of ours"), "internal", 1),
    ],
)
async def test_failures_of_the_drawing(
    error: Exception, code: str, jobs: int, autojump_clock: trio.testing.MockClock
) -> None:
    painter = ScriptedPainter(error)
    end = await House(painter=painter).end_of()
    assert end.outcome == "failed"
    assert end.error is not None
    assert end.error.code == code
    if isinstance(error, HatcheryError):
        assert (end.error.message, end.error.retryable) == (error.message, error.retryable)
    assert "secret" not in end.error.message
    assert len(painter.jobs) == jobs
    assert end.receipt.worker == "exited"


@pytest.mark.parametrize("whole_s", [3.0, 8.0])
async def test_the_whole_deadline(whole_s: float, autojump_clock: trio.testing.MockClock) -> None:
    house = House(ScriptedWriter([5.0, *pieces()]), ScriptedPainter(step_s=10.0), whole_s=whole_s)
    end = await house.end_of()
    assert end.error is not None
    assert (end.error.code, end.error.retryable) == ("deadline_exceeded", True)
    assert f"{whole_s:g} s" in end.error.message
    assert (end.receipt.total_ms, end.receipt.cancel_latency_ms) == (whole_s * 1000, None)
    assert states(house.recorder.of())[-1] == "failed"


async def test_the_whole_deadline_in_line(autojump_clock: trio.testing.MockClock) -> None:
    house = House(painter=ScriptedPainter(step_s=10.0), whole_s=30.0)
    async with trio.open_nursery() as nursery:
        for session in ("s1", "s2"):
            nursery.start_soon(house.hatch, session)
    assert {house.check(session).outcome for session in ("s1", "s2")} == {"done", "failed"}


async def test_an_error_in_the_block_is_the_hatchs(autojump_clock: trio.testing.MockClock) -> None:
    house = House()
    await house.log.create(record_of())
    async with open_hatch(record_of(), 1, house.workshop):
        raise RuntimeError("in the block")
    end = house.check()
    assert end.error is not None
    assert end.error.code == "internal"


async def test_a_hatch_that_was_never_run_still_ends(autojump_clock: trio.testing.MockClock) -> None:
    house = House()
    await house.log.create(record_of())
    async with open_hatch(record_of(), 1, house.workshop):
        pass
    assert house.check().outcome == "failed"


# --- cancelled


@asynccontextmanager
async def occupied(slots: Slots) -> AsyncGenerator[None, None]:
    async def ignore(position: int) -> None:
        pass

    async with slots.hold("bob", ignore):
        yield


async def in_line_for_the_writer(house: House, _: Hatch) -> None:
    await house.recorder.until(lambda entries: any(isinstance(entry, Progress) for entry in entries))


async def writing(house: House, _: Hatch) -> None:
    await house.recorder.until(lambda entries: any(isinstance(entry, Text) for entry in entries))


async def in_line_for_the_painter(house: House, _: Hatch) -> None:
    await house.recorder.until_state("waiting")
    await trio.testing.wait_all_tasks_blocked()


async def drawing(house: House, _: Hatch) -> None:
    await house.recorder.until_state("drawing")
    await trio.sleep(1.5)


async def at_once(_: House, __: Hatch) -> None:
    pass


@pytest.mark.parametrize(
    ("moment", "busy", "state", "llm", "worker", "steps"),
    [
        (at_once, None, None, "none", "none", 0),
        (in_line_for_the_writer, "llm", None, "none", "none", 0),
        (writing, None, "writing", "closed", "none", 0),
        (in_line_for_the_painter, "image", "waiting", "closed", "none", 0),
        (drawing, None, "drawing", "closed", "exited", 1),
    ],
)
async def test_a_cancel_in_every_state(
    moment: Callable[[House, Hatch], Awaitable[None]],
    busy: str | None,
    state: str | None,
    llm: str,
    worker: str,
    steps: int,
    autojump_clock: trio.testing.MockClock,
) -> None:
    answer = pieces()
    writer, painter = ScriptedWriter([*answer[:9], 1.0, *answer[9:]]), ScriptedPainter()
    house = House(writer, painter)
    slots = {"llm": house.workshop.llm_slots, "image": house.workshop.render_slots, None: Slots(1)}[busy]
    async with occupied(slots), trio.open_nursery() as nursery:
        hatch: Hatch = await nursery.start(house.hatch)
        await moment(house, hatch)
        await hatch.cancel("enough")
        last = house.recorder.of()[-1]
        assert isinstance(last, State), "it is said at once"
        assert (last.state, last.reason) == ("cancelling", "enough")
    end = house.check()
    assert end.outcome == "cancelled"
    assert states(house.recorder.of())[:-2][-1:] == ([state] if state else [])
    receipt = end.receipt
    assert (receipt.llm, receipt.worker, receipt.steps_done) == (llm, worker, steps)
    assert receipt.cancel_latency_ms == 0
    assert writer.open == painter.drawing == 0


async def test_a_cancel_during_the_backoff(autojump_clock: trio.testing.MockClock) -> None:
    writer = ScriptedWriter([LlmUnavailable("busy", retry_after_ms=60_000)], pieces())
    house = House(writer)
    async with trio.open_nursery() as nursery:
        hatch: Hatch = await nursery.start(house.hatch)
        await house.recorder.until(lambda entries: bool(epochs(entries)))
        await trio.sleep(30)
        await hatch.cancel("enough")
    assert house.check().outcome == "cancelled"
    assert len(writer.requests) == 1


async def test_a_cancel_before_a_redraw_runs(autojump_clock: trio.testing.MockClock) -> None:
    house = House()
    await house.log.create(record_of(persona=PERSONA))
    async with open_hatch(record_of(persona=PERSONA), 1, house.workshop) as hatch:
        await hatch.cancel("overtaken")
        await hatch.run()
    assert house.check(redraw=True).outcome == "cancelled"


@pytest.mark.parametrize("persona", [None, PERSONA])
async def test_a_hatch_that_is_doomed_does_nothing_but_end(
    persona: Persona | None, autojump_clock: trio.testing.MockClock
) -> None:
    house = House()
    await house.log.bury("ann", "k", "overtaken")
    created = await house.log.create(record_of(persona=persona), Claim("k", b"1"))
    assert isinstance(created, Created)
    async with open_hatch(record_of(persona=persona), 1, house.workshop, doom=created.doom) as hatch:
        await hatch.cancel("again")
        await hatch.run()
    assert house.check(redraw=persona is not None).outcome == "cancelled"
    assert states(house.recorder.of()) == ["cancelling", "cancelled"]


async def test_a_second_cancel_and_a_late_one_say_nothing(autojump_clock: trio.testing.MockClock) -> None:
    house = House()
    async with trio.open_nursery() as nursery:
        hatch: Hatch = await nursery.start(house.hatch)
        await house.recorder.until_state("drawing")
        await hatch.cancel("first")
        await hatch.cancel("second")
    entries = list(house.recorder.of())
    await hatch.cancel("third")
    assert house.recorder.of() == entries
    assert [entry.reason for entry in entries if isinstance(entry, State) and entry.reason] == ["first"]
    house.check()


async def test_a_cancel_after_done_says_nothing(autojump_clock: trio.testing.MockClock) -> None:
    house = House()
    async with trio.open_nursery() as nursery:
        hatch: Hatch = await nursery.start(house.hatch)
    await hatch.cancel("late")
    assert house.check().outcome == "done"


@pytest.mark.parametrize(("persona", "times"), [(None, 1), (PERSONA, 0)])
async def test_the_painter_gets_ready_while_the_persona_is_written(
    autojump_clock: trio.testing.MockClock, persona: Persona | None, times: int
) -> None:
    painter = ScriptedPainter()
    house = House(painter=painter)
    assert (await house.end_of(persona)).outcome == "done"
    assert painter.prewarmed == times


async def test_a_cancel_just_after_the_picture_was_shown_comes_too_late(
    autojump_clock: trio.testing.MockClock,
) -> None:
    house = House(log=SlowLog)
    async with trio.open_nursery() as nursery:
        hatch: Hatch = await nursery.start(house.hatch)
        await house.recorder.until(lambda entries: any(isinstance(entry, Artifact) for entry in entries))
        await hatch.cancel("too late")
    assert house.check().outcome == "done"
    assert states(house.recorder.of())[-2:] == ["cancelling", "done"], "it came before the end was said"


class Unstoppable(ScriptedPainter):
    """Has its picture stored already when the cancel comes, and cannot take that back."""

    async def draw(self, job: RenderJob, tell: Tell) -> StoredPicture:
        """See ImageEngine."""
        with trio.CancelScope(shield=True):
            stored = await super().draw(job, tell)
        return stored  # noqa: RET504 - for mypy a scope may swallow what it holds


async def test_a_picture_that_is_stored_after_the_cancel_is_not_shown(autojump_clock: trio.testing.MockClock) -> None:
    house = House(painter=Unstoppable())
    async with trio.open_nursery() as nursery:
        hatch: Hatch = await nursery.start(house.hatch)
        await house.recorder.until_state("drawing")
        await hatch.cancel("enough")
    end = house.check()
    assert end.outcome == "cancelled"
    assert (end.receipt.cancel_latency_ms, end.receipt.steps_done) == (2000, 2)


async def test_a_cancel_hurts_nobody_else(autojump_clock: trio.testing.MockClock) -> None:
    house = House()
    async with trio.open_nursery() as nursery:
        hatch: Hatch = await nursery.start(house.hatch, "s1")
        nursery.start_soon(house.hatch, "s2")
        await house.recorder.until_state("drawing", "s1")
        await hatch.cancel("enough")
    assert (house.check("s1").outcome, house.check("s2").outcome) == ("cancelled", "done")


# --- the gateway stops


@pytest.mark.parametrize("after_s", [0.0, 0.5, 1.0, 2.0, 3.0])
async def test_a_cancellation_from_outside_ends_it_and_goes_on(
    after_s: float, autojump_clock: trio.testing.MockClock
) -> None:
    house = House(ScriptedWriter([1.0, *pieces()]), ScriptedPainter(step_s=2.0))
    with trio.move_on_after(after_s) as scope:
        await house.hatch()
        pytest.fail("went on")
    assert scope.cancelled_caught
    end = house.check()
    assert end.outcome == "cancelled"
    reasons = [entry.reason for entry in house.recorder.of() if isinstance(entry, State) and entry.reason]
    assert reasons == ["the gateway stops"]


async def test_an_interrupt_ends_it_and_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    class Interrupted(ScriptedPainter):
        async def draw(self, job: RenderJob, tell: Tell) -> StoredPicture:
            raise KeyboardInterrupt

    house = House(painter=Interrupted())
    with pytest.raises(BaseExceptionGroup) as raised:
        await house.hatch()
    assert raised.value.split(KeyboardInterrupt)[1] is None
    assert house.check().outcome == "cancelled"


# --- a cancellation at every single moment


class CountedWriter:
    """Another backend, and how many of its streams were opened and are open."""

    def __init__(self, inner: LlmBackend) -> None:
        self.name = inner.name
        self.maker = inner.maker
        self._inner = inner
        self.opened = self.open = 0

    def open_stream(self, request: LlmRequest) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """See LlmBackend."""
        return self._open(request)

    @asynccontextmanager
    async def _open(self, request: LlmRequest) -> AsyncIterator[AsyncIterator[Chunk]]:
        self.opened += 1
        self.open += 1
        try:
            async with self._inner.open_stream(request) as chunks:
                yield chunks
        finally:
            self.open -= 1


class CountedPainter:
    """Another engine, whose first drawing for `s2` crashes, and the last steps of all drawings by session."""

    def __init__(self, inner: ImageEngine) -> None:
        self.name = inner.name
        self._inner = inner
        self.steps: dict[str, list[int]] = {"s1": [], "s2": []}
        self.drawing = 0

    def planned_steps(self, image: ImageOptions) -> int:
        """See ImageEngine."""
        return self._inner.planned_steps(image)

    def maker(self, image: ImageOptions) -> Maker:
        """See ImageEngine."""
        return self._inner.maker(image)

    async def check(self, image: ImageOptions) -> None:
        """See ImageEngine."""

    async def expected(self, image: ImageOptions) -> Range | None:
        """See ImageEngine."""
        return await self._inner.expected(image)

    async def prewarm(self, image: ImageOptions) -> None:
        """See ImageEngine."""

    def hurry(self) -> None:
        """See ImageEngine."""

    async def draw(self, job: RenderJob, tell: Tell) -> StoredPicture:
        """See ImageEngine."""

        async def count(letter: RenderMail) -> None:
            if isinstance(letter, StepFinished):
                self.steps[job.session][-1] = letter.step
            await tell(letter)

        self.steps[job.session].append(0)
        self.drawing += 1
        try:
            stored = await self._inner.draw(job, count)
            if job.session == "s2" and len(self.steps["s2"]) == 1:
                raise CRASH
            return stored
        finally:
            self.drawing -= 1


class SlowLog:
    """An EventLog as a disk makes it: every append takes a while, and is carried out even when it is cancelled."""

    def __init__(self, inner: EventLog) -> None:
        self.create, self.claimed, self.bury, self.hurry = inner.create, inner.claimed, inner.bury, inner.hurry
        self.view, self.tail, self.list, self.epitaph = inner.view, inner.tail, inner.list, inner.epitaph
        self._inner = inner
        self._turn = trio.Lock()

    async def append(self, session: str, entries: Sequence[Entry]) -> None:
        """See EventLog."""
        with trio.CancelScope(shield=True):
            async with self._turn:
                await trio.sleep(0.001)
                await self._inner.append(session, entries)
        await trio.lowlevel.checkpoint()


class AtStep(trio.abc.Instrument):
    """Does something just before the n-th step that any task takes from now on."""

    def __init__(self, number: int, act: Callable[[], None]) -> None:
        self._left = number
        self._act = act
        self.acted = False

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """See Instrument."""
        if self._left == 0 and not self.acted:
            self.acted = True
            self._act()
        self._left -= 1


Means = Literal["cancel", "twice", "outside"]


class Sweep:
    """Two sim hatches of one owner, who share one slot of each kind; the second is cancelled at one step."""

    def __init__(self, image: SimImageEngine, means: Means, *, slow: bool) -> None:
        self._image = image
        self._means = means
        self._slow = slow

    def at(self, number: int) -> bool:
        """Cancel before step `number` and check everything; False when all was over before that step."""
        script = WriterScript(tokens=80, tokens_per_piece=4, tokens_per_s=400.0)
        self.writer, self.painter = CountedWriter(SimWriter(script)), CountedPainter(self._image)
        with seeded_scheduler(7):
            acted = trio.run(self._play, number, clock=trio.testing.MockClock(autojump_threshold=0))
        self._check(acted)
        return acted

    async def _play(self, number: int) -> bool:
        self.house = House(self.writer, self.painter, log=SlowLog if self._slow else lambda log: log)
        scope: trio.CancelScope
        hatch: Hatch

        def act() -> None:
            if self._means == "outside":
                scope.cancel()
            for _ in range({"outside": 0, "cancel": 1, "twice": 2}[self._means]):
                cancellers.start_soon(hatch.cancel, "swept away")

        instrument = AtStep(number, act)
        async with trio.open_nursery() as cancellers:
            async with trio.open_nursery() as hatches:
                await hatches.start(self.house.hatch, "s1")
                scope, hatch = await hatches.start(self._second)
                trio.lowlevel.add_instrument(instrument)
            trio.lowlevel.remove_instrument(instrument)
        return instrument.acted

    async def _second(self, task_status: trio.TaskStatus[tuple[trio.CancelScope, Hatch]]) -> None:
        with trio.CancelScope() as scope:
            record = record_of("s2")
            await self.house.log.create(record)
            async with open_hatch(record, 43, self.house.workshop) as hatch:
                task_status.started((scope, hatch))
                await hatch.run()

    def _check(self, acted: bool) -> None:
        assert self.house.check("s1").outcome == "done", "a cancel hurts nobody else"
        end = self.house.check("s2")
        assert end.outcome in (("done", "cancelled") if acted else ("done",))
        assert self.writer.open == self.painter.drawing == 0
        receipt = end.receipt
        assert (receipt.llm == "closed") == (self.writer.opened == 2)
        assert (receipt.worker == "idle") == bool(self.painter.steps["s2"])
        entries = self.house.recorder.of("s2")
        drawings = self.painter.steps["s2"][len(epochs(entries)) :]
        assert receipt.steps_done == (drawings[0] if drawings else 0), "of the attempt that counts"
        assert (receipt.cancel_latency_ms is None) == ("cancelling" not in states(entries))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> SimImageEngine:
    store: Path = tmp_path_factory.mktemp("artifacts")
    return SimImageEngine(SimImage(steps=2), ArtifactStore(store))


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("means", ["cancel", "twice", "outside"])
def test_a_cancellation_at_every_step(image: SimImageEngine, means: Means, slow: bool) -> None:
    sweep = Sweep(image, means, slow=slow)
    number, outcomes = 0, set[str]()
    while sweep.at(number):
        outcomes.add(sweep.house.recorder.end("s2").outcome)
        number += 1
    assert number > 50, "the whole hatch was swept"
    assert outcomes == {"cancelled", "done"}
