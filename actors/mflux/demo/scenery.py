"""Backgrounds: a sky in the palette's colours and a hint of a place."""

from collections.abc import Callable
from typing import Final

from actors.mflux.demo.canvas import Canvas, Gradient
from actors.mflux.demo.colour import Rgb, lift, mix, tone
from actors.mflux.demo.geometry import ellipse, ribbon, rotate, spline, star
from actors.mflux.demo.look import Look

WHITE: Final = Rgb(255, 255, 255)


def draw_scenery(canvas: Canvas, look: Look) -> None:
    """Fill the picture with sky, place and a halo behind the sitter."""
    left, top, right, bottom = canvas.bounds
    zenith = look.colours.sky if look.scenery == "meadow" else lift(look.colours.sky, -0.05)
    sky = Gradient(zenith, look.colours.horizon, (500, top), (500, bottom))
    canvas.fill([(left - 9, top - 9), (right + 9, top - 9), (right + 9, bottom + 9), (left - 9, bottom + 9)], sky)
    SCENES[look.scenery](canvas, look)
    canvas.glow((500, 470), 560, look.colours.glow, 0.42)


def _stars(canvas: Canvas, look: Look, count: int) -> None:
    dice = look.dice("stars")
    left, top, right, bottom = canvas.bounds
    for i in range(count):
        x, y = dice.uniform(left, right), dice.uniform(top, top + (bottom - top) * 0.7)
        size = dice.uniform(2, 5.5)
        canvas.glow((x, y), size * 4, look.colours.glow, 0.5)
        shape = star(x, y, size * 2.6, points=4, inner=0.28) if i % 6 == 0 else ellipse(x, y, size)
        canvas.fill(shape, WHITE, alpha=dice.uniform(0.5, 0.95))


def _moon(canvas: Canvas, look: Look, x: float, y: float, radius: float) -> None:
    light = mix(look.colours.glow, Rgb(255, 248, 225), 0.75)
    canvas.glow((x, y), radius * 3.2, light, 0.45)
    disc = canvas.solid(ellipse(x, y, radius), light, depth=0.35)
    for dx, dy, r in ((-0.3, -0.2, 0.22), (0.35, 0.1, 0.16), (-0.05, 0.45, 0.19), (0.2, -0.5, 0.11)):
        canvas.fill(
            ellipse(x + dx * radius, y + dy * radius, r * radius), lift(light, -0.09), alpha=0.6, blur=2, clip=disc
        )


def _ridge(
    canvas: Canvas, look: Look, base: float, height: float, colour: Rgb, name: str, *, sharp: bool, haze: float = 0.75
) -> None:
    """A range of hills or peaks across the picture, fading into haze at its foot."""
    dice = look.dice(name)
    left, _, right, bottom = canvas.bounds
    points = [(left - 60, bottom + 400.0)]
    x = left - 60
    while x < right + 160:
        points.append((x, base - dice.uniform(0.2, 1.0) * height))
        x += dice.uniform(70, 130) if sharp else dice.uniform(150, 240)
        points.append((x, base - dice.uniform(0.0, 0.35) * height))
        x += dice.uniform(60, 110) if sharp else dice.uniform(120, 200)
    points.append((right + 160, bottom + 400.0))
    path = points if sharp else [points[0], *spline(points[1:-1], closed=False), points[-1]]
    canvas.fill(
        path, Gradient(colour, mix(colour, look.colours.horizon, haze), (500, base - height), (500, base + 260))
    )


def _night(canvas: Canvas, look: Look) -> None:
    _stars(canvas, look, 42)
    _moon(canvas, look, 800, 190, 105)
    _ridge(canvas, look, 860, 130, lift(look.colours.sky, 0.04), "far", sharp=False)
    _ridge(canvas, look, 960, 110, lift(look.colours.sky, -0.03), "near", sharp=False)


def _space(canvas: Canvas, look: Look) -> None:
    colours, dice = look.colours, look.dice("nebula")
    for _ in range(7):
        tint = tone(colours.accent, light=0.5, hue=dice.uniform(0, 360)) if dice.random() < 0.4 else colours.accent
        canvas.glow((dice.uniform(-50, 1050), dice.uniform(0, 900)), dice.uniform(180, 380), tint, 0.28)
    _stars(canvas, look, 75)
    planet = canvas.solid(ellipse(190, 240, 105), tone(colours.accent, light=0.66), rim=colours.glow)
    for y in (205, 250, 290):
        canvas.fill(
            ribbon([(70, y + 20), (190, y), (310, y - 14)], 16, 16),
            lift(colours.accent, -0.12),
            alpha=0.5,
            blur=4,
            clip=planet,
        )
    ring = ribbon([(28, 298), (110, 300), (200, 262), (300, 205), (350, 168)], 6, 6, bulge=14)
    canvas.fill(ring, lift(colours.glow, 0.08), alpha=0.85)


