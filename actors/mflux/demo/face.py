"""Eyes, brows, mouth and blush: where the mood shows."""

from dataclasses import dataclass
from typing import Final

from actors.mflux.demo.anatomy import Face, both
from actors.mflux.demo.canvas import Canvas, Gradient
from actors.mflux.demo.colour import Rgb, lift, mix, tone
from actors.mflux.demo.geometry import Point, ellipse, ribbon, spline, superellipse, symmetric
from actors.mflux.demo.look import Look

WHITE: Final = Rgb(255, 255, 255)
BLUSH: Final = Rgb(255, 128, 138)
TONGUE: Final = Rgb(240, 120, 125)


@dataclass(frozen=True)
class Expression:
    """A mood in numbers: `lid` is how far eyes are shut (0-1), `tilt` lifts (+) or lowers (-) the brows' inner ends."""

    gaze: Point = (0.0, 0.0)
    lid: float = 0.06
    tilt: float = 0.0
    brow: float = 0.0
    blush: float = 0.28
    smile: float = 1.0
    open: bool = False


EXPRESSIONS: Final = {
    "shy": Expression(gaze=(0.30, 0.16), lid=0.14, tilt=16, blush=0.62, smile=0.55),
    "grumpy": Expression(lid=0.30, tilt=-26, brow=-14, blush=0.05, smile=-0.8),
    "sleepy": Expression(gaze=(0.0, 0.15), lid=0.52, tilt=6, blush=0.34, smile=0.6),
    "brave": Expression(gaze=(-0.08, -0.06), lid=0.12, tilt=-14, brow=-2, blush=0.12, smile=1.1),
    "wise": Expression(lid=0.20, tilt=5, brow=6, blush=0.18, smile=0.8),
    "cheerful": Expression(lid=0.0, tilt=6, brow=14, blush=0.45, smile=1.3, open=True),
    "curious": Expression(gaze=(-0.16, -0.18), lid=0.0, tilt=8, brow=18, blush=0.25, smile=0.8),
    "gentle": Expression(lid=0.10, tilt=9, brow=4, blush=0.36, smile=0.9),
}


def draw_face(canvas: Canvas, look: Look, face: Face) -> None:
    """Draw the features of a face in the look's mood."""
    expression = EXPRESSIONS[look.mood]
    for cheek in both(ellipse(500 + face.eye_gap + 48, face.eye_y + face.eye * 1.55, 50, 30)):
        canvas.fill(cheek, BLUSH, alpha=expression.blush, blur=13)
    for side in (-1, 1):
        _eye(canvas, look, face, expression, side)
    if face.mouth != "none":
        _mouth(canvas, look, face, expression)


def _eye(canvas: Canvas, look: Look, face: Face, mood: Expression, side: int) -> None:
    """One eye from socket to highlights; `side` is -1 for the left of the picture."""
    colours, r = look.colours, face.eye
    x, y = 500 + side * face.eye_gap, face.eye_y
    gx, gy = x + mood.gaze[0] * r * 0.7, y + mood.gaze[1] * r * 0.7
    if face.pupil == "lamp":
        _lamp(canvas, look, face, mood, side)
        return
    canvas.fill(ellipse(x, y + 3, r * 1.12, r * 1.2), lift(colours.coat, -0.28), alpha=0.35, blur=r * 0.14)
    ball = canvas.fill(
        ellipse(x, y, r * 0.98, r * 1.08),
        Gradient(Rgb(203, 210, 226), Rgb(252, 252, 255), (x, y - r), (x, y - r * 0.1)),
    )
    if ball is None:
        return
    iris = ellipse(gx, gy, r * 0.88, r * 0.98)
    canvas.fill(iris, lift(tone(colours.iris, light=0.30), -0.04), clip=ball)
    glow = Gradient(
        tone(colours.iris, light=0.80),
        tone(colours.iris, light=0.40),
        (gx, gy + r * 0.62),
        (gx, gy - r * 0.42),
        radial=True,
    )
    canvas.fill(ellipse(gx, gy + r * 0.02, r * 0.79, r * 0.89), glow, clip=ball)
    wide, tall = {"slit": (0.27, 0.72), "wide": (0.66, 0.30)}.get(face.pupil, (0.50, 0.57))
    canvas.fill(ellipse(gx, gy, r * wide, r * tall), Rgb(18, 16, 28), clip=ball)
    canvas.fill(
        ellipse(gx, gy + r * 0.62, r * 0.42, r * 0.16), lift(colours.iris, 0.26), alpha=0.75, blur=r * 0.07, clip=ball
    )
    canvas.fill(ellipse(x, y - r * 1.02, r * 1.05, r * 0.42), colours.ink, alpha=0.45, blur=r * 0.14, clip=ball)
    canvas.fill(ellipse(gx - r * 0.28, gy - r * 0.36, r * 0.24, r * 0.27, turn=-20), WHITE, clip=ball)
    canvas.fill(ellipse(gx + r * 0.30, gy + r * 0.30, r * 0.11), WHITE, alpha=0.9, clip=ball)
    _lid(canvas, look, face, mood, side)
    if face.brows:
        _brow(canvas, look, face, mood, side)


