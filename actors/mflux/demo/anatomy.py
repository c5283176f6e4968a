"""What a kind of being is made of, and the parts that many kinds share."""

from collections.abc import Callable
from dataclasses import dataclass

from actors.mflux.demo.canvas import Canvas, Stencil
from actors.mflux.demo.colour import Rgb, lift
from actors.mflux.demo.geometry import Path, ellipse, mirror, ribbon, symmetric
from actors.mflux.demo.look import Look

Part = Callable[[Canvas, Look], None]
Marking = Callable[[Canvas, Look, Stencil], None]


def nothing(canvas: Canvas, look: Look) -> None:
    """The part a kind does not have."""


def unmarked(canvas: Canvas, look: Look, clip: Stencil) -> None:
    """The marking of a plain coat."""


@dataclass(frozen=True)
class Face:
    """Where the features sit; `pupil` is round, slit, wide or lamp, `mouth` plain, muzzle, screen or none."""

    eye_y: float = 456.0
    eye_gap: float = 122.0
    eye: float = 68.0
    mouth_y: float = 545.0
    mouth: str = "plain"
    pupil: str = "round"
    brows: bool = True


@dataclass(frozen=True)
class Anatomy:
    """The parts of a being, drawn in this order; heads and bodies are paths, markings are clipped to them."""

    head: Path
    body: Path
    face: Face = Face()
    behind: Part = nothing
    torso: Marking = unmarked
    ears: Part = nothing
    markings: Marking = unmarked
    muzzle: Part = nothing
    crest: Part = nothing
    hat_y: float = 236.0
    neck_y: float = 668.0


ROUND_HEAD = symmetric([(500, 208), (604, 228), (712, 306), (766, 430), (742, 556), (640, 644), (500, 670)])
BUST = symmetric([(500, 560), (570, 585), (640, 668), (704, 800), (738, 950), (746, 1300), (746, 2400), (500, 2400)])


def both(path: Path) -> tuple[Path, Path]:
    """A path and its mirror image."""
    return path, mirror(path)


def belly(canvas: Canvas, look: Look, clip: Stencil) -> None:
    """A soft pale front, and arms that rest at the sides."""
    canvas.fill(ellipse(500, 930, 142, 250), look.colours.pale, alpha=0.9, blur=14, clip=clip)
    for arm in both(ribbon([(668, 740), (690, 860), (640, 985), (600, 1100)], 120, 96)):
        canvas.fill(arm, lift(look.colours.coat, -0.24), alpha=0.40, blur=14, clip=clip)
        canvas.solid(arm, look.colours.coat, depth=0.7, clip=clip)


def tufts(
    canvas: Canvas, look: Look, clip: Stencil, *, colour: Rgb | None = None, area: tuple[float, float, float, float]
) -> None:
    """Short soft strokes of fur over an area (left, top, right, bottom)."""
    dice = look.dice(f"fur {area}")
    base = colour or look.colours.coat
    left, top, right, bottom = area
    for _ in range(70):
        x, y = dice.uniform(left, right), dice.uniform(top, bottom)
        lean = (x - 500) * 0.10
        light = dice.choice((0.10, -0.09))
        stroke = [(x - 4, y), (x + lean * 0.5, y + 15), (x + lean, y + 32), (x + 4, y)]
        canvas.fill(stroke, lift(base, light), alpha=0.28, blur=0.8, clip=clip)


def nose(canvas: Canvas, look: Look, y: float, size: float, colour: Rgb | None = None) -> None:
    """A rounded triangle with a highlight."""
    path = symmetric(
        [
            (500, y - size * 0.55),
            (500 + size, y - size * 0.5),
            (500 + size * 0.55, y + size * 0.35),
            (500, y + size * 0.7),
        ]
    )
    canvas.solid(path, colour or look.colours.ink, depth=0.8)
    canvas.fill(
        ellipse(500 - size * 0.35, y - size * 0.28, size * 0.3, size * 0.14, turn=-12),
        Rgb(255, 255, 255),
        alpha=0.7,
        blur=1,
    )
