"""What a being wears and holds; at most one thing in each place."""

from collections.abc import Callable
from typing import Final

from actors.mflux.demo.anatomy import Anatomy, both
from actors.mflux.demo.canvas import Canvas, Gradient
from actors.mflux.demo.colour import Rgb, lift, mix, tone
from actors.mflux.demo.geometry import Path, Point, ellipse, mirror, move, ribbon, rotate, spline, star, superellipse
from actors.mflux.demo.look import Look

Thing = Callable[[Canvas, Look, Anatomy], None]

GOLD: Final = Rgb(240, 190, 84)
PAPER: Final = Rgb(250, 241, 222)
WHITE: Final = Rgb(255, 255, 255)
FLAME: Final = Rgb(255, 196, 96)


def draw_thing(canvas: Canvas, look: Look, being: Anatomy, place: str) -> None:
    """Draw what the look has in a place: neck, face, head, hands or air."""
    thing = look.things.get(place)
    if thing is not None:
        THINGS[thing](canvas, look, being)


def _cloth(look: Look) -> Rgb:
    """The colour of woven things: the accent, a little calmer."""
    return tone(look.colours.accent, light=0.60, chroma=0.13)


def _glasses(canvas: Canvas, look: Look, being: Anatomy) -> None:
    face, r = being.face, min(being.face.eye * 1.34, being.face.eye_gap * 0.92)
    rim = mix(GOLD, look.colours.ink, 0.18)
    for side in (-1, 1):
        x, y = 500 + side * face.eye_gap, face.eye_y + 4
        lens = canvas.fill(ellipse(x, y, r), WHITE, alpha=0.06)
        canvas.fill(
            rotate([(x - 60, y - 90), (x - 26, y - 90), (x - 26, y + 90), (x - 60, y + 90)], 32, (x, y)),
            WHITE,
            alpha=0.16,
            clip=lens,
        )
        for width, tint in ((15.0, lift(rim, -0.22)), (9.0, rim)):
            canvas.fill([*_ring(x, y, r, width)], tint)
    bridge = [
        (500 - face.eye_gap + r, face.eye_y - 4),
        (500, face.eye_y - 18),
        (500 + face.eye_gap - r, face.eye_y - 4),
    ]
    canvas.fill(ribbon(bridge, 11, 11), rim)


def _ring(x: float, y: float, r: float, width: float) -> Path:
    """A ring as one outline: out along the outer circle, back along the inner."""
    outer, inner = list(ellipse(x, y, r + width / 2)), list(ellipse(x, y, r - width / 2))
    return [*outer, outer[0], inner[0], *reversed(inner)]


def _hat(canvas: Canvas, look: Look, being: Anatomy) -> None:
    """A bent wizard's hat with a band and stars."""
    cloth, y = lift(tone(look.colours.sky, light=0.40, chroma=0.13), 0.02), max(being.hat_y + 14, 206)
    size = 0.88
    canvas.fill(_placed(ellipse(0, 24, 240, 44), size, y), look.colours.ink, alpha=0.4, blur=12)
    canvas.solid(_placed(ellipse(0, 4, 262, 50), size, y), lift(cloth, -0.05), rim=look.colours.glow)
    cone = [
        (-158, 0),
        (-118, -90),
        (-74, -180),
        (-10, -236),
        (84, -246),
        (150, -196),
        (84, -190),
        (86, -140),
        (124, -70),
        (158, 0),
        (0, 26),
    ]
    shell = canvas.solid(_placed(spline(cone), size, y), cloth, rim=look.colours.glow)
    canvas.fill(_placed(ribbon([(-170, -34), (0, -4), (170, -34)], 44, 44), size, y), look.colours.accent, clip=shell)
    for x, dy, r, turn in ((-30, -100, 30, -80), (48, -150, 19, -100), (66, -78, 15, -60), (-80, -64, 12, -90)):
        canvas.fill(_placed(star(x, dy, r, turn=turn), size, y), GOLD, clip=shell)


def _placed(path: Path, size: float, y: float) -> Path:
    """A path drawn about the origin, put on the crown of the head."""
    return move(path, 500, y, scale=size)


def _crown(canvas: Canvas, look: Look, being: Anatomy) -> None:
    y = being.hat_y
    outline = [
        (-118, 20),
        (-140, -98),
        (-76, -42),
        (-44, -122),
        (0, -56),
        (44, -122),
        (76, -42),
        (140, -98),
        (118, 20),
        (60, 32),
        (0, 36),
        (-60, 32),
    ]
    canvas.fill(_placed(ellipse(0, 34, 126, 20), 1, y), look.colours.ink, alpha=0.35, blur=8)
    canvas.solid(_placed(outline, 1, y), GOLD, rim=WHITE)
    canvas.fill(_placed(ribbon([(-118, 4), (0, 20), (118, 4)], 8, 8), 1, y), lift(GOLD, -0.14), alpha=0.8)
    for x, dy, r in ((-140, -104, 12), (140, -104, 12), (-44, -128, 13), (44, -128, 13)):
        canvas.solid(_placed(ellipse(x, dy, r), 1, y), lift(GOLD, 0.08))
    for x, dy in ((0, -14), (-66, -18), (66, -18)):
        canvas.solid(_placed(ellipse(x, dy, 15, 18), 1, y), look.colours.accent, rim=WHITE)


