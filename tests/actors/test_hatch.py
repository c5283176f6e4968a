"""One hatch from end to end in virtual time: however it goes, its promises are kept and nothing of it is left."""

import trio
import trio.testing

from protocol.events import Artifact, End, PersonaReady, Progress
from protocol.persona import persona_strings
from tests.helpers.fakes import (
    PERSONA,
    STORED,
    ScriptedPainter,
    ScriptedWriter,
    pieces,
    states,
)
from tests.helpers.house import House, shown_text

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
