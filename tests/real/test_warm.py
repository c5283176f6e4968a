"""The warm engine with the real mflux and a tiny checkpoint: pictures, cancels at any moment, deaths, and no leaks."""

import math
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random

import pytest
import trio
from PIL import Image

from actors.artifacts import ArtifactStore, StoredPicture
from actors.mflux.engine import ImageEngine, RenderJob
from actors.mflux.history import MemoryHistory, Pace
from actors.mflux.oneshot import OneShotEngine, Program
from actors.mflux.previews import PreviewLimits, PreviewSettings
from actors.mflux.warm.engine import WarmEngine, WarmSettings, open_warm_engine
from actors.mflux.warm.program import warm_program
from protocol.commands import ImageOptions
from protocol.errors import ImageFailed, ImageUnavailable
from protocol.mail import PreviewTaken, RenderMail, RenderStaged, StepFinished, WorkerLeft
from tests.helpers.gateways import PERSONA
from tests.helpers.tiny_mflux import MFLUX_COMMAND, mflux_env, tiny_checkpoint

pytestmark = pytest.mark.timeout(120)

When = Callable[[RenderMail], bool]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def heavy_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("heavy"), layers=1, width=512)


class Bench:
    """An engine with a store of its own, and what its jobs tell, with the time since each began."""

    def __init__(self, engine: ImageEngine, artifacts: ArtifactStore, jobs: Path) -> None:
        self.engine = engine
        self.artifacts = artifacts
        self.jobs = jobs
        self.told: list[tuple[float, RenderMail]] = []

    async def draw(
        self, *, seed: int = 7, steps: int = 4, side: int = 64, told: Callable[[RenderMail], None] = lambda _: None
    ) -> StoredPicture:
        began = trio.current_time()
        self.told.clear()

        async def tell(letter: RenderMail) -> None:
            self.told.append((trio.current_time() - began, letter))
            told(letter)

        image = ImageOptions(steps=steps, width=side, height=side)
        return await self.engine.draw(RenderJob(session="s1", persona=PERSONA, image=image, seed=seed), tell)

    async def draw_until(self, when: When, after_s: float = 0.0, *, steps: int = 8, side: int = 512) -> float:
        """Cancel a job so many seconds after a letter; how long the cancel then took."""
        with trio.CancelScope() as scope:

            def cancel_when(letter: RenderMail) -> None:
                if scope.deadline == math.inf and when(letter):
                    scope.deadline = trio.current_time() + after_s

            await self.draw(steps=steps, side=side, told=cancel_when)
        return trio.current_time() - scope.deadline

    def pixels(self, picture: StoredPicture) -> bytes:
        with Image.open(self.artifacts.path(picture.sha256)) as image:
            return image.tobytes()

    @property
    def steps(self) -> list[int]:
        return [letter.step for _, letter in self.told if isinstance(letter, StepFinished)]

    @property
    def first_step_s(self) -> float:
        return next(time for time, letter in self.told if isinstance(letter, StepFinished) and letter.step)

    @property
    def left(self) -> WorkerLeft:
        """The last word of the last job, which is on its worker."""
        last = self.told[-1][1]
        assert isinstance(last, WorkerLeft)
        return last

    @property
    def workers(self) -> list[int]:
        """The processes that work in the jobs' folder."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                cwd = os.readlink(f"/proc/{pid}/cwd")
            except OSError:
                continue
            if cwd.startswith(str(self.jobs)):
                found.append(int(pid))
        return found

    @property
    def leftovers(self) -> list[Path]:
        return list(self.jobs.iterdir())


@asynccontextmanager
async def warm_bench(
    directory: Path,
    checkpoint: Path,
    settings: WarmSettings | None = None,
    *,
    previews: PreviewSettings | None = None,
    pace: Pace | None = None,
) -> AsyncIterator[Bench]:
    program = warm_program([MFLUX_COMMAND, "--model", str(checkpoint)])
    assert program is not None
    artifacts, jobs = ArtifactStore(directory / "artifacts"), directory / "jobs"
    async with open_warm_engine(
        program,
        artifacts=artifacts,
        jobs=jobs,
        environ=mflux_env(),
        slots=1,
        settings=settings or WarmSettings(),
        previews=previews,
        pace=pace,
    ) as engine:
        bench = Bench(engine, artifacts, jobs)
        yield bench
    assert bench.workers == []


def one_shot_bench(directory: Path, checkpoint: Path) -> Bench:
    artifacts, jobs = ArtifactStore(directory / "artifacts"), directory / "one-shot"
    program = Program(name="mflux", argv=(MFLUX_COMMAND, "--model", str(checkpoint)))
    return Bench(OneShotEngine(program, artifacts=artifacts, jobs=jobs, environ=mflux_env()), artifacts, jobs)


def at_step(step: int) -> When:
    return lambda letter: isinstance(letter, StepFinished) and letter.step == step


def at_stage(stage: str) -> When:
    return lambda letter: isinstance(letter, RenderStaged) and letter.stage == stage


async def poll(happened: Callable[[], bool]) -> None:
    """Wait for what announces itself to nobody but the system."""
    with trio.fail_after(20):
        while not happened():  # noqa: ASYNC110
            await trio.sleep(0.005)


def has_begun_imports(pid: int) -> bool:
    """Whether a worker has loaded mlx, which is long after its first lines and long before its model."""
    try:
        return "libmlx" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


async def test_the_second_picture_begins_ten_times_sooner_and_is_the_same(tmp_path: Path, checkpoint: Path) -> None:
    one_shot = one_shot_bench(tmp_path, checkpoint)
    expected = one_shot.pixels(await one_shot.draw(steps=6))
    async with warm_bench(tmp_path, checkpoint) as warm:
        other = warm.pixels(await warm.draw(seed=8, steps=6))
        (worker,) = warm.workers
        assert warm.pixels(await warm.draw(steps=6)) == expected != other
        assert warm.workers == [worker]
        assert warm.left == WorkerLeft(fate="idle")
        assert warm.steps == sorted(set(warm.steps))
        assert warm.steps[-1] == 6, "the last tick is told, however short the steps"
        assert warm.first_step_s * 10 < one_shot.first_step_s
        assert warm.leftovers == []


async def test_a_cancel_at_any_moment_keeps_the_model_and_the_next_picture_is_right(
    tmp_path: Path, checkpoint: Path
) -> None:
    async with warm_bench(tmp_path, checkpoint) as warm:
        await warm.draw_until(lambda letter: "Loading the model" in getattr(letter, "message", ""))
        assert warm.left == WorkerLeft(fate="idle")
        (worker,) = warm.workers
        expected = warm.pixels(await warm.draw())
        for when in (at_stage("encoding"), at_step(2), at_stage("decoding")):
            await warm.draw_until(when)
            assert warm.left == WorkerLeft(fate="idle")
            assert warm.pixels(await warm.draw()) == expected
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(warm.draw, steps=2, side=768))
            await poll(lambda: any(warm.jobs.glob("*/picture.png")))  # it is being saved, for a tenth of a second
            nursery.cancel_scope.cancel()
        assert warm.left == WorkerLeft(fate="idle")
        assert warm.pixels(await warm.draw()) == expected
        assert warm.workers == [worker]
        assert warm.leftovers == []


async def test_a_cancel_in_a_long_step_keeps_the_model_once_the_step_has_ended(
    tmp_path: Path, heavy_checkpoint: Path
) -> None:
    async with warm_bench(tmp_path, heavy_checkpoint) as warm:
        took = await warm.draw_until(at_step(1), 0.2, side=320)
        assert warm.left == WorkerLeft(fate="idle")
        step_s = next(letter.step_s for _, letter in warm.told if isinstance(letter, StepFinished) and letter.step == 1)
        assert step_s is not None
        assert took < 2 * step_s + 1.0


async def test_a_cancel_with_less_patience_than_the_step_takes_gets_another_worker(
    tmp_path: Path, heavy_checkpoint: Path
) -> None:
    async with warm_bench(tmp_path, heavy_checkpoint, WarmSettings(patience_s=0.2)) as warm:
        took = await warm.draw_until(at_step(1), 0.2, side=320)
        assert warm.left == WorkerLeft(fate="exited", exit_code=-signal.SIGTERM)
        assert took < 0.2 + 0.8
        assert isinstance(warm.engine, WarmEngine)
        await poll(lambda: any(map(has_begun_imports, warm.workers)))


async def test_a_worker_killed_in_mid_step_fails_its_job_only(tmp_path: Path, checkpoint: Path) -> None:
    async with warm_bench(tmp_path, checkpoint) as warm:
        expected = warm.pixels(await warm.draw())
        (killed,) = warm.workers

        def kill(letter: RenderMail) -> None:
            if at_step(2)(letter):
                os.kill(killed, signal.SIGKILL)

        with pytest.raises(ImageFailed, match="signal 9") as failure:
            await warm.draw(side=512, steps=8, told=kill)
        assert failure.value.retryable
        assert warm.left == WorkerLeft(fate="exited", exit_code=-signal.SIGKILL)
        assert warm.pixels(await warm.draw()) == expected
        assert len(warm.workers) == 1
        (idle,) = warm.workers
        os.kill(idle, signal.SIGKILL)
        assert warm.pixels(await warm.draw()) == expected, "a worker that died idle fails nobody"


async def test_interrupts_while_it_loads_or_waits_change_nothing(tmp_path: Path, checkpoint: Path) -> None:
    async with warm_bench(tmp_path, checkpoint) as warm:
        assert isinstance(warm.engine, WarmEngine)
        await warm.engine.prewarm(ImageOptions())
        await poll(lambda: any(map(has_begun_imports, warm.workers)))
        (worker,) = warm.workers
        os.kill(worker, signal.SIGINT)
        expected = warm.pixels(await warm.draw())
        await warm.engine.prewarm(ImageOptions())
        for _ in range(3):
            os.kill(worker, signal.SIGINT)
        assert warm.pixels(await warm.draw()) == expected
        assert warm.workers == [worker]


async def test_a_worker_leaves_after_its_jobs_and_is_replaced_when_needed(tmp_path: Path, checkpoint: Path) -> None:
    async with warm_bench(tmp_path, checkpoint, WarmSettings(jobs=2)) as warm:
        expected = warm.pixels(await warm.draw())
        (first,) = warm.workers
        assert warm.pixels(await warm.draw()) == expected
        assert warm.left == WorkerLeft(fate="exited", exit_code=0)
        assert warm.workers == []
        assert warm.pixels(await warm.draw()) == expected
        assert warm.workers != [first]


async def test_a_worker_leaves_when_idle(tmp_path: Path, checkpoint: Path) -> None:
    async with warm_bench(tmp_path, checkpoint, WarmSettings(idle_s=0.1)) as warm:
        await warm.draw()
        assert warm.left == WorkerLeft(fate="idle")
        await poll(lambda: not warm.workers)


async def test_a_worker_above_its_memory_bound_leaves(tmp_path: Path, checkpoint: Path) -> None:
    async with warm_bench(tmp_path, checkpoint, WarmSettings(memory_bytes=1)) as warm:
        with pytest.raises(ImageFailed, match="before they began: its memory"):
            await warm.draw()


async def test_a_model_that_is_not_there_is_unavailable_in_words(tmp_path: Path) -> None:
    async with warm_bench(tmp_path, tmp_path / "nothing") as warm:
        with pytest.raises(ImageUnavailable, match="cannot be loaded"):
            await warm.draw()
        assert warm.left == WorkerLeft(fate="exited", exit_code=1)


async def test_many_jobs_and_cancels_leave_one_worker_and_nothing_else(tmp_path: Path, checkpoint: Path) -> None:
    random = Random(5)
    async with warm_bench(tmp_path, checkpoint) as warm:
        expected = warm.pixels(await warm.draw())
        await warm.draw(side=256)
        (worker,) = warm.workers
        ours, theirs, memory = open_files("self"), open_files(worker), resident_kib(worker)
        for job in range(12):
            if job % 3 == 2:
                await warm.draw_until(at_stage("encoding"), random.uniform(0.0, 0.5), side=256, steps=20)
            else:
                assert warm.pixels(await warm.draw()) == expected
            assert warm.left == WorkerLeft(fate="idle")
        assert warm.workers == [worker]
        assert (open_files("self"), open_files(worker)) == (ours, theirs)
        assert resident_kib(worker) < memory + 64 * 1024
        assert warm.leftovers == []


def open_files(process: int | str) -> int:
    return len(os.listdir(f"/proc/{process}/fd"))


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


async def test_previews_are_shown_and_leave_nothing_in_the_worker(tmp_path: Path, checkpoint: Path) -> None:
    previews = PreviewSettings(limits=PreviewLimits(side=32), limiter=trio.CapacityLimiter(1))
    async with warm_bench(tmp_path, checkpoint, previews=previews) as warm:
        expected = warm.pixels(await warm.draw())
        (worker,) = warm.workers
        await warm.draw_until(at_step(2))
        assert warm.left == WorkerLeft(fate="idle")
        for _ in range(2):
            assert warm.pixels(await warm.draw()) == expected
            shown = [letter for _, letter in warm.told if isinstance(letter, PreviewTaken)]
            assert shown
            assert [letter.step for letter in shown] == sorted({letter.step for letter in shown})
            assert warm.steps[-1] == 4
        assert warm.workers == [worker]
        assert warm.leftovers == []


async def test_the_second_worker_loads_with_an_estimate_from_the_first(tmp_path: Path, checkpoint: Path) -> None:
    pace, side = Pace(MemoryHistory()), 256  # smaller ones may be read in one piece, steps and all, which times nothing
    loading: list[set[str]] = []
    for _ in range(2):
        async with warm_bench(tmp_path, checkpoint, pace=pace) as warm:
            known = await warm.engine.expected(ImageOptions(steps=4, width=side, height=side))
            assert (known is None) == (not loading)
            await warm.draw(side=side)
            letters = [letter for _, letter in warm.told if isinstance(letter, RenderStaged)]
            loading.append({letter.basis for letter in letters if letter.stage == "loading"})
    assert loading == [{"indeterminate"}, {"indeterminate", "estimated"}]
