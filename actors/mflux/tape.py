"""A tape as a painter: tells the recorded steps in their own time, or faster, and hands over the recorded picture."""

import io

import trio
from PIL import Image

from actors.artifacts import ArtifactStore, StoredPicture
from actors.mflux.engine import RenderJob, Tell
from actors.versions import own_version
from protocol.commands import ImageOptions
from protocol.errors import ImageFailed, Invalid
from protocol.events import Choices, Progress
from protocol.forecast import Range
from protocol.mail import RenderMail, RenderStaged, StepFinished, WorkerLeft
from protocol.maker import Maker
from protocol.persona import Persona
from protocol.tape import Tape, drawing_of, fraction_of


class TapePainter:
    """Plays the drawing of `tape` at `speed` times its pace; without a picture on it, a plain one stands in."""

    name = "tape"
    choices: Choices | None = None

    def __init__(self, tape: Tape, speed: float, artifacts: ArtifactStore) -> None:
        self._maker = Maker(engine=self.name, version=own_version())
        self._drawing = drawing_of(tape)
        self._picture = tape.picture
        self._speed = speed
        self._artifacts = artifacts

    def planned_steps(self, image: ImageOptions) -> int:
        """See ImageEngine."""
        return self._drawing.steps

    def maker(self, image: ImageOptions) -> Maker:
        """See ImageEngine."""
        return self._maker

    async def check(self, image: ImageOptions) -> None:
        """See ImageEngine; what is recorded cannot be had otherwise."""
        for name in image.__struct_fields__:
            if name != "seed" and getattr(image, name) is not None:
                raise Invalid(f"the engine tape does not honour `{name}`", field=f"hatch.image.{name}")

    async def confirm(self, image: ImageOptions) -> None:
        """See ImageEngine; nothing is learned later."""
        await self.check(image)

    async def expected(self, image: ImageOptions) -> Range | None:
        """See ImageEngine; the tape knows."""
        seconds = self._drawing.ends_s / self._speed
        return seconds, seconds

    async def prewarm(self, image: ImageOptions) -> None:
        """See ImageEngine; a tape is always ready."""

    def hurry(self) -> None:
        """See ImageEngine; a cancelled drawing leaves nothing."""

    async def draw(self, job: RenderJob, tell: Tell) -> StoredPicture:
        """See ImageEngine."""
        drawing, began = self._drawing, trio.current_time()
        done = 0
        try:
            for at, progress in drawing.advances:
                await trio.sleep_until(began + at / self._speed)
                for letter in self._letters(progress, done):
                    await tell(letter)
                done = max(done, progress.step or 0)
            await trio.sleep_until(began + drawing.ends_s / self._speed)
            if drawing.artifact is None:
                raise ImageFailed(drawing.failure)
            picture = self._picture or _stand_in(job.persona, drawing.artifact.width, drawing.artifact.height)
            return await trio.to_thread.run_sync(self._artifacts.store_png, picture)
        finally:
            with trio.CancelScope(shield=True):
                await tell(WorkerLeft(fate="idle"))

    def _letters(self, progress: Progress, done: int) -> list[RenderMail]:
        """What was told after `done` steps; a step that the recorder has missed shows in what came next."""
        eta_s = progress.eta_s and (progress.eta_s[0] / self._speed, progress.eta_s[1] / self._speed)
        letters: list[RenderMail] = []
        if progress.step is not None and progress.step > done:
            step_s = progress.step_s and progress.step_s / self._speed
            letters.append(StepFinished(step=progress.step, steps=progress.steps or 0, step_s=step_s, eta_s=eta_s))
        if progress.stage != "steps" or progress.basis != "measured":
            letters.append(
                RenderStaged(
                    stage=progress.stage,
                    basis=progress.basis,
                    message=progress.message,
                    fraction=fraction_of(progress),
                    eta_s=eta_s,
                )
            )
        return letters


def _stand_in(persona: Persona, width: int, height: int) -> bytes:
    """A picture of one colour of the persona's, as a PNG; sides in pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), persona.palette[0]).save(buffer, "PNG")
    return buffer.getvalue()
