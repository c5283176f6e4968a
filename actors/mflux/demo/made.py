"""Beings that were built or have grown: robot, sprout and mushroom."""

from actors.mflux.demo.anatomy import BUST, ROUND_HEAD, Anatomy, Face, belly, both
from actors.mflux.demo.canvas import Canvas, Gradient, Stencil
from actors.mflux.demo.colour import Rgb, lift, mix, tone
from actors.mflux.demo.geometry import Path, ellipse, ribbon, rotate, spline, superellipse, symmetric
from actors.mflux.demo.look import Look

BOX = superellipse(500, 440, 272, 216, power=4.2)
CHASSIS = superellipse(500, 1240, 250, 540, power=5)
STALK = symmetric([(500, 430), (600, 436), (690, 480), (712, 600), (690, 760), (716, 1000), (740, 1300), (500, 1400)])
CAP = symmetric([(500, 60), (640, 76), (800, 170), (900, 330), (905, 420), (820, 452), (660, 440), (500, 450)])


def _antennae(canvas: Canvas, look: Look) -> None:
    """Ears like bolts, and an aerial whose tip glows."""
    colours = look.colours
    for rod in both(superellipse(776, 440, 44, 84, power=4)):
        canvas.solid(rod, mix(colours.coat, colours.ink, 0.3), rim=colours.glow)
    canvas.solid(ribbon([(500, 240), (500, 190), (500, 130)], 22, 14), mix(colours.coat, colours.ink, 0.35))
    canvas.glow((500, 112), 150, colours.accent, 0.75)
    canvas.solid(ellipse(500, 112, 34), lift(colours.accent, 0.06), rim=colours.glow)
    canvas.solid(ribbon([(500, 620), (500, 660), (500, 740)], 150, 150), mix(colours.coat, colours.ink, 0.55))


def _visor(canvas: Canvas, look: Look, clip: Stencil) -> None:
    """A dark screen with a soft reflection, on which the face lights up."""
    colours = look.colours
    screen = superellipse(500, 452, 226, 162, power=4)
    canvas.fill(superellipse(500, 450, 236, 172, power=4), lift(colours.coat, -0.18), blur=3, clip=clip)
    glass = canvas.fill(
        screen, Gradient(lift(colours.sky, -0.06), lift(colours.sky, -0.16), (400, 300), (620, 620)), clip=clip
    )
    canvas.fill([(240, 280), (430, 280), (300, 640), (160, 640)], Rgb(255, 255, 255), alpha=0.07, blur=3, clip=glass)
    canvas.glow((500, 450), 240, colours.iris, 0.30, clip=glass)
    for bolt in ((262, 268), (738, 268), (262, 612), (738, 612)):
        canvas.solid(ellipse(*bolt, 13), mix(colours.coat, colours.ink, 0.25), depth=0.9)


def _panel(canvas: Canvas, look: Look, clip: Stencil) -> None:
    """A chest plate with a glowing core."""
    colours = look.colours
    canvas.solid(superellipse(500, 880, 130, 100, power=4), mix(colours.coat, colours.pale, 0.5), depth=0.8, clip=clip)
    canvas.fill(ellipse(500, 880, 62), lift(colours.sky, -0.1))
    canvas.glow((500, 880), 130, colours.accent, 0.8)
    canvas.solid(ellipse(500, 880, 44), lift(colours.accent, 0.1))
    for rivet in both(ellipse(690, 760, 11)):
        canvas.solid(rivet, mix(colours.coat, colours.ink, 0.3))


def _leafage(canvas: Canvas, look: Look, leaves: list[tuple[float, float, float, float]]) -> None:
    """Leaves, each (x and y of its stem, length, degrees from upright), with a lighter vein."""
    green = mix(tone(look.colours.coat, hue=140, chroma=0.14, light=0.66), look.colours.coat, 0.25)
    for x, y, length, lean in leaves:
        blade: Path = [
            (x, y),
            (x + length * 0.30, y - length * 0.42),
            (x + length * 0.10, y - length * 0.86),
            (x, y - length),
            (x - length * 0.10, y - length * 0.86),
            (x - length * 0.30, y - length * 0.42),
        ]
        shell = canvas.solid(rotate(spline(blade), lean, (x, y)), green, rim=look.colours.glow, depth=0.9)
        vein = rotate([(x, y), (x + 3, y - length * 0.5), (x, y - length * 0.92)], lean, (x, y))
        canvas.fill(ribbon(vein, 7, 2), lift(green, 0.14), alpha=0.7, clip=shell)


