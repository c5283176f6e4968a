"""One drawing of the whole scene: backdrop, being, things, in painter's order."""

from dataclasses import replace

from PIL import Image, ImageOps

from actors.mflux.demo.anatomy import Anatomy
from actors.mflux.demo.canvas import Canvas
from actors.mflux.demo.colour import lift
from actors.mflux.demo.face import draw_face
from actors.mflux.demo.feathered import FEATHERED
from actors.mflux.demo.folk import FOLK
from actors.mflux.demo.furry import FURRY
from actors.mflux.demo.geometry import Point, ellipse
from actors.mflux.demo.look import Look
from actors.mflux.demo.made import MADE
from actors.mflux.demo.scaled import SCALED
from actors.mflux.demo.scenery import draw_scenery
from actors.mflux.demo.soft import SOFT
from actors.mflux.demo.things import draw_thing

KINDS = {**FURRY, **FOLK, **FEATHERED, **SCALED, **SOFT, **MADE}


def draw_portrait(look: Look, width: int, height: int, offset: Point = (0.0, 0.0)) -> Image.Image:
    """The scene of a look as an RGB picture, moved by a part of a pixel."""
    canvas = Canvas(width, height, offset)
    being = _individual(KINDS[look.kind], look)
    colours = look.colours
    draw_scenery(canvas, look)
    being.behind(canvas, look)
    body = canvas.solid(being.body, colours.coat, rim=colours.glow)
    if body is not None and being.body is not being.head:
        being.torso(canvas, look, body)
        canvas.fill(ellipse(500, being.neck_y - 5, 200, 48), lift(colours.coat, -0.28), alpha=0.5, blur=20, clip=body)
        draw_thing(canvas, look, being, "neck")
    being.ears(canvas, look)
    head = canvas.solid(being.head, colours.coat, rim=colours.glow)
    if head is not None:
        being.markings(canvas, look, head)
    being.muzzle(canvas, look)
    draw_face(canvas, look, being.face)
    draw_thing(canvas, look, being, "face")
    being.crest(canvas, look)
    for place in ("head", "hands", "air"):
        draw_thing(canvas, look, being, place)
    return ImageOps.mirror(canvas.image) if look.dice("side").random() < 0.5 else canvas.image


def _individual(being: Anatomy, look: Look) -> Anatomy:
    """The kind with the small differences of one of its members."""
    dice, face = look.dice("individual"), being.face
    eye, gap = face.eye * dice.uniform(0.93, 1.07), face.eye_gap * dice.uniform(0.96, 1.04)
    return replace(being, face=replace(face, eye=eye, eye_gap=gap, eye_y=face.eye_y + dice.uniform(-6, 6)))
