"""A hatch that fails, or begins again: a retry keeps what is good, and a failure ends with its code."""

import msgspec
import pytest
import trio
import trio.testing

from actors.hatch import open_hatch
from actors.llm.backend import Chunk, TextChunk
from protocol.errors import HatcheryError, ImageFailed, ImageUnavailable, LlmFailed, LlmUnavailable, Overloaded
from protocol.events import Progress, State
from protocol.persona import persona_strings
from tests.helpers.fakes import (
    PERSONA,
    STORED,
    ScriptedPainter,
    ScriptedWriter,
    pieces,
    record_of,
    states,
)
from tests.helpers.house import CRASH, House, epochs, shown_text


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


async def test_a_hatch_that_has_become_impossible_is_stopped_and_fails(
    autojump_clock: trio.testing.MockClock,
) -> None:
    house = House(painter=ScriptedPainter(step_s=100.0))
    async with trio.open_nursery() as nursery:
        hatch = await nursery.start(house.hatch)
        await house.recorder.until_state("drawing")
        hatch.fail(Overloaded("no room"))
        hatch.fail(Overloaded("still none"))
    end = house.check()
    assert end.error is not None
    assert (end.outcome, end.error.code, end.error.message) == ("failed", "overloaded", "no room")
    assert (end.error.retryable, end.receipt.worker, end.receipt.llm) == (True, "exited", "closed")


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
