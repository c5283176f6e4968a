"""Beings with fur and ears: fox, cat, wolf, rabbit, mouse, bear and the beast that stands for the unknown."""

from actors.mflux.demo.anatomy import BUST, ROUND_HEAD, Anatomy, Face, belly, both, nose, tufts
from actors.mflux.demo.canvas import Canvas, Stencil
from actors.mflux.demo.colour import Rgb, lift, mix
from actors.mflux.demo.geometry import Path, ellipse, ribbon, spline, symmetric
from actors.mflux.demo.look import Look

ROSE = Rgb(240, 150, 150)

CHEEKED = symmetric(
    [
        (500, 214),
        (604, 236),
        (700, 306),
        (748, 400),
        (770, 500),
        (822, 566),
        (750, 586),
        (764, 632),
        (668, 634),
        (580, 664),
        (500, 674),
    ]
)


def _ears(canvas: Canvas, look: Look, outer: Path, inner: Path, *, tip: Path | None = None) -> None:
    """A pair of ears: the outside in the coat's colour, a rosy inside, perhaps a dark tip."""
    colours = look.colours
    for out, inside, end in zip(both(outer), both(inner), both(tip or []), strict=True):
        shell = canvas.solid(out, lift(colours.coat, -0.03), rim=colours.glow)
        canvas.fill(inside, mix(lift(colours.coat, -0.08), ROSE, 0.72), blur=4, clip=shell)
        if tip is not None:
            canvas.fill(end, lift(colours.ink, 0.06), alpha=0.85, blur=7, clip=shell)


def _tail(canvas: Canvas, look: Look, *, tip: Rgb | None) -> None:
    """A bushy tail that curls up on the right."""
    path = spline(
        [(640, 980), (770, 960), (862, 850), (868, 720), (930, 640), (985, 760), (965, 900), (880, 1030), (720, 1100)]
    )
    shell = canvas.solid(path, lift(look.colours.coat, -0.04), rim=look.colours.glow)
    if tip is not None:
        canvas.fill(ellipse(925, 660, 90, 80), tip, blur=16, clip=shell)


def _mask(canvas: Canvas, look: Look, clip: Stencil) -> None:
    """The pale cheeks of a fox, meeting in a point above the nose."""
    half = [(500, 470), (530, 500), (600, 515), (690, 500), (800, 520), (760, 700), (500, 700)]
    canvas.fill(symmetric(half), look.colours.pale, blur=5, clip=clip)
    tufts(canvas, look, clip, area=(360, 245, 640, 330))
    tufts(canvas, look, clip, colour=look.colours.pale, area=(260, 560, 740, 640))


def _snout(canvas: Canvas, look: Look, rx: float, ry: float, y: float, *, pad: float = 26.0) -> None:
    """A soft raised muzzle with a nose on top."""
    canvas.fill(ellipse(500, y + 12, rx * 1.04, ry), lift(look.colours.coat, -0.25), alpha=0.25, blur=12)
    canvas.solid(ellipse(500, y, rx, ry), look.colours.pale, depth=0.55)
    nose(canvas, look, y - ry * 0.42, pad)


def _stripes(canvas: Canvas, look: Look, clip: Stencil) -> None:
    """The forehead and cheek stripes of a cat."""
    dark = lift(look.colours.coat, -0.17)
    canvas.fill(ribbon([(500, 225), (500, 270), (500, 325)], 34, 4), dark, alpha=0.75, blur=2, clip=clip)
    for side in both(ribbon([(570, 230), (562, 275), (546, 312)], 30, 3)):
        canvas.fill(side, dark, alpha=0.7, blur=2, clip=clip)
    for y in (490, 545):
        for side in both(ribbon([(760, y), (715, y + 8), (672, y + 4)], 24, 2)):
            canvas.fill(side, dark, alpha=0.6, blur=2, clip=clip)
    canvas.fill(ellipse(500, 590, 130, 78), look.colours.pale, alpha=0.9, blur=12, clip=clip)
    tufts(canvas, look, clip, area=(300, 250, 700, 420))


def _whiskers(canvas: Canvas, look: Look) -> None:
    """A small nose and six whiskers."""
    nose(canvas, look, 545, 22, mix(ROSE, look.colours.ink, 0.15))
    for dy in (-14, 10, 34):
        for hair in both(ribbon([(612, 572 + dy * 0.5), (700, 568 + dy), (806, 584 + dy * 1.8)], 4.5, 1)):
            canvas.fill(hair, Rgb(255, 255, 255), alpha=0.75)


def _fox_ears(canvas: Canvas, look: Look) -> None:
    _ears(
        canvas,
        look,
        spline([(590, 300), (640, 170), (728, 62), (776, 180), (766, 320), (730, 400), (640, 380)]),
        spline([(640, 300), (668, 200), (722, 118), (748, 210), (738, 320), (700, 370)]),
        tip=ellipse(735, 80, 70, 62),
    )


