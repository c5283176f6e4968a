"""Beings without bones: octopus, jellyfish and ghost."""

import math

from actors.mflux.demo.anatomy import Anatomy, Face, both
from actors.mflux.demo.canvas import Canvas, Stencil
from actors.mflux.demo.colour import lift, mix
from actors.mflux.demo.geometry import Path, Point, ellipse, ribbon, spline, symmetric
from actors.mflux.demo.look import Look

MANTLE = symmetric([(500, 112), (630, 142), (740, 240), (774, 400), (736, 540), (680, 640), (660, 740), (500, 780)])
BELL = symmetric(
    [(500, 162), (650, 198), (770, 300), (818, 470), (806, 580), (740, 610), (660, 640), (580, 618), (500, 644)]
)
SHEET = symmetric(
    [
        (500, 162),
        (618, 190),
        (706, 270),
        (744, 420),
        (760, 620),
        (800, 800),
        (846, 930),
        (770, 950),
        (700, 905),
        (630, 970),
        (560, 925),
        (500, 968),
    ]
)


def _tentacles(canvas: Canvas, look: Look) -> None:
    """Eight arms that curl outwards, with suckers along the nearer ones."""
    colours = look.colours
    outer: list[Path] = [
        [(640, 660), (790, 690), (890, 610), (930, 500), (880, 450), (846, 500)],
        [(630, 700), (800, 790), (930, 760), (985, 660), (1030, 640)],
    ]
    inner: list[Path] = [
        [(600, 720), (720, 870), (860, 890), (930, 980), (900, 1080)],
        [(545, 740), (600, 900), (680, 1000), (700, 1120)],
    ]
    for points in outer + inner:
        for arm in both(ribbon(points, 110, 26)):
            canvas.solid(arm, lift(colours.coat, -0.03), rim=colours.glow)
        for side in (1, -1):
            for t in range(3, 11):
                x, y = _along(points, t / 11)
                size = 17 * (1 - t / 15)
                spot = ellipse(500 + side * (x - 500) - side * 4, y + size * 1.0, size, size * 0.72)
                canvas.fill(spot, colours.pale, alpha=0.85)
                canvas.fill(
                    ellipse(500 + side * (x - 500) - side * 4, y + size * 1.1, size * 0.5, size * 0.34),
                    lift(colours.coat, -0.1),
                    alpha=0.7,
                )


def _along(points: Path, share: float) -> Point:
    curve = spline(points, closed=False)
    return curve[min(len(curve) - 1, int(share * len(curve)))]


def _freckles(canvas: Canvas, look: Look, clip: Stencil) -> None:
    dice = look.dice("freckles")
    for _ in range(15):
        angle, reach = dice.uniform(-math.pi, 0), dice.uniform(150, 250)
        x, y, r = 500 + reach * math.cos(angle), 400 + reach * math.sin(angle), dice.uniform(9, 26)
        canvas.fill(
            ellipse(x, y, r, r * 0.85), mix(look.colours.accent, look.colours.coat, 0.25), alpha=0.7, blur=2, clip=clip
        )
    canvas.fill(ellipse(410, 220, 70, 36, turn=-32), lift(look.colours.coat, 0.22), alpha=0.6, blur=10, clip=clip)


def _strands(canvas: Canvas, look: Look) -> None:
    """Long thin arms and frilled inner ones, lighter the further they hang."""
    colours, dice = look.colours, look.dice("strands")
    for i in range(11):
        x = 270 + i * 46
        sway = dice.uniform(-50, 50)
        line = [(x, 560), (x + sway, 700), (x - sway, 830), (x + sway * 0.8, 960), (x, 1080)]
        canvas.fill(ribbon(line, 15, 5), mix(colours.glow, colours.coat, dice.uniform(0.2, 0.7)), alpha=0.75)
    for i in range(4):
        x = 380 + i * 80
        line = [(x, 580), (x + 34, 690), (x - 26, 780), (x + 28, 870), (x - 10, 960)]
        canvas.solid(ribbon(line, 70, 18), mix(colours.accent, colours.pale, 0.45), rim=colours.glow, depth=0.8)


def _bell(canvas: Canvas, look: Look, clip: Stencil) -> None:
    colours = look.colours
    canvas.glow((500, 470), 330, lift(colours.glow, 0.1), 0.55, clip=clip)
    for x, lean in ((300, -40), (400, -20), (500, 0), (600, 20), (700, 40)):
        canvas.fill(
            ribbon([(500 + (x - 500) * 0.3, 190), (x + lean * 0.4, 330), (x + lean, 610)], 5, 14),
            lift(colours.coat, 0.14),
            alpha=0.28,
            blur=4,
            clip=clip,
        )
    canvas.fill(ellipse(380, 262, 78, 36, turn=-32), lift(colours.coat, 0.26), alpha=0.65, blur=9, clip=clip)
    canvas.fill(
        ribbon([(190, 560), (340, 612), (500, 622), (660, 612), (810, 560)], 22, 22),
        colours.accent,
        alpha=0.45,
        blur=6,
        clip=clip,
    )


def _shroud(canvas: Canvas, look: Look, clip: Stencil) -> None:
    """A ghost's light from within and the folds of its hem."""
    colours = look.colours
    canvas.fill(SHEET, mix(colours.pale, colours.coat, 0.18), alpha=0.72, clip=clip)
    canvas.glow((500, 480), 380, lift(colours.pale, 0.08), 0.7, clip=clip)
    for x in (350, 430, 570, 650):
        canvas.fill(
            ribbon([(x, 720), (x + (x - 500) * 0.15, 830), (x + (x - 500) * 0.3, 960)], 6, 34),
            colours.coat,
            alpha=0.5,
            blur=10,
            clip=clip,
        )
    canvas.fill(ellipse(500, 980, 420, 120), mix(colours.sky, colours.horizon, 0.6), alpha=0.55, blur=45, clip=clip)


def _sleeves(canvas: Canvas, look: Look) -> None:
    colours = look.colours
    canvas.glow((500, 540), 560, colours.glow, 0.35)
    for arm in both(ribbon([(700, 600), (800, 650), (868, 610), (900, 560)], 96, 46)):
        canvas.solid(arm, mix(colours.pale, colours.coat, 0.3), rim=colours.glow, depth=0.9)


SOFT = {
    "octopus": Anatomy(
        MANTLE,
        MANTLE,
        Face(eye_y=470, eye_gap=124, eye=74, mouth_y=620, pupil="round"),
        behind=_tentacles,
        markings=_freckles,
        hat_y=140,
        neck_y=730,
    ),
    "jellyfish": Anatomy(
        BELL,
        BELL,
        Face(eye_y=440, eye_gap=128, eye=70, mouth_y=548),
        behind=_strands,
        markings=_bell,
        hat_y=184,
        neck_y=640,
    ),
    "ghost": Anatomy(
        SHEET,
        SHEET,
        Face(eye_y=430, eye_gap=112, eye=68, mouth_y=566),
        behind=_sleeves,
        markings=_shroud,
        hat_y=186,
        neck_y=690,
    ),
}
