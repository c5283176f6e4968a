"""The picture that a hatch begins from: laid into the job's directory, and the size of what is drawn from it."""

import math
import shutil
from pathlib import Path
from typing import Final

import msgspec
import trio

from actors.mflux.engine import InputPicture, RenderJob

INPUT: Final = "input.png"
DRAWN_PIXELS: Final = 1024 * 1024  # at most, of a picture that takes its shape from its input; what mflux draws unasked
DRAWN_SIDE: Final = 2048


async def lay_input(job: RenderJob, directory: Path) -> Path | None:
    """Copy the job's input into its directory, since an image command may do as it likes there. Raises OSError."""
    if job.input is None:
        return None
    target = directory / INPUT
    await trio.to_thread.run_sync(shutil.copyfile, job.input.path, target)
    return target


def shaped(job: RenderJob, multiple: int) -> RenderJob:
    """The same job, its picture in the shape of its input if it was asked for no size."""
    if job.input is None or job.image.width or job.image.height:
        return job
    width, height = fitted(job.input, multiple)
    return msgspec.structs.replace(job, image=msgspec.structs.replace(job.image, width=width, height=height))


def fitted(picture: InputPicture, multiple: int) -> tuple[int, int]:
    """Sides in the picture's proportions, multiples of so many pixels, and no larger than the picture's own."""
    area, longer = picture.width * picture.height, max(picture.width, picture.height)
    scale = min(1.0, math.sqrt(DRAWN_PIXELS / area), DRAWN_SIDE / longer)
    width, height = (int(side * scale) // multiple * multiple for side in (picture.width, picture.height))
    return max(width, multiple), max(height, multiple)