def _headphones(canvas: Canvas, look: Look, being: Anatomy) -> None:
    cloth, right = _cloth(look), max(x for x, y in being.head if abs(y - being.face.eye_y) < 60)
    y, top = being.face.eye_y + 6, being.hat_y - 26
    reach = right - 500
    band = [
        (500 - reach, y - 30),
        (500 - reach * 0.80, top + 68),
        (500, top),
        (500 + reach * 0.80, top + 68),
        (right, y - 30),
    ]
    canvas.solid(ribbon(band, 30, 30, bulge=8), lift(cloth, -0.12), rim=look.colours.glow, depth=0.8)
    for cup in both(superellipse(right + 4, y, 46, 80, power=3)):
        canvas.solid(cup, cloth, rim=look.colours.glow)
    for cap in both(superellipse(right + 16, y, 24, 52, power=3)):
        canvas.solid(cap, lift(cloth, 0.12), depth=0.7)


def _temple(being: Anatomy) -> Point:
    """Where a flower is tucked in: at the side of the crown, clear of the eye."""
    return 618.0, min(being.hat_y + 36, being.face.eye_y - being.face.eye - 62)


def _flower(canvas: Canvas, look: Look, being: Anatomy) -> None:
    (x, y), petal = _temple(being), lift(look.colours.accent, 0.06)
    for leaf in (-150, 100):
        canvas.solid(
            rotate(spline([(x, y), (x + 22, y - 50), (x, y - 88), (x - 22, y - 50)]), leaf, (x, y)),
            Rgb(98, 168, 108),
            depth=0.8,
        )
    for k in range(6):
        canvas.solid(rotate(ellipse(x, y - 40, 25, 35), 60 * k, (x, y)), petal, depth=0.9)
    canvas.solid(ellipse(x, y, 23), Rgb(255, 212, 96))


def _leaf(canvas: Canvas, look: Look, being: Anatomy) -> None:
    """A sprig with three leaves behind the ear."""
    (x, y), green = _temple(being), mix(Rgb(96, 172, 106), look.colours.glow, 0.12)
    for lean, length in ((74, 120), (24, 134), (-28, 96)):
        blade = spline(
            [(x, y), (x + length * 0.28, y - length * 0.5), (x, y - length), (x - length * 0.28, y - length * 0.5)]
        )
        shell = canvas.solid(rotate(blade, lean, (x, y)), green, rim=look.colours.glow)
        canvas.fill(
            ribbon(rotate([(x, y), (x + 2, y - length * 0.5), (x, y - length * 0.9)], lean, (x, y)), 6, 2),
            lift(green, 0.16),
            clip=shell,
        )


def _scarf(canvas: Canvas, look: Look, being: Anatomy) -> None:
    cloth, y = _cloth(look), being.neck_y + 6
    tail = [(590, y + 10), (640, y + 100), (625, y + 190), (650, y + 270)]
    end = canvas.solid(ribbon(tail, 88, 96), lift(cloth, -0.04), rim=look.colours.glow)
    for dy in (150, 196):
        canvas.fill(ribbon([(560, y + dy), (640, y + dy + 12), (720, y + dy)], 18, 18), PAPER, alpha=0.8, clip=end)
    loop = ribbon([(356, y - 72), (412, y + 12), (500, y + 40), (588, y + 12), (644, y - 72)], 80, 80, bulge=20)
    wrap = canvas.solid(loop, cloth, rim=look.colours.glow)
    for x in range(340, 680, 34):
        canvas.fill(
            ribbon([(x, y - 60), (x + (500 - x) * 0.10, y + 20), (x + (500 - x) * 0.2, y + 96)], 3, 3),
            lift(cloth, -0.12),
            alpha=0.45,
            blur=1,
            clip=wrap,
        )


def _bow(canvas: Canvas, look: Look, being: Anatomy) -> None:
    cloth, y = _cloth(look), being.neck_y + 34
    for wing in both(spline([(506, y), (560, y - 46), (622, y - 52), (632, y), (622, y + 52), (560, y + 44)])):
        shell = canvas.solid(wing, cloth, rim=look.colours.glow)
        canvas.fill(ellipse(506, y, 62, 40), lift(cloth, -0.2), alpha=0.5, blur=12, clip=shell)
    canvas.solid(superellipse(500, y, 27, 30, power=3), lift(cloth, 0.06))