def _mountain(canvas: Canvas, look: Look) -> None:
    _stars(canvas, look, 14)
    _moon(canvas, look, 205, 215, 78)
    _ridge(canvas, look, 640, 260, mix(look.colours.sky, look.colours.glow, 0.30), "far", sharp=True)
    _ridge(canvas, look, 780, 250, mix(look.colours.sky, look.colours.glow, 0.14), "middle", sharp=True)
    _ridge(canvas, look, 930, 170, lift(look.colours.sky, -0.02), "near", sharp=False)


def _meadow(canvas: Canvas, look: Look) -> None:
    """Broad day: the one place with a light sky."""
    colours, dice = look.colours, look.dice("meadow")
    left, top, right, bottom = canvas.bounds
    day = tone(colours.sky, light=0.70, chroma=0.09)
    frame = [(left - 9, top - 9), (right + 9, top - 9), (right + 9, bottom + 9), (left - 9, bottom + 9)]
    canvas.fill(frame, Gradient(day, mix(lift(day, 0.14), Rgb(255, 236, 205), 0.45), (500, top), (500, 800)))
    for _ in range(4):
        x, y = dice.uniform(left, right), dice.uniform(60, 330)
        for dx, dy, r in ((0, 0, 62), (58, 12, 46), (-58, 14, 44), (18, -28, 44)):
            canvas.fill(ellipse(x + dx, y + dy, r * 1.15, r * 0.72), WHITE, alpha=0.5, blur=6)
    green = mix(Rgb(112, 176, 96), colours.accent, 0.08)
    for base, light in ((760, 0.08), (850, 0.0), (940, -0.09)):
        _ridge(canvas, look, base, 100, lift(green, light), f"hill {base}", haze=0.12, sharp=False)
    for _ in range(40):
        x, y, size = dice.uniform(left, right), dice.uniform(860, 1000), dice.uniform(9, 15)
        petal = dice.choice((colours.accent, WHITE, colours.glow))
        for k in range(5):
            canvas.fill(ellipse(*rotate([(x, y - size)], 72 * k, (x, y))[0], size * 0.62), petal, alpha=0.95)
        canvas.fill(ellipse(x, y, size * 0.5), Rgb(255, 210, 90))


def _forest(canvas: Canvas, look: Look) -> None:
    colours, dice = look.colours, look.dice("forest")
    left, _, right, bottom = canvas.bounds
    for depth in range(3):
        shade = mix(colours.horizon, lift(colours.sky, -0.05), 0.35 + 0.3 * depth)
        x = left - 40 + 35 * depth
        while x < right + 80:
            foot, width = 800 + 90 * depth, dice.uniform(95, 130) + 26 * depth
            height = dice.uniform(420, 640)
            for tier in range(4):
                y = foot - height * (0.22 + 0.2 * tier)
                w = width * (1 - 0.2 * tier)
                canvas.fill(
                    spline(
                        [
                            (x, y - height * 0.36),
                            (x + w * 0.35, y - height * 0.1),
                            (x + w, y + 12),
                            (x, y + 30),
                            (x - w, y + 12),
                            (x - w * 0.35, y - height * 0.1),
                        ]
                    ),
                    shade,
                )
            canvas.fill(
                [(x - 12, foot - 160), (x + 12, foot - 160), (x + 16, bottom + 40), (x - 16, bottom + 40)], shade
            )
            x += dice.uniform(150, 220)
        canvas.fill(ellipse(500, 1000, 1500, 190 - 20 * depth), mix(colours.horizon, shade, 0.4), alpha=0.35, blur=40)
    _ridge(canvas, look, 940, 70, lift(colours.sky, -0.04), "moss", sharp=False)
    for _ in range(18):
        canvas.glow(
            (dice.uniform(left, right), dice.uniform(200, 950)), dice.uniform(10, 24), lift(colours.glow, 0.12), 0.9
        )


