"""The warm engine: an ImageEngine that keeps a loaded model per render slot and lets a cancelled hatch give it back."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random, SystemRandom
from typing import Final

import msgspec
import trio

from actors.artifacts import ArtifactStore, StoredPicture
from actors.mflux.capabilities import Capabilities
from actors.mflux.engine import RenderJob, Tell
from actors.mflux.history import MemoryHistory, Pace
from actors.mflux.inputs import lay_input, shaped
from actors.mflux.jobs import open_job_directory
from actors.mflux.offer import Offer
from actors.mflux.oneshot import PICTURE, STEPS, child_environment
from actors.mflux.options import may_honour, objections, refuse, unhonoured
from actors.mflux.previews import PreviewSettings, with_previews
from actors.mflux.prewarm import MayPrewarm
from actors.mflux.warm.child import WarmChild
from actors.mflux.warm.pool import STOP_S, Seat
from actors.mflux.warm.program import WarmProgram
from actors.mflux.warm.start import open_warm_child
from actors.mflux.warm.wire import Draw, Setup
from actors.pty import Keeper
from actors.store.durations import Work
from actors.versions import installed_version
from protocol.commands import ImageOptions
from protocol.errors import ImageUnavailable
from protocol.events import Choices
from protocol.forecast import Forecast, Range, Span
from protocol.mail import RenderStaged
from protocol.maker import Maker, model_name
from protocol.restart import RestartPolicy
from protocol.stall import StallLimits

TELL_S: Final = 5.0  # for the last word on the worker


async def _always(_model: str | None) -> bool:
    return True


class WarmSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`patience_s`: how long a cancelled job may take to end its step before its worker, and the model, is given up.

    A worker leaves when it has been idle for `idle_s`, after `jobs`, or holding more than `memory_bytes` after a job;
    one that failed is replaced as `restarts` says, though without end if it had to be given up. A job that is silent
    beyond `stalls` is stopped.
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
        offer: Offer = Offer(),  # noqa: B008 - frozen
        capabilities: Capabilities | None = None,
    ) -> None:
        self.name = program.warm.command
        self._program = program
        self._version = installed_version("mflux")  # workers run in this environment
        self._offer = offer
        self._capabilities = capabilities
        self._seats = seats
        self._free = list(seats)  # the one that has been so for longest comes first
        self._seated = trio.Semaphore(len(seats))
        self._artifacts = artifacts
        self._jobs = jobs
        self._patience_s = patience_s
        self._pace = pace
        self._previews = previews if program.warm.latents else None
        self._may_prewarm = may_prewarm

    def planned_steps(self, image: ImageOptions) -> int:
        """See ImageEngine."""
        return image.steps or self._program.defaults.steps or self._program_for(image).checkpoint.steps

    def maker(self, image: ImageOptions) -> Maker:
        """See ImageEngine."""
        program = self._program_for(image)
        model = model_name(program.model or program.checkpoint.key)
        return Maker(engine=self.name, model=model, version=self._version)

    @property
    def choices(self) -> Choices | None:
        """See ImageEngine; more exactly once mflux has said what its command honours."""
        flags = None if self._capabilities is None else self._capabilities.flags
        return self._offer.choices(partial(may_honour, flags=flags, known=self._program.warm))

    async def check(self, image: ImageOptions) -> None:
        """See ImageEngine; a model or LoRA that is not loaded is, if it is offered, loaded in a worker's place.

        Besides what is known of the model, what mflux says of its command counts, as soon as it has said so.
        """
        if self._capabilities is not None and self._capabilities.flags:
            refuse(self.name, unhonoured(image, self._capabilities.flags))
        self._offer.check(image, self._program.model)
        program = self._program_for(image)
        refuse(self.name, objections(program.warm, program.checkpoint, image, program.defaults.guidance))

    async def confirm(self, image: ImageOptions) -> None:
        """See ImageEngine; a worker's own model is known well enough not to wait for mflux."""
        await self.check(image)

    async def expected(self, image: ImageOptions) -> Range | None:
        """See ImageEngine; by a worker that has loaded its model."""
        return await self._pace.whole(self._work(image))

    async def prewarm(self, image: ImageOptions) -> None:
        """See ImageEngine; a free worker loads the model, unless one has or does, be it another model."""
        program = self._program_for(image)
        if self.is_cold and await self._may_prewarm(program.model) and self.is_cold:
            self._free[0].want(program)

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
        await self.check(job.image)  # what mflux has said since; or another offer, of a hatch that is begun again
        program, defaults = self._program_for(job.image), self._program.defaults
        if not defaults.width and not defaults.height:
            job = shaped(job, program.warm.multiple)
        async with self._seated:
            seat = min(self._free, key=lambda seat: seat.distance(program))
            self._free.remove(seat)
            try:
                return await self._draw(job, program, seat, tell)
            finally:
                self._free.append(seat)

    async def _draw(self, job: RenderJob, program: WarmProgram, seat: Seat, tell: Tell) -> StoredPicture:
        try:
            async with open_job_directory(self._jobs, job.session) as directory:
                picture, work = directory / PICTURE, self._work(job.image)
                past = await self._pace.past(work)
                loads = (await self._pace.past(load_work(program)))[Span.LOAD]
                loading, drawing = Forecast({**past, Span.LOAD: loads}, work.steps), Forecast(past, work.steps)
                order = self._order(job, directory, await lay_input(job, directory))
                try:
                    async with with_previews(directory / STEPS, tell, self._previews) as tell_and_show:
                        await seat.draw(program, order, tell_and_show, loading, drawing)
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
        defaults, engine = self._program.defaults, load_work(self._program_for(image)).engine
        engine += " with previews" if self._previews else ""
        engine += f" from an input {self._program.strength or ''}" if image.input is not None else ""
        return Work(
            engine=engine,
            width=image.width or defaults.width or 0,
            height=image.height or defaults.height or 0,
            steps=self.planned_steps(image),
            quantization=self._program.quantize,
        )

    def _program_for(self, image: ImageOptions) -> WarmProgram:
        return self._program.choosing(self._offer.choice(image))

    def _order(self, job: RenderJob, directory: Path, picture: Path | None) -> Draw:
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
            input=None if picture is None else str(picture),
            strength=self._program.strength,
        )


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
    offer: Offer = Offer(),  # noqa: B008 - frozen
    capabilities: Capabilities | None = None,
) -> AsyncIterator[WarmEngine]:
    """An engine of `slots` seats; when the block ends its workers have ended as well. Raises OSError without a folder.

    Jobs get their directories below `jobs`; workers start at the first job, or with `prewarm`.
    """
    jobs = Path(await trio.Path(jobs).absolute())
    await trio.Path(jobs).mkdir(mode=0o700, parents=True, exist_ok=True)
    env, pace = child_environment(environ), pace or Pace(MemoryHistory())

    def open_child(program: WarmProgram) -> AbstractAsyncContextManager[WarmChild]:
        return open_warm_child(_setup(program, settings), cwd=jobs, env=env, stalls=settings.stalls, keeper=keeper)

    def on_loaded(program: WarmProgram, seconds: float) -> None:
        pace.note(load_work(program), Span.LOAD, seconds)

    seats = [Seat(program, open_child, settings.restarts, random or SystemRandom(), on_loaded) for _ in range(slots)]
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
                offer=offer,
                capabilities=capabilities,
            )
        finally:
            nursery.cancel_scope.cancel()


def _setup(program: WarmProgram, settings: WarmSettings) -> Setup:
    return Setup(
        command=program.warm.command,
        model=program.model,
        base_model=program.base_model,
        quantize=program.quantize,
        lora=program.lora,
        idle_s=settings.idle_s,
        jobs=settings.jobs,
        memory_bytes=settings.memory_bytes or _physical_bytes(),
    )


def load_work(program: WarmProgram) -> Work:
    """The loading of a model, which is no matter of a picture's size or steps."""
    words = ("warm", program.warm.command, program.model or "", program.base_model or "", *map(str, program.lora))
    engine = " ".join(filter(None, words))
    return Work(engine=engine, width=0, height=0, steps=0, quantization=program.quantize)


def _physical_bytes() -> int:
    """The machine's memory: a worker that holds more than all of it is swapped out."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
