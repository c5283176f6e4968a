"""The demo renderer: a child program with mflux's flags and manners that draws a persona's portrait with Pillow.

It makes the first hatch work on any machine, and its bars, interrupts and files are as real as mflux's. Run it as
`python -m actors.mflux.demo_renderer --prompt TEXT --output portrait.png`.
"""

import argparse
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from actors.mflux.demo.look import Look, read_look
from actors.mflux.demo.painter import Painter
from protocol.errors import PersonaInvalid
from protocol.persona import Persona, validate_persona

MULTIPLE: Final = 16
MAX_SIDE: Final = 4096
MAX_STEPS: Final = 1000
IMAGE_STRENGTH: Final = 0.4  # as mflux has it


class UsageError(Exception):
    """A flag names something that cannot be used; its message is for the person."""


class Stopped(Exception):
    """Ctrl-C arrived in the loop; the message says at which step."""


@dataclass(frozen=True)
class Job:
    """One picture to draw, as the flags ask for it."""

    look: Look
    seed: int
    steps: int
    width: int
    height: int
    output: Path
    stepwise: Path | None
    metadata: bool
    image: Image.Image | None = None  # to shine through
    image_strength: float = IMAGE_STRENGTH

    def over_input(self, drawn: Image.Image) -> Image.Image:
        """What is drawn with the input picture shining through it, if there is one."""
        if self.image is None:
            return drawn
        return Image.blend(drawn, self.image.resize(drawn.size).convert(drawn.mode), self.image_strength)


def main(argv: list[str] | None = None) -> int:
    """Draw one picture; the exit code is 0 even when Ctrl-C stopped it, as mflux's is, and 2 for wrong usage."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        job = read_job(arguments)
        image = draw(job)
    except UsageError as error:
        parser.error(str(error))
    except Stopped as stopped:
        print(stopped)
        return 0
    path = save(image, job)
    print(f"Image saved successfully at: {path}")
    return 0


def read_job(arguments: argparse.Namespace) -> Job:
    """Read the files the flags name; raises UsageError when one is missing or wrong."""
    prompt = arguments.prompt if arguments.prompt_file is None else _read_text(arguments.prompt_file)
    if not prompt or prompt.isspace():
        raise UsageError("the prompt is empty")
    seed = secrets.randbelow(10**9) if arguments.seed is None else arguments.seed
    if arguments.persona_file is None:
        look = read_look(species="", words=prompt, palette=[], seed=seed)
    else:
        persona = _read_persona(arguments.persona_file)
        words = " ".join((*persona.traits, persona.tagline, persona.avatar_prompt, prompt))
        look = read_look(species=persona.species, words=words, palette=persona.palette, seed=seed)
    image = None
    if arguments.image_path is not None:
        image = _read_image(arguments.image_path, (arguments.width, arguments.height))
    return Job(
        look=look,
        seed=seed,
        steps=arguments.steps,
        width=arguments.width,
        height=arguments.height,
        output=arguments.output,
        stepwise=arguments.stepwise_image_output_dir,
        metadata=not arguments.no_exif,
        image=image,
        image_strength=arguments.image_strength,
    )


def draw(job: Job) -> Image.Image:
    """Refine the picture under a progress bar; a tick is printed when its step, and its file, are complete.

    Raises Stopped when Ctrl-C comes between the first step and the last.
    """
    painter = Painter(job.look, job.width, job.height, job.steps)
    _save_step(painter, job, 0)
    step = 0
    try:
        for step in tqdm(range(job.steps)):
            painter.step()
            _save_step(painter, job, step + 1)
    except KeyboardInterrupt:
        raise Stopped(f"Stopping image generation at step {step + 1}/{job.steps}") from None
    return job.over_input(painter.decode())


def save(image: Image.Image, job: Job) -> Path:
    """Write the picture as PNG and return where: beside an existing file rather than over it."""
    path, counter = job.output, 0
    while path.exists():
        counter += 1
        path = job.output.with_name(f"{job.output.stem}_{counter}{job.output.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    info = PngInfo()
    if job.metadata:
        info.add_text("Software", "Hatchery demo renderer")
        info.add_text("Seed", str(job.seed))
        info.add_text("Steps", str(job.steps))
    image.save(path, format="PNG", pnginfo=info)
    return path


def _save_step(painter: Painter, job: Job, step: int) -> None:
    """Write the picture after so many steps, named as mflux does, if a folder was asked for."""
    if job.stepwise is not None:
        job.stepwise.mkdir(parents=True, exist_ok=True)
        path = job.stepwise / f"seed_{job.seed}_step{step}of{job.steps}.png"
        job.over_input(painter.preview()).save(path, compress_level=1)  # mostly noise, which no level makes small


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _read_image(path: Path, size: tuple[int, int]) -> Image.Image:
    """A picture, cut to the proportions of what is to be drawn."""
    try:
        with Image.open(path) as image:
            return ImageOps.fit(image.convert("RGB"), size)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def _read_persona(path: Path) -> Persona:
    try:
        return validate_persona(msgspec.json.decode(path.read_bytes()))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.DecodeError, RecursionError, PersonaInvalid) as error:
        raise UsageError(f"{path} holds no persona: {error}") from error


def _parser() -> argparse.ArgumentParser:
    """The flags of an mflux command that mean something here, and `--persona-file`."""
    parser = argparse.ArgumentParser(prog="demo_renderer", description=__doc__, allow_abbrev=False)
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt", help="what to draw")
    prompt.add_argument("--prompt-file", type=Path, help="a file that holds the prompt")
    parser.add_argument(
        "--persona-file", type=Path, help="a persona as JSON: its species, traits and palette are drawn"
    )
    parser.add_argument("--output", type=Path, default=Path("image.png"), help="where to write the PNG")
    parser.add_argument("--seed", type=int, help="the same seed gives the same picture (default: by chance)")
    parser.add_argument("--steps", type=_steps, default=8, help="how many refinements")
    parser.add_argument("--width", type=_side, default=768, help=f"in pixels, a multiple of {MULTIPLE}")
    parser.add_argument("--height", type=_side, default=768, help=f"in pixels, a multiple of {MULTIPLE}")
    parser.add_argument("--stepwise-image-output-dir", type=Path, help="a folder for the picture after each step")
    parser.add_argument("--image-path", type=Path, help="a picture that shines through what is drawn")
    parser.add_argument(
        "--image-strength", type=_share, default=IMAGE_STRENGTH, help="how much it does: 0 is not at all, 1 entirely"
    )
    parser.add_argument("--no-exif", action="store_true", help="write no metadata into the picture")
    for flag in ("--model", "--negative-prompt"):
        parser.add_argument(flag, help="accepted as mflux's flag; changes nothing here")
    parser.add_argument("--guidance", type=float, help="accepted as mflux's flag; changes nothing here")
    return parser


def _steps(text: str) -> int:
    steps = int(text)
    if not 1 <= steps <= MAX_STEPS:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MAX_STEPS}")
    return steps


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return share


def _side(text: str) -> int:
    side = int(text)
    if not MULTIPLE <= side <= MAX_SIDE or side % MULTIPLE:
        raise argparse.ArgumentTypeError(f"must be a multiple of {MULTIPLE} from {MULTIPLE} to {MAX_SIDE}")
    return side


if __name__ == "__main__":
    sys.exit(main())
