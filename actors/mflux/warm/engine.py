"""The warm engine: an ImageEngine that keeps a loaded model per render slot and lets a cancelled hatch give it back."""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random, SystemRandom
from typing import Final

import msgspec
import trio

from actors.artifacts import ArtifactStore, StoredPicture
from actors.mflux.engine import RenderJob, Tell
from actors.mflux.history import MemoryHistory, Pace
from actors.mflux.jobs import open_job_directory
from actors.mflux.oneshot import PICTURE, STEPS, child_environment
from actors.mflux.previews import PreviewSettings, with_previews
from actors.mflux.prewarm import MayPrewarm
from actors.mflux.warm.child import open_warm_child
from actors.mflux.warm.pool import STOP_S, Seat
from actors.mflux.warm.program import WarmProgram
from actors.mflux.warm.wire import Draw, Setup
from actors.pty import Keeper
from actors.store.durations import Work
from actors.versions import installed_version
from protocol.commands import ImageOptions
from protocol.errors import ImageUnavailable, Invalid
from protocol.forecast import Forecast, Range, Span
from protocol.mail import RenderStaged
from protocol.maker import Maker, model_name
from protocol.restart import RestartPolicy
from protocol.stall import StallLimits

TELL_S: Final = 5.0  # for the last word on the worker


async def _always() -> bool:
    return True


class WarmSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`patience_s`: how long a cancelled job may take to end its step before its worker, and the model, is given up.

    A worker leaves when it has been idle for `idle_s`, after `jobs`, or holding more than `memory_bytes` after a job;
    one that dies is started again at most as `restarts` allows. A job that is silent beyond `stalls` is stopped.
    """

    patience_s: float = 20.0
    idle_s: float = 1800.0
    jobs: int = 1000
    memory_bytes: int | None = None  # None: all that the machine has
    restarts: RestartPolicy = RestartPolicy(intensity=5, period_s=60.0, backoff_s=0.5)
    stalls: StallLimits = StallLimits()


class WarmEngine:
    """Draws with workers that have the model loaded; at most as many jobs at once as there are seats."""

    def __init__(
        self,
        program: WarmProgram,
        seats: list[Seat],
        *,
        artifacts: ArtifactStore,
        jobs: Path,
        patience_s: float,
        pace: Pace,
        previews: PreviewSettings | None = None,
        may_prewarm: MayPrewarm = _always,
    ) -> None:
        self.name = program.warm.command
        self._program = program
        self._version = installed_version("mflux")  # workers run in this environment
        self._warm = program.warm
        self._checkpoint = program.warm.checkpoint(program.base_model or program.model)
        self._seats = seats
        self._free = list(seats)
        self._seated = trio.Semaphore(len(seats))
        self._artifacts = artifacts
        self._jobs = jobs
        self._patience_s = patience_s
        self._pace = pace
        self._previews = previews if program.warm.latents else None
        self._may_prewarm = may_prewarm

    def planned_steps(self, image: ImageOptions) -> int:
        """See ImageEngine."""
        return image.steps or self._program.defaults.steps or self._checkpoint.steps

    def maker(self, image: ImageOptions) -> Maker:
        """See ImageEngine."""
        model = model_name(image.model or self._program.model or self._checkpoint.key)
        return Maker(engine=self.name, model=model, version=self._version)

    def check(self, image: ImageOptions) -> None:
        """See ImageEngine; another model or LoRA than the loaded one is the gateway's choice, not a client's."""
        for name, wrong in self._objections(image):
            raise Invalid(f"the engine {self.name} {wrong}", field=f"hatch.image.{name}")

    async def expected(self, image: ImageOptions) -> Range | None:
        """See ImageEngine; by a worker that has loaded its model."""
        return await self._pace.whole(self._work(image))

    async def prewarm(self) -> None:
        """See ImageEngine; a free worker loads its model, unless one has or does."""
        if self.is_cold and await self._may_prewarm() and self.is_cold:
            self._free[0].want()

    def hurry(self) -> None:
        """See ImageEngine; no worker is worth a wait any more, since their models end with the gateway."""
        for seat in self._seats:
            seat.hurry()

    @property
    def is_cold(self) -> bool:
        """Whether the next job would have to wait for a model, though a seat is free."""
        return bool(self._free) and not any(seat.warm for seat in self._free)

    async def draw(self, job: RenderJob, tell: Tell) -> StoredPicture:
        """See ImageEngine; a worker that has dropped the job in time keeps its model and is `idle`."""
        async with self._seated:
            seat = max(self._free, key=lambda seat: seat.warm)
            self._free.remove(seat)
            try:
                return await self._draw(job, seat, tell)
            finally:
                self._free.append(seat)

    async def _draw(self, job: RenderJob, seat: Seat, tell: Tell) -> StoredPicture:
        try:
            async with open_job_directory(self._jobs, job.session) as directory:
                picture, work = directory / PICTURE, self._work(job.image)
                past = await self._pace.past(work)
                loads = (await self._pace.past(load_work(self._program)))[Span.LOAD]
                loading, drawing = Forecast({**past, Span.LOAD: loads}, work.steps), Forecast(past, work.steps)
                try:
                    async with with_previews(directory / STEPS, tell, self._previews) as tell_and_show:
                        await seat.draw(self._order(job, directory), tell_and_show, loading, drawing)
                    ended = trio.current_time()
                    await tell(RenderStaged(stage="saving", basis="indeterminate", message="Checking the picture"))
                    stored = await self._artifacts.adopt_png(picture, width=job.image.width, height=job.image.height)
                    self._pace.learn(work, drawing, ended)
                    return stored
                finally:
                    with trio.move_on_after(2 * self._patience_s + STOP_S + TELL_S, shield=True):
                        await self._settle(seat, tell)
        except OSError as error:
            raise ImageUnavailable(
                f"the picture's files cannot be written ({error.strerror}): free space or set server.data elsewhere"
            ) from error

    async def _settle(self, seat: Seat, tell: Tell) -> None:
        left = await seat.settle(self._patience_s)
        if left is not None:
            await tell(left)

    def _work(self, image: ImageOptions) -> Work:
        """The job of a worker that has loaded its model."""
        defaults, engine = self._program.defaults, load_work(self._program).engine
        return Work(
            engine=f"{engine} with previews" if self._previews else engine,
            width=image.width or defaults.width or 0,
            height=image.height or defaults.height or 0,
            steps=self.planned_steps(image),
            quantization=self._program.quantize,
        )

    def _order(self, job: RenderJob, directory: Path) -> Draw:
        asked, defaults = job.image, self._program.defaults
        return Draw(
            job=0,
            prompt=job.persona.avatar_prompt,
            output=str(directory / PICTURE),
            stepwise=str(directory / STEPS) if self._previews else None,
            seed=job.seed,
            steps=asked.steps or defaults.steps,
            width=asked.width or defaults.width,
            height=asked.height or defaults.height,
            guidance=defaults.guidance if asked.guidance is None else asked.guidance,
            negative_prompt=asked.negative_prompt or defaults.negative_prompt,
        )

    def _objections(self, image: ImageOptions) -> Iterator[tuple[str, str]]:
        """Fields that cannot be honoured, and why."""
        program, warm, checkpoint = self._program, self._warm, self._checkpoint
        if image.model is not None and image.model != program.model:
            yield "model", f"draws with {program.model or checkpoint.key} only"
        if image.lora is not None and image.lora != [path for path, _ in program.lora]:
            yield "lora", "draws with the LoRAs of its own command line only"
        if image.input is not None:
            yield "input", "does not honour `input`"
        if image.steps is not None and checkpoint.steps_fixed and image.steps != checkpoint.steps:
            yield "steps", f"always takes {checkpoint.steps} steps"
        if image.steps is not None and image.steps < warm.min_steps:
            yield "steps", f"takes at least {warm.min_steps} steps"
        for name in ("width", "height"):
            if (getattr(image, name) or 0) % warm.multiple:
                yield name, f"draws sides that are multiples of {warm.multiple}"
        if image.guidance is not None and not checkpoint.guided:
            yield "guidance", "does not honour `guidance` with this model"
        if image.negative_prompt is not None:
            guidance = next(
                (g for g in (image.guidance, program.defaults.guidance, warm.guidance) if g is not None), 2.0
            )
            if "negative_prompt" not in warm.honours or not checkpoint.guided:
                yield "negative_prompt", "does not honour `negative_prompt` with this model"
            elif guidance <= 1:
                yield "negative_prompt", "honours `negative_prompt` only with a guidance above 1"


@asynccontextmanager
async def open_warm_engine(
    program: WarmProgram,
    *,
    artifacts: ArtifactStore,
    jobs: Path,
    environ: Mapping[str, str],
    slots: int,
    settings: WarmSettings,
    keeper: Keeper | None = None,
    random: Random | None = None,
    pace: Pace | None = None,
    previews: PreviewSettings | None = None,
    may_prewarm: MayPrewarm = _always,
) -> AsyncIterator[WarmEngine]:
    """An engine of `slots` seats; when the block ends its workers have ended as well. Raises OSError without a folder.

    Jobs get their directories below `jobs`; workers start at the first job, or with `prewarm`.
    """
    jobs = Path(await trio.Path(jobs).absolute())
    await trio.Path(jobs).mkdir(mode=0o700, parents=True, exist_ok=True)
    setup = Setup(
        command=program.warm.command,
        model=program.model,
        base_model=program.base_model,
        quantize=program.quantize,
        lora=program.lora,
        idle_s=settings.idle_s,
        jobs=settings.jobs,
        memory_bytes=settings.memory_bytes or _physical_bytes(),
    )
    pace = pace or Pace(MemoryHistory())
    open_child = partial(
        open_warm_child, setup, cwd=jobs, env=child_environment(environ), stalls=settings.stalls, keeper=keeper
    )
    on_loaded = partial(pace.note, load_work(program), Span.LOAD)
    seats = [Seat(open_child, settings.restarts, random or SystemRandom(), on_loaded) for _ in range(slots)]
    async with trio.open_nursery() as nursery:
        for seat in seats:
            nursery.start_soon(seat.run)
        try:
            yield WarmEngine(
                program,
                seats,
                artifacts=artifacts,
                jobs=jobs,
                patience_s=settings.patience_s,
                pace=pace,
                previews=previews,
                may_prewarm=may_prewarm,
            )
        finally:
            nursery.cancel_scope.cancel()


def load_work(program: WarmProgram) -> Work:
    """The loading of a model, which is no matter of a picture's size or steps."""
    words = ("warm", program.warm.command, program.model or "", program.base_model or "", *map(str, program.lora))
    engine = " ".join(filter(None, words))
    return Work(engine=engine, width=0, height=0, steps=0, quantization=program.quantize)


def _physical_bytes() -> int:
    """The machine's memory: a worker that holds more than all of it is swapped out."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
