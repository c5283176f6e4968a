"""Beings with scales or wet skin: dragon, frog, fish and whale."""

from actors.mflux.demo.anatomy import BUST, Anatomy, Face, belly, both
from actors.mflux.demo.canvas import Canvas, Stencil
from actors.mflux.demo.colour import lift, mix
from actors.mflux.demo.geometry import Path, Point, ellipse, ribbon, spline, symmetric
from actors.mflux.demo.look import Look

DRAGON_HEAD = symmetric(
    [(500, 214), (604, 236), (696, 302), (744, 410), (716, 510), (668, 590), (612, 650), (500, 672)]
)
WIDE_HEAD = symmetric([(500, 290), (600, 296), (730, 350), (806, 470), (770, 590), (650, 660), (500, 678)])
FISH_BODY = symmetric([(500, 180), (624, 212), (742, 310), (790, 480), (752, 650), (640, 800), (500, 850)])
WHALE_BODY = symmetric(
    [(500, 224), (660, 256), (800, 350), (866, 540), (850, 760), (780, 1010), (700, 1300), (500, 1400)]
)


def _scales(canvas: Canvas, look: Look, clip: Stencil, area: tuple[int, int, int, int]) -> None:
    """Rows of overlapping crescents over an area (left, top, right, bottom), fainter towards its lower edge."""
    left, top, right, bottom = area
    for row, y in enumerate(range(top, bottom, 30)):
        fade = 1 - (y - top) / (bottom - top)
        for x in range(left + 20 * (row % 2), right, 40):
            canvas.fill(
                ribbon([(x - 18, y), (x, y + 15), (x + 18, y)], 2, 2, bulge=5),
                lift(look.colours.coat, -0.15),
                alpha=0.6 * fade,
                clip=clip,
            )


def _wings(canvas: Canvas, look: Look) -> None:
    """Bat wings: a membrane between fingers of bone."""
    colours = look.colours
    elbow, tips = (846, 372), ((985, 470), (968, 640), (896, 760))
    hem = [*_scallop(tips[0], tips[1]), *_scallop(tips[1], tips[2]), *_scallop(tips[2], (690, 900))]
    outline = [(640, 760), *spline([(640, 760), (732, 550), elbow, (920, 388), tips[0]], closed=False), *hem]
    for wing in both(outline):
        skin = canvas.solid(wing, mix(colours.accent, colours.coat, 0.25), rim=colours.glow, depth=0.8)
        canvas.fill(ellipse(500, 800, 330, 260), lift(colours.sky, -0.05), alpha=0.35, blur=50, clip=skin)
    for end in ((elbow, (985, 470)), (elbow, (968, 640)), (elbow, (896, 760)), ((655, 760), elbow)):
        for bone in both(
            ribbon([end[0], ((end[0][0] + end[1][0]) / 2 + 12, (end[0][1] + end[1][1]) / 2 - 12), end[1]], 20, 7)
        ):
            canvas.solid(bone, lift(colours.coat, -0.04), depth=0.7)


def _scallop(start: Point, end: Point) -> Path:
    """The edge of a membrane that hangs between two tips, drawn in towards the shoulder."""
    hang = ((start[0] + end[0]) / 2 - 62, (start[1] + end[1]) / 2 - 34)
    return [_bezier(start, hang, end, i / 10) for i in range(11)]


def _bezier(a: Point, b: Point, c: Point, t: float) -> Point:
    u = 1 - t
    return u * u * a[0] + 2 * u * t * b[0] + t * t * c[0], u * u * a[1] + 2 * u * t * b[1] + t * t * c[1]


def _plates(canvas: Canvas, look: Look, clip: Stencil) -> None:
    """A belly of broad plates."""
    belly(canvas, look, clip)
    for y in range(740, 1020, 52):
        canvas.fill(
            ribbon([(385, y), (500, y + 22), (615, y)], 3, 3, bulge=4),
            lift(look.colours.pale, -0.16),
            alpha=0.7,
            clip=clip,
        )


def _dragon_marks(canvas: Canvas, look: Look, clip: Stencil) -> None:
    _scales(canvas, look, clip, (300, 240, 720, 400))
    canvas.fill(ellipse(500, 640, 150, 92), look.colours.pale, alpha=0.75, blur=18, clip=clip)


def _dragon_snout(canvas: Canvas, look: Look) -> None:
    canvas.solid(ellipse(500, 574, 112, 66), lift(look.colours.coat, 0.05), depth=0.7)
    for nostril in both(ellipse(538, 552, 14, 9, turn=24)):
        canvas.fill(nostril, look.colours.ink, alpha=0.8, blur=1)


def _dragon_ears(canvas: Canvas, look: Look) -> None:
    """Horns that sweep back, and finned ears below them."""
    colours = look.colours
    bone = mix(colours.pale, colours.accent, 0.25)
    for horn in both(ribbon([(612, 300), (668, 190), (740, 130), (770, 40)], 84, 8)):
        shell = canvas.solid(horn, bone, rim=colours.glow)
        for x, y in ((640, 236), (686, 176), (728, 140), (752, 96)):
            for ring in both(ribbon([(x - 40, y - 24), (x, y + 4), (x + 40, y + 22)], 5, 5)):
                canvas.fill(ring, lift(bone, -0.18), alpha=0.5, blur=1, clip=shell)
    fin = spline([(690, 400), (790, 310), (880, 300), (846, 370), (876, 420), (826, 440), (836, 500), (740, 490)])
    for ear in both(fin):
        canvas.solid(ear, mix(colours.accent, colours.coat, 0.35), rim=colours.glow)