def _lamp(canvas: Canvas, look: Look, face: Face, mood: Expression, side: int) -> None:
    """A robot's eye: a lit pane, its upper edge cut by the mood."""
    r, light = face.eye, tone(look.colours.iris, light=0.84)
    x, y = 500 + side * face.eye_gap + mood.gaze[0] * r * 0.5, face.eye_y + mood.gaze[1] * r * 0.5
    canvas.glow((x, y), r * 2.2, look.colours.iris, 0.75)
    cut, slant = y - r + mood.lid * r * 1.7, mood.tilt * 0.9 * side
    below = canvas.stencil([(x - r, cut - slant), (x + r, cut + slant), (x + r, y + 2 * r), (x - r, y + 2 * r)])
    pane = canvas.fill(superellipse(x, y, r * 0.72, r * 0.92, power=3), light, clip=below)
    canvas.fill(
        superellipse(x, y + r * 0.2, r * 0.5, r * 0.6, power=3), lift(light, 0.12), alpha=0.7, blur=r * 0.16, clip=pane
    )
    canvas.fill(ellipse(x - r * 0.24, y - r * 0.36, r * 0.2, r * 0.22), WHITE, clip=pane)


def _lid(canvas: Canvas, look: Look, face: Face, mood: Expression, side: int) -> None:
    """The upper lid and its lash line, lower the sleepier, slanted with the brow."""
    colours, r = look.colours, face.eye
    x, y = 500 + side * face.eye_gap, face.eye_y
    height = y - r * 1.08 + mood.lid * r * 2.0
    slant = mood.tilt * 0.45 * side
    sag = r * (0.42 - 0.75 * mood.lid)
    arc = [
        (x - r * 1.04, height + sag - slant),
        (x - r * 0.5, height - sag * 0.1 - slant * 0.5),
        (x, height - sag * 0.35),
        (x + r * 0.5, height - sag * 0.1 + slant * 0.5),
        (x + r * 1.04, height + sag + slant),
    ]
    if mood.lid > 0.08:
        ball = canvas.stencil(ellipse(x, y, r * 1.02, r * 1.12))
        cover = [*spline(arc, closed=False), (x + r * 1.3, y - r * 1.4), (x - r * 1.3, y - r * 1.4)]
        canvas.fill(cover, lift(colours.coat, -0.06), clip=ball)
    canvas.fill(ribbon(arc, r * 0.07, r * 0.07, bulge=r * 0.12), colours.ink)
    if look.dice("lashes").random() < 0.5:
        return
    flick = [
        (x + side * r * 0.94, arc[0 if side < 0 else -1][1] - r * 0.06),
        (x + side * r * 1.10, arc[0 if side < 0 else -1][1] - r * 0.04),
        (x + side * r * 1.24, arc[0 if side < 0 else -1][1] - r * 0.20),
    ]
    canvas.fill(ribbon(flick, r * 0.14, r * 0.02), colours.ink)


def _brow(canvas: Canvas, look: Look, face: Face, mood: Expression, side: int) -> None:
    x, y, r = 500 + side * face.eye_gap, face.eye_y - face.eye * 1.58 - mood.brow, face.eye
    inner, outer = y - mood.tilt, y + mood.tilt * 0.5 + 7
    line = [(x - side * r * 0.56, inner), (x, (inner + outer) / 2 - 10), (x + side * r * 0.66, outer)]
    canvas.fill(ribbon(line, 15, 7, bulge=4), lift(look.colours.coat, -0.32), alpha=0.85)


def _mouth(canvas: Canvas, look: Look, face: Face, mood: Expression) -> None:
    """A line, a muzzle's double curve, or an open laugh."""
    ink, y, s = look.colours.ink, face.mouth_y, mood.smile
    if face.mouth == "screen":
        ink = tone(look.colours.iris, light=0.84)
    if face.mouth == "muzzle":
        canvas.fill(ribbon([(500, y - 22), (500, y - 8), (500, y + 2)], 6, 6), ink, alpha=0.85)
        reach = 42.0
        curve = [
            (500, y),
            (500 + reach * 0.45, y + 14 * s),
            (500 + reach, y + 12 * s - 8),
            (500 + reach * 1.25, y - 4 * s),
        ]
        if mood.open:
            _laugh(canvas, look, y + 6, 30, 40)
        if s < 0:
            curve = [(500, y + 4), (500 + reach * 0.5, y + 10), (500 + reach, y + 28)]
        for line in both(curve):
            canvas.fill(ribbon(line, 8, 5), ink, alpha=0.9)
    elif mood.open and face.mouth == "plain":
        _laugh(canvas, look, y - 4, 54, 50)
    else:
        width = 44 if s > 0 else 36
        line = [
            (500 - width, y - 10 * s),
            (500 - width * 0.5, y + 6 * s),
            (500, y + 12 * s),
            (500 + width * 0.5, y + 6 * s),
            (500 + width, y - 10 * s),
        ]
        canvas.fill(ribbon(line, 6, 6, bulge=4), ink, alpha=0.9)


def _laugh(canvas: Canvas, look: Look, y: float, half: float, drop: float) -> None:
    cave = symmetric(
        [
            (500, y),
            (500 + half * 0.7, y - 1),
            (500 + half, y + 2),
            (500 + half * 0.72, y + drop * 0.75),
            (500, y + drop),
        ]
    )
    hole = canvas.fill(cave, mix(Rgb(96, 20, 40), look.colours.ink, 0.3))
    canvas.fill(ellipse(500, y + drop * 0.98, half * 0.62, drop * 0.42), TONGUE, clip=hole)
