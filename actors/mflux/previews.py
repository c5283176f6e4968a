"""Live previews: the newest of the pictures that an image command leaves after its steps, made small enough to send.

The command writes `seed_7_step3of8.png` and only then prints its third tick, so a picture whose tick was announced is
whole. Only the newest one counts: what was not shown in time is skipped.
"""

import io
import os
import re
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import structlog
import trio
from msgspec import Meta
from PIL import Image, features

from actors.mflux.engine import Tell
from protocol.mail import PreviewTaken, RenderMail, StepFinished

log = structlog.get_logger(__name__)

MAX_FILE: Final = 64 * 1024 * 1024  # bytes
MAX_PIXELS: Final = 4096 * 4096
MAX_NAMES: Final = 2000  # looked at in one directory; mflux leaves one a step, and one more
MIN_SIDE: Final = 16  # pixels; a preview that is still too many bytes at this size is given up

_NAME: Final = re.compile(r"seed_\d{1,20}_step(\d{1,6})of(\d{1,6})\.png", re.ASCII)
_QUALITIES: Final = (80, 60, 40, 20)
_SHRINK: Final = 0.75

Mime = Literal["image/webp", "image/jpeg"]
BEST_MIME: Final[Mime] = "image/webp" if features.check("webp") else "image/jpeg"
StillWanted = Callable[[], None]
"""Raises when nobody waits for the preview any more."""


class PreviewLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The longer side of a preview in pixels, its size in bytes, and its encoding."""

    side: Annotated[int, Meta(ge=MIN_SIDE, le=1024)] = 256
    bytes: Annotated[int, Meta(ge=2048)] = 24 * 1024
    mime: Mime = BEST_MIME


class PreviewSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How previews are made, and who bounds how many are at once."""

    limits: PreviewLimits
    limiter: trio.CapacityLimiter


class Previews:
    """Shows one job's step pictures, one at a time; made by `open_previews`."""

    def __init__(self, directory: Path, tell: Tell, limits: PreviewLimits, limiter: trio.CapacityLimiter) -> None:
        self._directory = directory
        self._tell = tell
        self._limits = limits
        self._limiter = limiter
        self._news = trio.Event()
        self._tick = (0, 0)
        self._shown = -1

    def announce(self, step: int, steps: int) -> None:
        """The command has just said that `step` of `steps` is done; never blocks."""
        self._tick = (step, steps)
        self._news.set()

    async def run(self) -> None:
        """Show the newest announced picture, over and over."""
        while True:
            await self._news.wait()
            async with self._limiter:  # the tick is read after the wait for a turn: the newest by then
                self._news = trio.Event()
                step, steps = self._tick
                letter = await take_preview(self._directory, step, steps, limits=self._limits, after=self._shown)
            await trio.lowlevel.checkpoint_if_cancelled()  # the thread may have been done before it could notice
            if letter is not None:
                self._shown = letter.step
                await self._tell(letter)


@asynccontextmanager
async def open_previews(
    directory: Path, tell: Tell, *, limits: PreviewLimits, limiter: trio.CapacityLimiter
) -> AsyncIterator[Previews]:
    """Previews of the job that writes its step pictures into `directory`, which need not exist yet.

    `limiter` bounds how many are made at once, over all jobs. At the end the one in work is given up, within the time
    that one decode or encode takes; nothing is told after it.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        previews = Previews(directory, tell, limits, limiter)
        nursery.start_soon(previews.run)
        try:
            yield previews
        except Exception as error:
            failure = error  # past the nursery, which would wrap it in a group
        finally:
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def with_previews(directory: Path, tell: Tell, settings: PreviewSettings | None) -> AsyncIterator[Tell]:
    """A `tell` that also shows the picture of each step that it is told of; the same one without settings."""
    if settings is None:
        yield tell
        return
    async with open_previews(directory, tell, limits=settings.limits, limiter=settings.limiter) as previews:

        async def tell_and_show(letter: RenderMail) -> None:
            if isinstance(letter, StepFinished):
                previews.announce(letter.step, letter.steps)
            await tell(letter)

        yield tell_and_show


async def take_preview(
    directory: Path, step: int, steps: int, *, limits: PreviewLimits, after: int = -1
) -> PreviewTaken | None:
    """The newest picture past tick `after` and up to tick `step` of `steps`; None if there is none fit to be shown.

    The work is a thread's. When cancelled, it returns as soon as the decode or encode at work is over, and leaves no
    thread busy.
    """

    def take() -> PreviewTaken | None:
        newest = max(_finished(directory, range(after + 1, step + 1), steps), default=None)
        return None if newest is None else _preview(*newest, limits, trio.from_thread.check_cancelled)

    try:
        return await trio.to_thread.run_sync(take)
    except Exception as error:  # a child wrote it: whatever is wrong with a picture must not hurt the hatch
        log.debug("no preview", step=step, steps=steps, why=repr(error))
        return None


def _preview(step: int, path: Path, limits: PreviewLimits, still_wanted: StillWanted) -> PreviewTaken:
    """Raises whatever Pillow raises, OSError and ValueError."""
    image = _decode(path)
    still_wanted()
    image.thumbnail((limits.side, limits.side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    data = _encode(image, limits, still_wanted)
    return PreviewTaken(step=step, mime=limits.mime, width=image.width, height=image.height, data=data)


def _finished(directory: Path, ticks: range, steps: int) -> Iterator[tuple[int, Path]]:
    """The pictures of these ticks, with their ticks.

    With a start picture a command skips its first steps: of ten the bar counts the last five, the names all ten.
    """
    with os.scandir(directory) as entries:
        for entry in islice(entries, MAX_NAMES):
            if name := _NAME.fullmatch(entry.name):
                tick = int(name[1]) - (int(name[2]) - steps)
                if tick in ticks:
                    yield tick, Path(entry.path)


def _decode(path: Path) -> Image.Image:
    """The whole picture in RGB, without its metadata."""
    with Image.open(io.BytesIO(_read(path)), formats=("PNG",)) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"{picture.width}x{picture.height} pixels are too many")
        picture.load()
        image = picture if picture.mode == "RGB" else picture.convert("RGB")
    image.info.clear()  # the prompt stands there
    return image


def _read(path: Path) -> bytes:
    """A plain file of bounded size: neither a link, nor a pipe that would never end."""
    with open(path, "rb", opener=_open_plain) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_FILE:
            raise ValueError("not a plain file of bounded size")
        return file.read(MAX_FILE)


def _open_plain(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _encode(image: Image.Image, limits: PreviewLimits, still_wanted: StillWanted) -> bytes:
    """The best encoding within the budget; shrinks `image` when no quality is low enough. Raises ValueError."""
    kind = limits.mime.removeprefix("image/")
    while True:
        for quality in _QUALITIES:
            still_wanted()
            buffer = io.BytesIO()
            image.save(buffer, kind, quality=quality, method=0)  # WebP's fastest: 2 ms, and hardly larger than its best
            if buffer.tell() <= limits.bytes:
                return buffer.getvalue()
        if max(image.size) <= MIN_SIDE:
            raise ValueError(f"no preview fits into {limits.bytes} bytes")
        image.thumbnail((image.width * _SHRINK, image.height * _SHRINK))
