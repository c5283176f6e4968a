from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from actors.artifacts import ArtifactStore
from actors.mflux.engine import RenderJob
from actors.mflux.tape import TapePainter
from protocol.commands import ImageOptions
from protocol.errors import ImageFailed, Invalid
from protocol.events import Progress
from protocol.mail import RenderMail, RenderStaged, StepFinished, WorkerLeft
from tests.helpers.fakes import PERSONA, png
from tests.helpers.tapes import drawing, failure, tape, whole_tape, writing

JOB = RenderJob(session="s1", persona=PERSONA, image=ImageOptions(), seed=1)


class Told:
    def __init__(self) -> None:
        self.letters: list[RenderMail] = []
        self.times: list[float] = []

    async def __call__(self, letter: RenderMail) -> None:
        self.letters.append(letter)
        self.times.append(trio.current_time())


async def test_the_recorded_steps_come_in_their_own_time(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    told = Told()
    engine = TapePainter(whole_tape(), 2.0, ArtifactStore(tmp_path))
    assert engine.planned_steps(ImageOptions()) == 2
    assert await engine.expected(ImageOptions()) == (3.0, 3.0)
    await engine.draw(JOB, told)
    assert told.letters == [
        RenderStaged(stage="loading", basis="indeterminate", message="The painter gets ready", fraction=0.0),
        StepFinished(step=1, steps=2, step_s=1.0, eta_s=(1.0, 2.0)),
        RenderStaged(stage="steps", basis="estimated", message="Drawing", fraction=0.75),
        StepFinished(step=2, steps=2, step_s=1.0),
        RenderStaged(stage="decoding", basis="measured", message="Decoding", fraction=0.0),
        WorkerLeft(fate="idle"),
    ]
    assert told.times == [0.0, 1.5, 2.0, 2.5, 2.5, 3.0]


async def test_a_step_that_was_told_to_nobody_shows_in_what_came_next(tmp_path: Path) -> None:
    told = Told()
    kept = [
        (at, message)
        for at, message in drawing(50.0)
        if not (isinstance(message, Progress) and message.message == "Step 2 of 2")
    ]
    decoding = msgspec.structs.replace(kept[4][1], step=2, steps=2)
    await TapePainter(
        tape([*writing(), *kept[:4], (kept[4][0], decoding), *kept[5:]]), 1e6, ArtifactStore(tmp_path)
    ).draw(JOB, told)
    assert [letter.step for letter in told.letters if isinstance(letter, StepFinished)] == [1, 2]


async def test_the_picture_is_the_recorded_one_or_a_plain_one_of_its_size(tmp_path: Path) -> None:
    artifacts = ArtifactStore(tmp_path)
    stored = await TapePainter(whole_tape(), 1e6, artifacts).draw(JOB, Told())
    assert stored.sha256 == sha256(png()).hexdigest()
    plain = await TapePainter(whole_tape(picture=False), 1e6, artifacts).draw(JOB, Told())
    assert plain.sha256 != stored.sha256
    assert (plain.width, plain.height) == (64, 32)


async def test_where_the_tape_has_no_picture_the_drawing_fails(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    told = Told()
    played = tape([*writing(), *drawing(50.0)[:3], failure(60.0, "out of memory")])
    with pytest.raises(ImageFailed, match="on the tape the hatch fails here: out of memory"):
        await TapePainter(played, 1.0, ArtifactStore(tmp_path)).draw(JOB, told)
    assert trio.current_time() == 10.0
    assert told.letters[-1] == WorkerLeft(fate="idle")


async def test_a_cancelled_drawing_says_farewell(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    told = Told()
    with trio.move_on_after(4) as scope:
        await TapePainter(whole_tape(), 1.0, ArtifactStore(tmp_path)).draw(JOB, told)
    assert scope.cancelled_caught
    assert told.letters[-1] == WorkerLeft(fate="idle")


async def test_what_is_recorded_cannot_be_had_otherwise(tmp_path: Path) -> None:
    engine = TapePainter(whole_tape(), 1.0, ArtifactStore(tmp_path))
    await engine.check(ImageOptions(seed=3))
    with pytest.raises(Invalid) as raised:
        await engine.check(ImageOptions(width=64))
    assert raised.value.field == "hatch.image.width"
