"""The port between the mflux actor and whatever draws: a job in, mail while it runs, a stored picture out."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from actors.artifacts import StoredPicture
from protocol.commands import ImageOptions
from protocol.events import Choices
from protocol.forecast import Range
from protocol.mail import RenderMail
from protocol.maker import Maker
from protocol.persona import Persona

Tell = Callable[[RenderMail], Awaitable[None]]


class InputPicture(msgspec.Struct, frozen=True):
    """A PNG to begin from, which is not to be written to; sides in pixels."""

    path: Path
    width: int
    height: int


FindInput = Callable[[str, str], Awaitable[InputPicture]]
"""From an owner and the id of an upload of theirs to its file. Raises NotFound."""


class RenderJob(msgspec.Struct, frozen=True, kw_only=True):
    """One picture: what to draw, with which options (None: the engine's choice), which seed, and from what."""

    session: str
    persona: Persona
    image: ImageOptions
    seed: int
    input: InputPicture | None = None


class ImageEngine(Protocol):
    """Draws one picture per call; when a call ends, however it ends, nothing of it still runs."""

    name: str

    @property
    def choices(self) -> Choices | None:
        """The models and LoRAs that a hatch may name; None if there are none."""

    def planned_steps(self, image: ImageOptions) -> int:
        """How many steps a job with these options is asked for; 0 if only the engine knows."""

    def maker(self, image: ImageOptions) -> Maker:
        """Who draws a job with these options, as it may be told to others."""

    async def check(self, image: ImageOptions) -> None:
        """Raise Invalid, naming the field and what is allowed, for an option that this engine does not honour.

        It waits for nobody: what the engine has yet to learn of itself is left to `confirm`.
        """

    async def confirm(self, image: ImageOptions) -> None:
        """`check` once more, in the hatch's own task, after waiting for what it cannot do without. Raises Invalid."""

    async def expected(self, image: ImageOptions) -> Range | None:
        """How long a picture with these options takes, p50 and p90 in seconds; None if that is unknown."""

    async def prewarm(self, image: ImageOptions) -> None:
        """Such a picture will be wanted soon: begin with what can be done before, if it may; does not wait for it."""

    def hurry(self) -> None:
        """The gateway stops: from now on end what a cancelled drawing has left instead of waiting for it."""

    async def draw(self, job: RenderJob, tell: Tell) -> StoredPicture:
        """Draw, check and store, telling stages, steps and, before the call ends, WorkerLeft.

        Raises ImageUnavailable, ImageFailed quoting the engine's last lines, or Invalid for an option that `check`
        refuses by now.
        """