def _gear(canvas: Canvas, look: Look, being: Anatomy) -> None:
    """A brass cog on a cord."""
    y, brass = being.neck_y + 128, mix(GOLD, Rgb(166, 104, 62), 0.35)
    for cord in both(ribbon([(500, y - 50), (590, y - 100), (640, y - 150)], 9, 9)):
        canvas.fill(cord, look.colours.ink, alpha=0.8)
    canvas.fill(ellipse(504, y + 10, 60), look.colours.ink, alpha=0.35, blur=9)
    teeth = [
        p
        for k in range(10)
        for p in rotate([(488, y - 50), (491, y - 66), (509, y - 66), (512, y - 50)], 36 * k, (500, y))
    ]
    canvas.solid(teeth, brass, rim=WHITE)
    canvas.fill(ellipse(500, y, 32), lift(brass, -0.2))
    canvas.solid(ellipse(500, y, 24), look.colours.accent)
    canvas.glow((494, y - 8), 22, WHITE, 0.8)


def _book(canvas: Canvas, look: Look, being: Anatomy) -> None:
    """An open book held up from below, seen from its cover."""
    cover, y = tone(_cloth(look), light=0.46), 900.0
    canvas.fill(ellipse(500, y + 30, 260, 110), look.colours.ink, alpha=0.35, blur=22)
    for page in both([(500, y - 82), (600, y - 108), (716, y - 92), (716, y + 90), (500, y + 110)]):
        canvas.fill(page, Gradient(PAPER, lift(PAPER, -0.14), (620, y), (500, y)))
    board = [(500, y - 66), (610, y - 90), (730, y - 72), (738, y + 190), (500, y + 190)]
    border = ribbon([(520, y - 52), (610, y - 70), (714, y - 54), (722, y + 60), (724, y + 170)], 5, 5)
    for side, line in zip(both(board), both(border), strict=True):
        shell = canvas.solid(side, cover, rim=look.colours.glow)
        canvas.fill(line, GOLD, alpha=0.85, clip=shell)
    canvas.fill([(488, y - 68), (512, y - 68), (514, y + 190), (486, y + 190)], lift(cover, -0.14), blur=3)
    canvas.fill(star(614, y + 16, 36), GOLD)
    canvas.fill(mirror(star(614, y + 16, 36)), GOLD)
    for paw in both(ellipse(726, y + 36, 46, 40, turn=-20)):
        canvas.solid(paw, look.colours.coat, rim=look.colours.glow, depth=0.9)


def _lantern(canvas: Canvas, look: Look, being: Anatomy) -> None:
    """A glowing lantern held up on the left."""
    x, y = 196.0, 800.0
    metal = mix(GOLD, look.colours.ink, 0.45)
    canvas.glow((x, y), 330, FLAME, 0.75)
    canvas.solid(ribbon([(330, 930), (262, 850), (x + 8, y - 138)], 96, 66), look.colours.coat, rim=look.colours.glow)
    canvas.fill(_ring(x, y - 112, 34, 9), metal)
    canvas.fill(
        superellipse(x, y, 72, 88, power=4), Gradient(Rgb(255, 244, 200), FLAME, (x, y + 10), (x, y + 110), radial=True)
    )
    canvas.fill(spline([(x, y - 44), (x + 24, y + 6), (x, y + 40), (x - 24, y + 6)]), WHITE, alpha=0.9, blur=5)
    for dx in (-66, 0, 66):
        canvas.solid(ribbon([(x + dx * 0.94, y - 84), (x + dx, y), (x + dx * 0.94, y + 84)], 10, 10), metal)
    canvas.solid(spline([(x, y - 122), (x + 62, y - 92), (x + 88, y - 74), (x - 88, y - 74), (x - 62, y - 92)]), metal)
    canvas.solid(superellipse(x, y + 92, 86, 17, power=4), metal)
    canvas.solid(ellipse(x + 4, y - 142, 42, 36), look.colours.coat, rim=look.colours.glow)


def _sparkles(canvas: Canvas, look: Look, being: Anatomy) -> None:
    """Four-pointed stars in the air about the head."""
    dice = look.dice("sparkles")
    for i in range(11):
        side = -1 if i % 2 else 1
        x, y, r = 500 + side * dice.uniform(300, 480), dice.uniform(60, 900), dice.uniform(10, 34)
        canvas.glow((x, y), r * 2.6, look.colours.glow, 0.7)
        canvas.fill(star(x, y, r, points=4, inner=0.24), mix(GOLD, WHITE, dice.uniform(0.3, 0.9)))


THINGS: Final[dict[str, Thing]] = {
    "glasses": _glasses,
    "hat": _hat,
    "crown": _crown,
    "headphones": _headphones,
    "flower": _flower,
    "leaf": _leaf,
    "scarf": _scarf,
    "bow": _bow,
    "gear": _gear,
    "book": _book,
    "lantern": _lantern,
    "stars": _sparkles,
}
