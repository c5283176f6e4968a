"""A simulated image engine: scripted timing from a seed, in-process, no thread and no child, fit for virtual time."""

import io
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import msgspec
import trio
from PIL import Image

from actors.artifacts import ArtifactStore, StoredPicture
from actors.llm.sim import stamp
from actors.mflux.engine import RenderJob, Tell
from actors.versions import own_version
from protocol.commands import ImageOptions
from protocol.errors import ImageFailed, Invalid
from protocol.events import Choices
from protocol.forecast import Range
from protocol.mail import RenderStaged, StepFinished, WorkerLeft
from protocol.maker import Maker

SIDE: Final = 16  # pixels
PICTURES: Final = 16  # different ones


class SimImage(msgspec.Struct, frozen=True, kw_only=True):
    """The script: seconds, varied by up to `jitter` (a share) from the seed, and faults as shares.

    `failures` is of pictures, whose every attempt fails; `crashes` and `stalls` are of attempts.
    With `stamps` the message that the picture is being decoded ends with the time, in milliseconds since 1970.
    """

    steps: int = 8
    load_s: float = 0.2
    step_s: float = 0.25
    decode_s: float = 0.1
    jitter: float = 0.2
    failures: float = 0.0
    crashes: float = 0.0
    stalls: float = 0.0
    stall_s: float = 90.0
    seed: int = 0
    stamps: bool = False


class SimImageEngine:
    """Plays the script of each job's seed; crashes and stalls are drawn anew for every attempt, in their order.

    `sleep` is for who has a cheaper one.
    """

    name = "sim"

    def __init__(
        self,
        script: SimImage,
        artifacts: ArtifactStore,
        sleep: Callable[[float], Awaitable[None]] = trio.sleep,
        choices: Choices | None = None,
    ) -> None:
        self.choices = choices
        self._maker = Maker(engine=self.name, version=own_version())
        self._script = script
        self._sleep = sleep
        self._fates = Random(f"{script.seed}/fates")
        self._pictures = [artifacts.store_png(_png(number)) for number in range(PICTURES)]

    def planned_steps(self, image: ImageOptions) -> int:
        """See ImageEngine."""
        return image.steps or self._script.steps

    def maker(self, image: ImageOptions) -> Maker:
        """See ImageEngine."""
        return self._maker

    async def check(self, image: ImageOptions) -> None:
        """See ImageEngine; a simulated picture honours everything, by ignoring it, but begins from nothing."""
        if image.input is not None:
            raise Invalid("the engine sim does not honour `input`", field="hatch.image.input")

    async def confirm(self, image: ImageOptions) -> None:
        """See ImageEngine; nothing is learned later."""
        await self.check(image)

    async def expected(self, image: ImageOptions) -> Range | None:
        """See ImageEngine; the script knows."""
        script = self._script
        seconds = script.load_s + self.planned_steps(image) * script.step_s + script.decode_s
        return seconds, seconds * (1 + script.jitter)

    async def prewarm(self, image: ImageOptions) -> None:
        """See ImageEngine; a script is always ready."""

    def hurry(self) -> None:
        """See ImageEngine; a script leaves nothing."""

    async def draw(self, job: RenderJob, tell: Tell) -> StoredPicture:
        """See ImageEngine."""
        script = self._script
        random = Random(f"{script.seed}/{job.seed}")
        steps = self.planned_steps(job.image)
        fails_at = random.randrange(steps) if random.random() < script.failures else None
        crashes_at = self._one_of(steps, script.crashes)
        stalls_at = self._one_of(steps, script.stalls)
        try:
            await self._sleep(self._about(script.load_s, random))
            for step in range(steps):
                if step == fails_at:
                    raise ImageFailed("the script says that this picture fails")
                if step == crashes_at:
                    raise ImageFailed("the script says that this attempt crashes", retryable=True)
                step_s = self._about(script.step_s, random) + script.stall_s * (step == stalls_at)
                await self._sleep(step_s)
                left = (steps - step - 1) * script.step_s
                eta_s = (left, left * (1 + script.jitter))
                await tell(StepFinished(step=step + 1, steps=steps, step_s=round(step_s, 3), eta_s=eta_s))
            message = f"Decoding the picture {stamp()}" if script.stamps else "Decoding the picture"
            await tell(RenderStaged(stage="decoding", basis="indeterminate", message=message))
            await self._sleep(self._about(script.decode_s, random))
            return self._pictures[random.randrange(PICTURES)]
        finally:
            with trio.CancelScope(shield=True):
                await tell(WorkerLeft(fate="idle"))

    def _one_of(self, steps: int, share: float) -> int | None:
        """The step at which a fault strikes, if it does."""
        return self._fates.randrange(steps) if self._fates.random() < share else None

    def _about(self, seconds: float, random: Random) -> float:
        return seconds * (1 + self._script.jitter * random.uniform(-1, 1))


def _png(number: int) -> bytes:
    shade = 255 * number // (PICTURES - 1)
    buffer = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (shade, 128, 255 - shade)).save(buffer, "PNG")
    return buffer.getvalue()