def _sea(canvas: Canvas, look: Look) -> None:
    colours, dice = look.colours, look.dice("sea")
    left, top, right, bottom = canvas.bounds
    for _ in range(6):
        x = dice.uniform(left, right)
        ray = [(x, top - 20), (x + dice.uniform(50, 110), top - 20), (x + 260, bottom + 20), (x + 40, bottom + 20)]
        canvas.fill(ray, lift(colours.glow, 0.1), alpha=0.10, blur=16)
    for i in range(9):
        x = left + (right - left) * i / 8 + dice.uniform(-40, 40)
        sway, height = dice.uniform(-40, 40), dice.uniform(180, 420)
        weed = ribbon(
            [(x, 1060), (x + sway, 1000 - height * 0.4), (x - sway, 1000 - height * 0.75), (x + sway, 1000 - height)],
            34,
            4,
        )
        canvas.fill(weed, mix(colours.sky, colours.glow, dice.uniform(0.05, 0.3)), alpha=0.8, blur=2)
    for _ in range(26):
        x, y, r = dice.uniform(left, right), dice.uniform(top, bottom), dice.uniform(7, 30)
        ball = canvas.fill(ellipse(x, y, r), lift(colours.glow, 0.1), alpha=0.16)
        canvas.fill(ellipse(x - r * 0.35, y - r * 0.4, r * 0.28, r * 0.18, turn=-35), WHITE, alpha=0.75, clip=ball)
        canvas.glow((x, y), r * 1.1, WHITE, 0.10)


def _city(canvas: Canvas, look: Look) -> None:
    colours, dice = look.colours, look.dice("city")
    left, _, right, bottom = canvas.bounds
    _stars(canvas, look, 16)
    for depth in range(2):
        shade = mix(lift(colours.sky, -0.04), colours.horizon, 0.5 - 0.32 * depth)
        x = left - 30
        while x < right:
            width, roof = dice.uniform(85, 150), dice.uniform(330, 640) + 90 * depth
            canvas.fill([(x, roof), (x + width, roof), (x + width, bottom + 40), (x, bottom + 40)], shade)
            for row in range(int((1000 - roof) / 46)):
                for column in range(int(width / 34)):
                    if dice.random() < 0.42:
                        wx, wy = x + 14 + column * 34, roof + 22 + row * 46
                        canvas.fill(
                            [(wx, wy), (wx + 15, wy), (wx + 15, wy + 22), (wx, wy + 22)],
                            mix(colours.glow, Rgb(255, 226, 160), 0.6),
                            alpha=0.30 + 0.35 * depth,
                            blur=0.8,
                        )
            x += width + dice.uniform(0, 26)


def _library(canvas: Canvas, look: Look) -> None:
    colours, dice = look.colours, look.dice("library")
    left, top, right, bottom = canvas.bounds
    wood = mix(lift(colours.sky, -0.02), Rgb(92, 58, 40), 0.5)
    canvas.fill(
        [(left - 9, top - 9), (right + 9, top - 9), (right + 9, bottom + 9), (left - 9, bottom + 9)], lift(wood, -0.10)
    )
    shelf = top - 60 + (60 - top) % 215
    while shelf < bottom + 200:
        x = left - 20
        while x < right:
            width, height = dice.uniform(24, 50), dice.uniform(125, 182)
            tint = mix(
                dice.choice((colours.accent, colours.glow, colours.coat, colours.sky, wood)),
                wood,
                dice.uniform(0.25, 0.6),
            )
            back = [(x, shelf - height), (x + width - 3, shelf - height), (x + width - 3, shelf), (x, shelf)]
            canvas.fill(back, Gradient(tint, lift(tint, -0.12), (x, shelf), (x + width, shelf)))
            for band in (0.2, 0.78):
                y = shelf - height * band
                canvas.fill(
                    [(x, y - 4), (x + width - 3, y - 4), (x + width - 3, y + 3), (x, y + 3)],
                    lift(tint, 0.16),
                    alpha=0.7,
                )
            x += width + (dice.uniform(20, 60) if dice.random() < 0.08 else 0)
        canvas.fill(
            [(left - 9, shelf), (right + 9, shelf), (right + 9, shelf + 22), (left - 9, shelf + 22)],
            Gradient(lift(wood, 0.08), lift(wood, -0.06), (0, shelf), (0, shelf + 22)),
        )
        canvas.fill(
            [(left - 9, shelf + 22), (right + 9, shelf + 22), (right + 9, shelf + 60), (left - 9, shelf + 60)],
            Rgb(0, 0, 0),
            alpha=0.28,
            blur=10,
        )
        shelf += 215
    canvas.glow((500, 430), 760, mix(colours.glow, Rgb(255, 214, 150), 0.6), 0.30)


SCENES: Final[dict[str, Callable[[Canvas, Look], None]]] = {
    "night": _night,
    "space": _space,
    "mountain": _mountain,
    "meadow": _meadow,
    "forest": _forest,
    "sea": _sea,
    "city": _city,
    "library": _library,
}
