"""Beings with feathers: owl and bird."""

from actors.mflux.demo.anatomy import BUST, ROUND_HEAD, Anatomy, Face, both
from actors.mflux.demo.canvas import Canvas, Stencil
from actors.mflux.demo.colour import Rgb, lift, mix, tone
from actors.mflux.demo.geometry import ellipse, ribbon, spline, symmetric
from actors.mflux.demo.look import Look

AMBER = Rgb(245, 166, 62)
OWL_HEAD = symmetric([(500, 232), (600, 232), (730, 256), (786, 400), (756, 550), (650, 648), (500, 676)])


def _plumage(canvas: Canvas, look: Look, clip: Stencil) -> None:
    """A breast of scalloped feathers and folded wings at the sides."""
    colours = look.colours
    canvas.fill(ellipse(500, 920, 190, 270), colours.pale, alpha=0.95, blur=14, clip=clip)
    for row, y in enumerate(range(720, 1020, 44)):
        for x in range(330 + 29 * (row % 2), 680, 58):
            feather = spline([(x - 22, y - 10), (x + 22, y - 10), (x + 18, y + 18), (x, y + 32), (x - 18, y + 18)])
            canvas.fill(feather, mix(colours.coat, colours.pale, 0.45), alpha=0.55, blur=2, clip=clip)
    wing = spline([(640, 690), (735, 720), (790, 860), (790, 1100), (690, 1100), (652, 900)])
    for side in both(wing):
        fold = canvas.solid(side, lift(colours.coat, -0.03), rim=colours.glow, depth=0.9)
        for i in range(4):
            for quill in both(
                ribbon([(676 + i * 12, 800 + i * 44), (716 + i * 10, 850 + i * 44), (790, 860 + i * 44)], 5, 2)
            ):
                canvas.fill(quill, lift(colours.coat, -0.2), alpha=0.5, blur=1, clip=fold)


def _disc(canvas: Canvas, look: Look, clip: Stencil) -> None:
    """The pale heart of an owl's face with rays about the eyes."""
    colours = look.colours
    for side in both(ellipse(606, 458, 138, 150, turn=-10)):
        canvas.fill(side, lift(colours.coat, -0.14), alpha=0.5, blur=8, clip=clip)
    for side in both(ellipse(606, 460, 126, 138, turn=-10)):
        canvas.fill(side, colours.pale, alpha=0.95, blur=5, clip=clip)
    for row, y in enumerate(range(250, 330, 24)):
        for x in range(370 + 16 * (row % 2), 650, 34):
            canvas.fill(
                ribbon([(x - 11, y), (x, y + 10), (x + 11, y)], 2, 2, bulge=4),
                lift(colours.coat, -0.2),
                alpha=0.55,
                clip=clip,
            )


def _horns(canvas: Canvas, look: Look) -> None:
    """The ear tufts of an owl."""
    for tuft in both(spline([(590, 270), (668, 216), (770, 130), (800, 230), (768, 340), (690, 330)])):
        shell = canvas.solid(tuft, lift(look.colours.coat, -0.05), rim=look.colours.glow)
        canvas.fill(
            spline([(650, 280), (700, 240), (760, 178), (768, 250), (730, 310)]),
            look.colours.accent,
            alpha=0.6,
            blur=9,
            clip=shell,
        )


def _beak(canvas: Canvas, look: Look) -> None:
    """A small hooked beak."""
    amber = mix(AMBER, look.colours.accent, 0.2)
    canvas.solid(symmetric([(500, 506), (530, 520), (536, 548), (516, 586), (500, 604)]), amber, depth=1.1)
    for nostril in both(ellipse(512, 532, 4.5, 3)):
        canvas.fill(nostril, look.colours.ink, alpha=0.55)


def _bill(canvas: Canvas, look: Look) -> None:
    """A short open bill: a lower half in shade and an upper half above it."""
    amber = mix(AMBER, look.colours.accent, 0.2)
    canvas.solid(symmetric([(500, 566), (552, 566), (538, 600), (500, 622)]), lift(amber, -0.14))
    canvas.solid(symmetric([(500, 512), (545, 530), (596, 566), (560, 580), (500, 590)]), amber, depth=1.1)
    for nostril in both(ellipse(520, 540, 5, 3.5, turn=20)):
        canvas.fill(nostril, look.colours.ink, alpha=0.5)


def _cheeks(canvas: Canvas, look: Look, clip: Stencil) -> None:
    canvas.fill(ellipse(500, 640, 210, 130), look.colours.pale, alpha=0.9, blur=18, clip=clip)
    canvas.fill(ellipse(500, 236, 190, 66), tone(look.colours.accent, light=0.66), alpha=0.45, blur=24, clip=clip)


def _plume(canvas: Canvas, look: Look) -> None:
    """Three feathers that stand up from the crown."""
    for bend, height, tint in ((-70, 130, -0.06), (80, 140, -0.02), (6, 180, 0.05)):
        feather = ribbon(
            [(500 + bend * 0.2, 240), (500 + bend * 0.7, 240 - height * 0.6), (500 + bend * 1.5, 240 - height)],
            22,
            16,
            bulge=34,
        )
        canvas.solid(feather, lift(look.colours.accent, tint), rim=look.colours.glow)


FEATHERED = {
    "owl": Anatomy(
        OWL_HEAD,
        BUST,
        Face(eye_y=458, eye_gap=108, eye=82, mouth="none"),
        torso=_plumage,
        ears=_horns,
        markings=_disc,
        muzzle=_beak,
        hat_y=244,
    ),
    "bird": Anatomy(
        ROUND_HEAD,
        BUST,
        Face(eye_y=446, eye_gap=130, mouth="none"),
        torso=_plumage,
        ears=_plume,
        markings=_cheeks,
        muzzle=_bill,
    ),
}
