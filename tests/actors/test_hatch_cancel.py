"""A hatch that is cancelled, in every state, or cut short from outside: its receipt is true and nothing is left."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from actors.artifacts import StoredPicture
from actors.eventlog import Claim, Created
from actors.hatch import Hatch, open_hatch
from actors.mflux.engine import RenderJob, Tell
from actors.slots import Slots
from protocol.errors import LlmUnavailable
from protocol.events import Artifact, Progress, State, Text
from protocol.persona import Persona
from tests.helpers.fakes import (
    PERSONA,
    ScriptedPainter,
    ScriptedWriter,
    pieces,
    record_of,
    states,
)
from tests.helpers.house import House, SlowLog, epochs


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