def _cat_ears(canvas: Canvas, look: Look) -> None:
    _ears(
        canvas,
        look,
        spline([(575, 290), (630, 190), (722, 108), (752, 220), (752, 340), (690, 390)]),
        spline([(628, 290), (660, 215), (714, 158), (728, 240), (726, 330), (680, 350)]),
    )


def _long_ears(canvas: Canvas, look: Look) -> None:
    _ears(
        canvas,
        look,
        spline([(540, 300), (534, 170), (574, 55), (636, 18), (674, 75), (670, 190), (650, 310)]),
        spline([(568, 280), (568, 170), (596, 84), (634, 58), (650, 100), (644, 190), (622, 290)]),
    )


def _round_ears(canvas: Canvas, look: Look) -> None:
    _ears(canvas, look, ellipse(692, 262, 88), ellipse(696, 270, 54))


def _dish_ears(canvas: Canvas, look: Look) -> None:
    _ears(canvas, look, ellipse(742, 256, 145, 140), ellipse(746, 264, 104, 100))


def _beast_crest(canvas: Canvas, look: Look) -> None:
    """Two small horns and a tuft: friendly, and of no known species."""
    for horn in both(ribbon([(600, 262), (628, 200), (612, 140)], 52, 8)):
        canvas.solid(horn, look.colours.pale, rim=look.colours.glow)
    for dx, height in ((-34, 52), (34, 56), (0, 78)):
        tuft = spline(
            [
                (470 + dx, 262),
                (486 + dx, 250 - height * 0.6),
                (512 + dx * 1.6, 246 - height),
                (520 + dx, 262),
                (500 + dx, 285),
            ]
        )
        canvas.solid(tuft, lift(look.colours.accent, 0.02), depth=0.8)


def _spots(canvas: Canvas, look: Look, clip: Stencil) -> None:
    """Freckled spots on the brow and a pale lower face."""
    dice = look.dice("spots")
    canvas.fill(ellipse(500, 590, 165, 92), look.colours.pale, alpha=0.85, blur=16, clip=clip)
    for _ in range(9):
        x, y, r = dice.uniform(290, 710), dice.uniform(255, 350), dice.uniform(9, 22)
        canvas.fill(ellipse(x, y, r, r * 0.85), look.colours.accent, alpha=0.55, blur=3, clip=clip)


def _brow_fur(canvas: Canvas, look: Look, clip: Stencil) -> None:
    tufts(canvas, look, clip, area=(310, 250, 690, 400))


FURRY = {
    "fox": Anatomy(
        CHEEKED,
        BUST,
        Face(eye_y=448, mouth_y=602, mouth="muzzle"),
        behind=lambda c, k: _tail(c, k, tip=k.colours.pale),
        torso=belly,
        ears=_fox_ears,
        markings=_mask,
        muzzle=lambda c, k: nose(c, k, 555, 28),
    ),
    "cat": Anatomy(
        ROUND_HEAD,
        BUST,
        Face(eye_y=448, eye=72, mouth_y=572, mouth="muzzle", pupil="slit"),
        torso=belly,
        ears=_cat_ears,
        markings=_stripes,
        muzzle=_whiskers,
    ),
    "wolf": Anatomy(
        CHEEKED,
        BUST,
        Face(eye_y=438, eye=60, mouth_y=604, mouth="muzzle"),
        behind=lambda c, k: _tail(c, k, tip=None),
        torso=belly,
        ears=_fox_ears,
        markings=_mask,
        muzzle=lambda c, k: nose(c, k, 552, 36),
    ),
    "rabbit": Anatomy(
        ROUND_HEAD,
        BUST,
        Face(eye_y=460, mouth_y=588, mouth="muzzle"),
        torso=belly,
        ears=_long_ears,
        markings=_brow_fur,
        muzzle=lambda c, k: _snout(c, k, 88, 54, 580, pad=19),
    ),
    "mouse": Anatomy(
        ROUND_HEAD,
        BUST,
        Face(eye_y=468, eye=64, mouth_y=586, mouth="muzzle"),
        torso=belly,
        ears=_dish_ears,
        markings=_brow_fur,
        muzzle=lambda c, k: nose(c, k, 557, 23, mix(ROSE, k.colours.ink, 0.1)),
    ),
    "bear": Anatomy(
        ROUND_HEAD,
        BUST,
        Face(eye_y=446, eye=55, eye_gap=116, mouth_y=596, mouth="muzzle"),
        torso=belly,
        ears=_round_ears,
        markings=_brow_fur,
        muzzle=lambda c, k: _snout(c, k, 114, 86, 572, pad=36),
    ),
    "beast": Anatomy(
        ROUND_HEAD,
        BUST,
        Face(mouth_y=585),
        torso=belly,
        ears=lambda c, k: _ears(
            c,
            k,
            spline([(690, 380), (770, 300), (868, 288), (850, 380), (770, 450), (700, 470)]),
            spline([(720, 390), (775, 335), (838, 318), (820, 378), (760, 420)]),
        ),
        markings=_spots,
        crest=_beast_crest,
    ),
}
