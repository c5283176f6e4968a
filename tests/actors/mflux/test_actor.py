"""The mflux actor: no slot before there is a persona, no picture announced before its slot is free."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from actors.mailbox import Mailbox
from actors.mflux.actor import RenderOrder, run_mflux_actor
from actors.mflux.engine import FindInput, InputPicture
from actors.slots import Slots
from protocol.commands import ImageOptions
from protocol.errors import ImageFailed, NotFound
from protocol.mail import (
    DrawingBegan,
    PersonaWritten,
    PictureStored,
    RenderMail,
    RenderQueued,
    StepFinished,
    WorkerLeft,
)
from tests.helpers.fakes import PAINTER, PERSONA, PICTURE, ScriptedPainter

WRITTEN = PersonaWritten(persona=PERSONA)
DRAWN = msgspec.structs.replace(PICTURE, painter=PAINTER, seed=42, steps=2)


class Studio:
    """One actor's surroundings, and what it tells."""

    def __init__(self, painter: ScriptedPainter, capacity: int = 1) -> None:
        self.painter = painter
        self.slots = Slots(capacity)
        self.mailbox: Mailbox[PersonaWritten] = Mailbox(1)
        self.letters: list[RenderMail] = []
        self.held_when: dict[type[RenderMail], int] = {}

    async def tell(self, letter: RenderMail) -> None:
        self.letters.append(letter)
        self.held_when[type(letter)] = self.slots.held

    async def run(self, image: ImageOptions = ImageOptions(), find_input: FindInput | None = None) -> None:  # noqa: B008 - frozen
        order = RenderOrder(session="s1", owner="ann", image=image, seed=42)
        await run_mflux_actor(
            order,
            mailbox=self.mailbox,
            engine=self.painter,
            slots=self.slots,
            tell=self.tell,
            find_input=find_input,
        )


@asynccontextmanager
async def occupied(slots: Slots) -> AsyncIterator[None]:
    async def ignore(position: int) -> None:
        pass

    async with slots.hold("bob", ignore):
        yield


async def test_it_draws_what_was_written(autojump_clock: trio.testing.MockClock) -> None:
    studio = Studio(ScriptedPainter())
    studio.mailbox.post(WRITTEN)
    await studio.run()
    assert studio.letters == [
        DrawingBegan(steps=2),
        StepFinished(step=1, steps=2),
        StepFinished(step=2, steps=2),
        WorkerLeft(fate="exited", exit_code=0),
        DRAWN,
    ]
    (job,) = studio.painter.jobs
    assert (job.session, job.persona, job.image, job.seed) == ("s1", PERSONA, ImageOptions(), 42)
    assert studio.held_when[WorkerLeft] == 1, "the worker is gone before the slot is free"
    assert studio.held_when[PictureStored] == 0


@pytest.mark.parametrize(("asked", "planned", "steps"), [(None, None, 2), (None, 5, 5), (9, 5, 9)])
async def test_a_picture_tells_the_steps_it_was_asked_for_or_else_those_that_it_took(
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    asked: int | None,
    planned: int | None,
    steps: int,
) -> None:
    studio = Studio(ScriptedPainter())
    monkeypatch.setattr(studio.painter, "planned_steps", lambda image: image.steps or planned or 0)
    studio.mailbox.post(WRITTEN)
    await studio.run(ImageOptions(steps=asked))
    assert studio.letters[-1] == msgspec.structs.replace(DRAWN, steps=steps)


async def test_it_takes_no_slot_while_the_persona_is_written(autojump_clock: trio.testing.MockClock) -> None:
    studio = Studio(ScriptedPainter())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(studio.run)
        await trio.testing.wait_all_tasks_blocked()
        assert (studio.slots.held, studio.letters) == (0, [])
        studio.mailbox.post(WRITTEN)
    assert studio.letters[-1] == DRAWN


