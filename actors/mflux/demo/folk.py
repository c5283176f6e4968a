"""Beings that walk on two legs and wear clothes: people and elves."""

from actors.mflux.demo.anatomy import BUST, Anatomy, Face, both
from actors.mflux.demo.canvas import Canvas, Stencil
from actors.mflux.demo.colour import Rgb, lift, mix, tone
from actors.mflux.demo.geometry import Path, ellipse, mirror, ribbon, spline, symmetric
from actors.mflux.demo.look import Look

CHIN = symmetric([(500, 214), (606, 236), (706, 316), (742, 440), (712, 558), (622, 646), (500, 682)])
LONG_HAIR = symmetric(
    [(500, 140), (630, 160), (760, 270), (812, 440), (806, 620), (846, 760), (790, 830), (640, 800), (500, 790)]
)
SHORT_HAIR = symmetric([(500, 142), (630, 160), (752, 260), (786, 400), (764, 520), (690, 560), (500, 580)])
CROWN: Path = [
    (257, 476),
    (225, 380),
    (267, 250),
    (372, 166),
    (500, 140),
    (628, 164),
    (735, 250),
    (776, 380),
    (743, 476),
]
FRINGES: tuple[Path, ...] = (
    [*CROWN, (706, 380), (640, 318), (560, 300), (470, 352), (372, 372), (300, 400)],
    [*CROWN, (676, 352), (610, 376), (560, 346), (500, 380), (440, 346), (390, 376), (324, 352), (284, 392)],
    [*CROWN, (716, 380), (640, 340), (560, 270), (500, 226), (440, 270), (360, 340), (284, 380)],
)


def _hair(look: Look) -> Rgb:
    return lift(look.colours.cloth, -0.16)


def _back_hair(canvas: Canvas, look: Look) -> None:
    """The hair behind the head: long, or short with a bun now and then."""
    style = look.dice("hair").random()
    if style > 0.75:
        canvas.solid(ellipse(500, 118, 92, 82), _hair(look), rim=look.colours.glow)
    canvas.solid(LONG_HAIR if style < 0.5 else SHORT_HAIR, lift(_hair(look), -0.06), rim=look.colours.glow)


def _clothes(canvas: Canvas, look: Look, clip: Stencil) -> None:
    """A coat with a collar and two buttons, the neck left bare."""
    cloth = tone(mix(look.colours.accent, look.colours.sky, 0.45), light=0.50)
    coat = symmetric([(500, 760), (560, 716), (640, 640), (800, 700), (850, 1400), (500, 1500)])
    shell = canvas.solid(coat, cloth, rim=look.colours.glow, clip=clip)
    for lapel in both(spline([(500, 770), (566, 706), (640, 676), (650, 760), (580, 850), (516, 880)])):
        canvas.solid(lapel, lift(cloth, 0.10), depth=0.8, clip=shell)
    for y in (900, 968):
        canvas.solid(ellipse(500, y, 15), look.colours.glow)
    for sleeve in both(ribbon([(676, 760), (664, 880), (676, 1050)], 7, 7)):
        canvas.fill(sleeve, lift(cloth, -0.2), alpha=0.5, blur=3, clip=shell)


def _round_ears(canvas: Canvas, look: Look) -> None:
    for ear in both(ellipse(744, 468, 40, 56)):
        shell = canvas.solid(ear, look.colours.coat, rim=look.colours.glow)
        canvas.fill(ellipse(500, 468, 272, 34), lift(look.colours.coat, -0.14), alpha=0.5, blur=8, clip=shell)


def _pointed_ears(canvas: Canvas, look: Look) -> None:
    ear = spline([(716, 420), (800, 380), (912, 320), (880, 420), (820, 500), (730, 530)])
    inside = spline([(740, 440), (810, 400), (876, 358), (850, 424), (800, 478)])
    for shape, hollow in zip(both(ear), both(inside), strict=True):
        shell = canvas.solid(shape, look.colours.coat, rim=look.colours.glow)
        canvas.fill(hollow, mix(lift(look.colours.coat, -0.1), Rgb(235, 130, 130), 0.35), alpha=0.8, blur=6, clip=shell)


def _warmth(canvas: Canvas, look: Look, clip: Stencil) -> None:
    """The shadow of the fringe on the brow."""
    canvas.fill(ellipse(500, 300, 260, 110), lift(look.colours.coat, -0.2), alpha=0.35, blur=26, clip=clip)


def _small_nose(canvas: Canvas, look: Look) -> None:
    canvas.fill(ellipse(502, 536, 17, 9), lift(look.colours.coat, -0.2), alpha=0.55, blur=4)
    canvas.fill(ellipse(496, 524, 9, 7), lift(look.colours.coat, 0.14), alpha=0.7, blur=3)


def _fringe(canvas: Canvas, look: Look) -> None:
    """The hair over the brow, with strands that catch the light."""
    dice, hair = look.dice("fringe"), _hair(look)
    outline = dice.choice(FRINGES)
    outline = outline if dice.random() < 0.5 else mirror(outline)
    canvas.fill([(x, y + 12) for x, y in spline(outline)], lift(look.colours.coat, -0.3), alpha=0.22, blur=9)
    shell = canvas.solid(spline(outline), hair, rim=look.colours.glow)
    for x in range(300, 720, 42):
        strand = [(500 + (x - 500) * 0.45, 160), (500 + (x - 500) * 0.9, 240), (500 + (x - 500) * 1.12, 380)]
        canvas.fill(ribbon(strand, 3, 3, bulge=4), lift(hair, 0.12), alpha=0.35, blur=1.5, clip=shell)
    canvas.fill(
        ribbon([(330, 268), (420, 214), (540, 204)], 6, 6, bulge=20), lift(hair, 0.2), alpha=0.4, blur=7, clip=shell
    )


FOLK = {
    "person": Anatomy(
        CHIN,
        BUST,
        Face(eye_y=470, eye_gap=116, eye=66, mouth_y=604),
        behind=_back_hair,
        torso=_clothes,
        ears=_round_ears,
        markings=_warmth,
        muzzle=_small_nose,
        crest=_fringe,
        hat_y=206,
    ),
    "elf": Anatomy(
        CHIN,
        BUST,
        Face(eye_y=470, eye_gap=116, eye=68, mouth_y=604),
        behind=_back_hair,
        torso=_clothes,
        ears=_pointed_ears,
        markings=_warmth,
        muzzle=_small_nose,
        crest=_fringe,
        hat_y=206,
    ),
}