def _dragon_crest(canvas: Canvas, look: Look) -> None:
    for size, y in ((30, 226), (24, 272), (18, 310)):
        canvas.solid(
            spline([(500 - size * 0.7, y + 14), (500, y - size * 1.7), (500 + size * 0.7, y + 14), (500, y + 24)]),
            look.colours.accent,
            depth=0.8,
        )


def _frog_domes(canvas: Canvas, look: Look) -> None:
    """The bulges that carry a frog's eyes above its head."""
    for dome in both(ellipse(640, 328, 112, 110)):
        canvas.solid(dome, look.colours.coat, rim=look.colours.glow)


def _frog_marks(canvas: Canvas, look: Look, clip: Stencil) -> None:
    canvas.fill(ellipse(500, 640, 215, 90), look.colours.pale, alpha=0.85, blur=20, clip=clip)
    dice = look.dice("spots")
    for _ in range(10):
        x, y, r = dice.uniform(250, 750), dice.uniform(310, 480), dice.uniform(10, 24)
        canvas.fill(ellipse(x, y, r, r * 0.8), lift(look.colours.coat, -0.12), alpha=0.5, blur=3, clip=clip)
    for nostril in both(ellipse(518, 512, 6, 4)):
        canvas.fill(nostril, look.colours.ink, alpha=0.7)


def _frond(canvas: Canvas, look: Look, outline: Path, rays: list[Path]) -> None:
    """A pair of fins: a translucent web and its rays."""
    colours = look.colours
    for fin in both(outline):
        web = canvas.solid(fin, mix(colours.accent, colours.coat, 0.2), rim=colours.glow, depth=0.8)
        for ray in rays:
            for line in both(ribbon(ray, 7, 3)):
                canvas.fill(line, lift(colours.accent, 0.12), alpha=0.5, clip=web)


def _fish_fins(canvas: Canvas, look: Look) -> None:
    outline = spline(
        [(720, 500), (820, 400), (930, 372), (904, 470), (948, 540), (890, 590), (910, 680), (800, 660), (720, 600)]
    )
    _frond(
        canvas,
        look,
        outline,
        [
            [(720, 540), (820, 470), (920, 400)],
            [(720, 555), (830, 540), (940, 545)],
            [(720, 575), (810, 610), (900, 670)],
        ],
    )
    crown = symmetric([(500, 52), (540, 96), (590, 84), (606, 140), (668, 160), (650, 240), (500, 260)])
    canvas.solid(crown, mix(look.colours.accent, look.colours.coat, 0.2), rim=look.colours.glow)
    tail = symmetric([(500, 800), (580, 860), (720, 900), (760, 1010), (640, 1010), (500, 960)])
    canvas.solid(tail, mix(look.colours.accent, look.colours.coat, 0.3), rim=look.colours.glow)


def _fish_marks(canvas: Canvas, look: Look, clip: Stencil) -> None:
    canvas.fill(ellipse(500, 760, 190, 150), look.colours.pale, alpha=0.8, blur=30, clip=clip)
    _scales(canvas, look, clip, (210, 200, 800, 400))


def _whale_fins(canvas: Canvas, look: Look) -> None:
    """Flippers at the sides and a fountain above."""
    colours = look.colours
    for flipper in both(spline([(800, 720), (900, 770), (985, 880), (960, 930), (860, 900), (770, 850)])):
        canvas.solid(flipper, lift(colours.coat, -0.05), rim=colours.glow)
    water = mix(colours.glow, colours.pale, 0.5)
    for jet in both(ribbon([(506, 250), (512, 170), (560, 110), (616, 150)], 14, 26)):
        canvas.solid(jet, water, depth=0.6)
    for x, y, r in ((440, 84, 13), (566, 66, 16), (500, 60, 10), (646, 196, 11), (352, 190, 14)):
        canvas.solid(ellipse(x, y, r, r * 1.15), water, depth=0.5)


def _whale_marks(canvas: Canvas, look: Look, clip: Stencil) -> None:
    canvas.fill(ellipse(500, 900, 280, 300), look.colours.pale, alpha=0.95, blur=12, clip=clip)
    for x in range(300, 720, 50):
        canvas.fill(
            ribbon([(x, 690), (x + (x - 500) * 0.08, 850), (x + (x - 500) * 0.02, 1050)], 5, 5),
            lift(look.colours.pale, -0.13),
            alpha=0.55,
            blur=1,
            clip=clip,
        )


SCALED = {
    "dragon": Anatomy(
        DRAGON_HEAD,
        BUST,
        Face(eye_y=436, eye_gap=124, eye=66, mouth_y=604, pupil="slit"),
        behind=_wings,
        torso=_plates,
        ears=_dragon_ears,
        markings=_dragon_marks,
        muzzle=_dragon_snout,
        crest=_dragon_crest,
        hat_y=222,
    ),
    "frog": Anatomy(
        WIDE_HEAD,
        BUST,
        Face(eye_y=328, eye_gap=140, eye=74, mouth_y=580, pupil="wide", brows=False),
        torso=belly,
        ears=_frog_domes,
        markings=_frog_marks,
        hat_y=228,
        neck_y=676,
    ),
    "fish": Anatomy(
        FISH_BODY,
        FISH_BODY,
        Face(eye_y=458, eye_gap=136, eye=74, mouth_y=610),
        behind=_fish_fins,
        markings=_fish_marks,
        hat_y=196,
        neck_y=780,
    ),
    "whale": Anatomy(
        WHALE_BODY,
        WHALE_BODY,
        Face(eye_y=520, eye_gap=206, eye=58, mouth_y=620),
        behind=_whale_fins,
        markings=_whale_marks,
        hat_y=240,
        neck_y=800,
    ),
}