async def test_it_tells_its_place_in_line(autojump_clock: trio.testing.MockClock) -> None:
    studio = Studio(ScriptedPainter())
    studio.mailbox.post(WRITTEN)
    async with trio.open_nursery() as nursery, occupied(studio.slots):
        nursery.start_soon(studio.run)
        await trio.testing.wait_all_tasks_blocked()
        assert studio.letters == [RenderQueued(position=1)]
        assert studio.painter.jobs == []
    assert studio.letters[1] == DrawingBegan(steps=2)


@pytest.mark.parametrize(("capacity", "eta_s"), [(1, (20.0, 24.0)), (2, (15.0, 18.0))])
async def test_its_wait_is_reckoned_from_what_a_picture_takes(
    autojump_clock: trio.testing.MockClock, capacity: int, eta_s: tuple[float, float]
) -> None:
    studio = Studio(ScriptedPainter(), capacity)
    studio.painter.usual_s = (10.0, 12.0)
    studio.mailbox.post(WRITTEN)
    async with trio.open_nursery() as nursery, AsyncExitStack() as others:
        for _ in range(capacity):
            await others.enter_async_context(occupied(studio.slots))
        nursery.start_soon(studio.run)
        await trio.testing.wait_all_tasks_blocked()
        assert studio.letters == [RenderQueued(position=1, eta_s=eta_s)]


async def test_a_failure_frees_the_slot(autojump_clock: trio.testing.MockClock) -> None:
    studio = Studio(ScriptedPainter(ImageFailed("broken")))
    studio.mailbox.post(WRITTEN)
    with pytest.raises(ImageFailed, match="broken"):
        await studio.run()
    assert studio.letters[-1] == WorkerLeft(fate="exited", exit_code=0)
    assert (studio.slots.held, studio.slots.quarantined) == (0, 0)


async def test_a_cancel_frees_the_slot_after_the_farewell(autojump_clock: trio.testing.MockClock) -> None:
    studio = Studio(ScriptedPainter())
    studio.mailbox.post(WRITTEN)
    with trio.move_on_after(1.5):
        await studio.run()
    assert studio.letters[-1] == WorkerLeft(fate="exited", exit_code=0)
    assert studio.held_when[WorkerLeft] == 1
    assert studio.slots.held == 0


async def test_a_stuck_worker_keeps_its_slot_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    studio = Studio(ScriptedPainter(), capacity=2)
    studio.painter.farewell = WorkerLeft(fate="stuck")
    studio.mailbox.post(WRITTEN)
    with trio.move_on_after(1.5):
        await studio.run()
    assert (studio.slots.held, studio.slots.quarantined) == (0, 1)


async def test_the_steps_asked_for_are_announced(autojump_clock: trio.testing.MockClock) -> None:
    studio = Studio(ScriptedPainter())
    studio.mailbox.post(WRITTEN)
    await studio.run(ImageOptions(steps=9))
    assert studio.letters[0] == DrawingBegan(steps=9)


async def test_an_input_is_looked_up_for_its_owner_and_handed_to_the_engine(
    autojump_clock: trio.testing.MockClock,
) -> None:
    studio, picture = Studio(ScriptedPainter()), InputPicture(Path("a.png"), 64, 32)
    asked: list[tuple[str, str]] = []

    async def find(owner: str, upload: str) -> InputPicture:
        asked.append((owner, upload))
        return picture

    studio.mailbox.post(WRITTEN)
    await studio.run(ImageOptions(input="u1"), find)
    assert asked == [("ann", "u1")]
    assert studio.painter.jobs[-1].input == picture


async def test_an_input_that_is_gone_fails_the_hatch_before_it_waits_for_a_slot(
    autojump_clock: trio.testing.MockClock,
) -> None:
    studio = Studio(ScriptedPainter())
    studio.mailbox.post(WRITTEN)
    with pytest.raises(NotFound):
        await studio.run(ImageOptions(input="u1"))
    assert studio.letters == []
