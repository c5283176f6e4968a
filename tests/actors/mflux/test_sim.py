"""The simulated engine: the same script for the same seed, in virtual time, and an honest farewell."""

from pathlib import Path

import pytest
import trio
import trio.testing

from actors.artifacts import ArtifactStore, StoredPicture
from actors.mflux.engine import RenderJob
from actors.mflux.sim import SimImage, SimImageEngine
from protocol.commands import ImageOptions
from protocol.errors import ImageFailed, Invalid
from protocol.mail import RenderMail, RenderStaged, StepFinished, WorkerLeft
from tests.helpers.fakes import PERSONA


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


def job(seed: int, image: ImageOptions = ImageOptions()) -> RenderJob:  # noqa: B008 - frozen
    return RenderJob(session="s1", persona=PERSONA, image=image, seed=seed)


class Told:
    def __init__(self) -> None:
        self.letters: list[RenderMail] = []
        self.times: list[float] = []

    async def __call__(self, letter: RenderMail) -> None:
        self.letters.append(letter)
        self.times.append(trio.current_time())


async def draw(engine: SimImageEngine, seed: int) -> tuple[Told, StoredPicture]:
    told = Told()
    return told, await engine.draw(job(seed), told)


async def test_the_script_is_played(artifacts: ArtifactStore, autojump_clock: trio.testing.MockClock) -> None:
    script = SimImage(steps=4, load_s=2.0, step_s=1.0, decode_s=0.5, jitter=0.0)
    told, stored = await draw(SimImageEngine(script, artifacts), 1)
    assert told.letters == [
        *(StepFinished(step=n, steps=4, step_s=1.0, eta_s=(4.0 - n, 4.0 - n)) for n in range(1, 5)),
        RenderStaged(stage="decoding", basis="indeterminate", message="Decoding the picture"),
        WorkerLeft(fate="idle"),
    ]
    assert told.times == [3.0, 4.0, 5.0, 6.0, 6.0, 6.5]
    assert artifacts.path(stored.sha256).is_file(), "the picture is a real one"
    assert stored.mime == "image/png"


async def test_the_same_seed_plays_the_same(artifacts: ArtifactStore, autojump_clock: trio.testing.MockClock) -> None:
    script = SimImage()
    (one, picture), (two, same) = [await draw(SimImageEngine(script, artifacts), 5) for _ in range(2)]
    assert one.letters == two.letters
    assert picture == same
    other, _ = await draw(SimImageEngine(script, artifacts), 6)
    assert other.letters != one.letters
    reseeded, _ = await draw(SimImageEngine(SimImage(seed=1), artifacts), 5)
    assert reseeded.letters != one.letters


async def test_failures_come_as_often_as_the_script_says(
    artifacts: ArtifactStore, autojump_clock: trio.testing.MockClock
) -> None:
    engine = SimImageEngine(SimImage(failures=0.5), artifacts)
    failed = 0
    for seed in range(100):
        told = Told()
        try:
            await engine.draw(job(seed), told)
        except ImageFailed:
            failed += 1
        assert told.letters[-1] == WorkerLeft(fate="idle")
    assert 35 <= failed <= 65


async def test_a_crash_is_worth_another_attempt_that_may_succeed(
    artifacts: ArtifactStore, autojump_clock: trio.testing.MockClock
) -> None:
    engine = SimImageEngine(SimImage(crashes=0.5), artifacts)
    crashed = 0
    for _ in range(40):
        try:
            await draw(engine, 1)
        except ImageFailed as error:
            crashed += error.retryable
    assert 10 <= crashed <= 30


async def test_a_stalled_picture_takes_so_much_longer(
    artifacts: ArtifactStore, autojump_clock: trio.testing.MockClock
) -> None:
    told, _ = await draw(SimImageEngine(SimImage(stalls=1, stall_s=1000), artifacts), 1)
    steps = [letter.step_s or 0 for letter in told.letters if isinstance(letter, StepFinished)]
    assert sum(step_s > 1000 for step_s in steps) == 1
    assert told.times[-1] > 1000


async def test_a_cancelled_job_says_farewell(artifacts: ArtifactStore, autojump_clock: trio.testing.MockClock) -> None:
    told = Told()
    with trio.move_on_after(1.0) as scope:
        await SimImageEngine(SimImage(), artifacts).draw(job(1), told)
    assert scope.cancelled_caught
    assert told.letters[-1] == WorkerLeft(fate="idle")
    assert told.times[-1] == 1.0


async def test_steps_are_as_asked_and_every_option_but_an_input_is_fine(artifacts: ArtifactStore) -> None:
    engine = SimImageEngine(SimImage(steps=8), artifacts)
    assert engine.planned_steps(ImageOptions()) == 8
    assert engine.planned_steps(ImageOptions(steps=3)) == 3
    await engine.check(ImageOptions(model="x", guidance=2.0, width=17))
    with pytest.raises(Invalid) as refused:
        await engine.check(ImageOptions(input="upload"))
    assert refused.value.field == "hatch.image.input"