def _ruff(canvas: Canvas, look: Look) -> None:
    _leafage(canvas, look, [(500, 690, 330, lean) for lean in (-112, 112, -88, 88)])


def _shoots(canvas: Canvas, look: Look) -> None:
    _leafage(canvas, look, [(478, 240, 190, -62), (522, 240, 190, 62), (490, 232, 200, -22), (512, 232, 215, 16)])


def _blossom(canvas: Canvas, look: Look) -> None:
    colours = look.colours
    for k in range(6):
        canvas.solid(rotate(ellipse(600, 206, 25, 38), k * 60, (600, 244)), lift(colours.accent, 0.05), depth=0.8)
    canvas.solid(ellipse(600, 244, 20), Rgb(255, 214, 102), depth=0.8)


def _dapples(canvas: Canvas, look: Look, clip: Stencil) -> None:
    canvas.fill(ellipse(500, 600, 190, 90), look.colours.pale, alpha=0.75, blur=22, clip=clip)
    for x, y, r in ((336, 330, 16), (372, 292, 11), (650, 320, 15), (684, 362, 10), (618, 284, 9)):
        canvas.fill(ellipse(x, y, r), lift(look.colours.coat, 0.13), alpha=0.7, blur=2, clip=clip)


def _stalk(canvas: Canvas, look: Look, clip: Stencil) -> None:
    canvas.fill(STALK, mix(look.colours.pale, Rgb(255, 250, 240), 0.3), alpha=0.86, clip=clip)
    canvas.fill(ellipse(500, 452, 280, 74), lift(look.colours.coat, -0.25), alpha=0.45, blur=22, clip=clip)


def _cap(canvas: Canvas, look: Look) -> None:
    """The spotted cap with its gills."""
    colours = look.colours
    gills = canvas.fill(ellipse(500, 420, 392, 46), lift(colours.pale, -0.10))
    for x in range(130, 880, 24):
        canvas.fill(
            ribbon([(500 + (x - 500) * 0.6, 400), (500 + (x - 500) * 0.9, 440), (x, 470)], 4, 4),
            lift(colours.pale, -0.22),
            alpha=0.5,
            clip=gills,
        )
    cap = canvas.solid(CAP, lift(colours.coat, -0.02), rim=colours.glow)
    for x, y, rx, ry in (
        (420, 200, 84, 60),
        (640, 160, 58, 38),
        (700, 320, 72, 54),
        (250, 330, 62, 52),
        (520, 350, 48, 36),
        (846, 392, 34, 34),
        (360, 92, 40, 20),
    ):
        canvas.solid(ellipse(x, y, rx, ry, turn=(x - 500) * 0.06), colours.pale, depth=0.5, clip=cap)


MADE = {
    "robot": Anatomy(
        BOX,
        CHASSIS,
        Face(eye_y=440, eye_gap=112, eye=70, mouth_y=555, mouth="screen", pupil="lamp"),
        torso=_panel,
        ears=_antennae,
        markings=_visor,
        hat_y=236,
        neck_y=752,
    ),
    "sprout": Anatomy(
        ROUND_HEAD,
        BUST,
        Face(mouth_y=580),
        behind=_ruff,
        torso=belly,
        ears=_shoots,
        markings=_dapples,
        crest=_blossom,
    ),
    "mushroom": Anatomy(
        STALK,
        STALK,
        Face(eye_y=560, eye_gap=104, eye=58, mouth_y=660),
        markings=_stalk,
        crest=_cap,
        hat_y=84,
        neck_y=780,
    ),
}
