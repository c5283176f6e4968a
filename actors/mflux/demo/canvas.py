"""A canvas in design units on which antialiased paths are filled, shaded and lit; all drawing passes through here."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from actors.mflux.demo.colour import Rgb, lift, mix
from actors.mflux.demo.geometry import Path, Point

DESIGN: Final = 1000.0
SUPERSAMPLING: Final = 3


@dataclass(frozen=True)
class Gradient:
    """A blend between two colours: linear from point to point, or radial about `start` out to `end`."""

    inner: Rgb
    outer: Rgb
    start: Point
    end: Point
    radial: bool = False


Paint = Rgb | Gradient


@dataclass(frozen=True)
class Stencil:
    """Coverage (mode L) of one shape and where its corner lies on the canvas, in pixels."""

    coverage: Image.Image
    x: int
    y: int


class Canvas:
    """An RGB picture under construction.

    The design square fills the shorter side; a longer side shows more of the surroundings. `offset` moves everything by
    a part of a pixel, so that the mean of several drawings has finer edges than each.
    """

    def __init__(self, width: int, height: int, offset: Point = (0.0, 0.0)) -> None:
        side = min(width, height)
        self.image = Image.new("RGB", (width, height))
        self.scale = side / DESIGN
        self._dx = (width - side) / 2 + offset[0]
        self._dy = (height - side) * 0.72 + offset[1]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the whole picture in design units."""
        right, bottom = self._design((self.image.width, self.image.height))
        left, top = self._design((0, 0))
        return left, top, right, bottom

    def stencil(
        self, path: Path, *, blur: float = 0.0, clip: Stencil | None = None, margin: float = 0.0
    ) -> Stencil | None:
        """The coverage of a path, blurred by so many design units and cut by `clip`; None when nothing shows."""
        corners = [self._pixel(p) for p in path]
        pad = math.ceil(max(3 * blur, margin) * self.scale) + 2
        left = max(math.floor(min(x for x, _ in corners)), 0) - pad
        top = max(math.floor(min(y for _, y in corners)), 0) - pad
        right = min(math.ceil(max(x for x, _ in corners)), self.image.width) + pad
        bottom = min(math.ceil(max(y for _, y in corners)), self.image.height) + pad
        if right - left <= 2 * pad or bottom - top <= 2 * pad:
            return None
        n = SUPERSAMPLING
        large = Image.new("L", ((right - left) * n, (bottom - top) * n))
        ImageDraw.Draw(large).polygon([((x - left) * n, (y - top) * n) for x, y in corners], fill=255)
        coverage = large.reduce(n)
        if blur:
            coverage = coverage.filter(ImageFilter.GaussianBlur(blur * self.scale))
        stencil = Stencil(coverage, left, top)
        return stencil if clip is None else _cut(stencil, clip)

    def fill(
        self, path: Path, paint: Paint, *, alpha: float = 1.0, blur: float = 0.0, clip: Stencil | None = None
    ) -> Stencil | None:
        """Paint a path and return its stencil, with which later paths can be clipped to it."""
        stencil = self.stencil(path, blur=blur, clip=clip)
        if stencil is not None:
            self.apply(stencil, paint, alpha)
        return stencil

    def solid(
        self, path: Path, colour: Rgb, *, rim: Rgb | None = None, depth: float = 1.0, clip: Stencil | None = None
    ) -> Stencil | None:
        """Paint a path as a rounded body: lit from the upper left, shaded below, a thin rim light on the right."""
        size = max(max(x for x, _ in path) - min(x for x, _ in path), 1.0)
        reach = min(60.0, 0.16 * size) * depth
        stencil = self.stencil(path, clip=clip, margin=3 * reach)
        if stencil is None:
            return None
        top = min(path, key=lambda p: p[1] + 0.6 * p[0])
        low = max(path, key=lambda p: min(p[1], 1150) + 0.6 * p[0])
        self.apply(stencil, Gradient(lift(colour, 0.07 * depth), lift(colour, -0.10 * depth), top, low))
        self.apply(self._edge(stencil, -reach * 0.45, -reach * 0.9, reach * 0.75), lift(colour, -0.22), 0.62 * depth)
        self.apply(self._edge(stencil, reach * 0.35, reach * 0.5, reach * 0.55), lift(colour, 0.20), 0.55 * depth)
        if rim is not None:
            self.apply(
                self._edge(stencil, -0.11 * reach - 2, 0.08 * reach + 1, 1.2), mix(rim, Rgb(255, 255, 255), 0.35), 0.8
            )
        return stencil

    def glow(self, centre: Point, radius: float, colour: Rgb, alpha: float, *, clip: Stencil | None = None) -> None:
        """A round light that fades to nothing at the radius."""
        x, y = self._pixel(centre)
        r = max(1, round(radius * self.scale))
        coverage = _falloff().resize((2 * r, 2 * r), Image.Resampling.BILINEAR)
        stencil = Stencil(coverage, round(x) - r, round(y) - r)
        cut = stencil if clip is None else _cut(stencil, clip)
        if cut is not None:
            self.apply(cut, colour, alpha)

    def apply(self, stencil: Stencil, paint: Paint, alpha: float = 1.0) -> None:
        """Paint through a stencil."""
        coverage = stencil.coverage
        if alpha < 1:
            coverage = coverage.point(_scaled(round(alpha, 3)))
        match paint:
            case Rgb():
                self.image.paste(
                    paint, (stencil.x, stencil.y, stencil.x + coverage.width, stencil.y + coverage.height), coverage
                )
            case Gradient():
                self.image.paste(self._render(paint, stencil), (stencil.x, stencil.y), coverage)

    def _edge(self, stencil: Stencil, dx: float, dy: float, blur: float) -> Stencil:
        """The part of a stencil that its copy moved by (dx, dy) leaves bare: a soft crescent along one side."""
        moved = ImageChops.offset(stencil.coverage, round(dx * self.scale), round(dy * self.scale))
        if blur * self.scale > 0.3:
            moved = moved.filter(ImageFilter.GaussianBlur(blur * self.scale))
        bare = ImageChops.multiply(stencil.coverage, ImageChops.invert(moved))
        return Stencil(bare, stencil.x, stencil.y)

    def _render(self, paint: Gradient, stencil: Stencil) -> Image.Image:
        """The gradient's colours over the stencil's rectangle."""
        (sx, sy), (ex, ey) = self._pixel(paint.start), self._pixel(paint.end)
        ux, uy = ex - sx, ey - sy
        length = max(1e-6, math.hypot(ux, uy))
        ox, oy = stencil.x - sx, stencil.y - sy
        if paint.radial:
            k = 128 / length
            ramp, outside = _distance(), 255
            coefficients = (k, 0.0, 128 + k * ox, 0.0, k, 128 + k * oy)
        else:
            ramp, outside = _ramp(), 0
            kx, ky = 256 * ux / length**2, 256 * uy / length**2
            coefficients = (0.0, 0.0, 2.0, kx, ky, _RAMP_ZERO + kx * ox + ky * oy)
        level = ramp.transform(
            stencil.coverage.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR, fillcolor=outside
        )
        return Image.merge("RGB", [level.point(list(lut)) for lut in _luts(paint.inner, paint.outer)])

    def _pixel(self, point: Point) -> Point:
        return point[0] * self.scale + self._dx, point[1] * self.scale + self._dy

    def _design(self, pixel: Point) -> Point:
        return (pixel[0] - self._dx) / self.scale, (pixel[1] - self._dy) / self.scale


_RAMP_ZERO: Final = 4096.0


@lru_cache(maxsize=1)
def _ramp() -> Image.Image:
    """A column that is black, rises over 256 rows from `_RAMP_ZERO` on, and stays white."""
    column = bytes(round(_RAMP_ZERO)) + bytes(range(256)) + b"\xff" * round(_RAMP_ZERO)
    return Image.frombytes("L", (1, len(column)), column).resize((4, len(column)))


@lru_cache(maxsize=1)
def _distance() -> Image.Image:
    """The distance from the middle, 256 x 256: 0 there, 255 at the edges (Pillow's own reaches it in the corners)."""
    return Image.radial_gradient("L").point([min(255, round(v * math.sqrt(2))) for v in range(256)])


@lru_cache(maxsize=1)
def _falloff() -> Image.Image:
    """A disc of light, 256 x 256: full in the middle, smoothly nothing at the edge."""
    return _distance().point([round(255 * (1 - v / 255) ** 2) for v in range(256)])


@lru_cache(maxsize=256)
def _scaled(alpha: float) -> list[int]:
    return [round(v * alpha) for v in range(256)]


@lru_cache(maxsize=512)
def _luts(inner: Rgb, outer: Rgb) -> tuple[tuple[int, ...], ...]:
    """Per channel, the 256 values from inner to outer, through OKLab."""
    colours = [mix(inner, outer, i / 255) for i in range(256)]
    return tuple(zip(*colours, strict=True))


def _cut(stencil: Stencil, clip: Stencil) -> Stencil | None:
    """The stencil where the clip covers it, in the overlap of their rectangles."""
    left, top = max(stencil.x, clip.x), max(stencil.y, clip.y)
    right = min(stencil.x + stencil.coverage.width, clip.x + clip.coverage.width)
    bottom = min(stencil.y + stencil.coverage.height, clip.y + clip.coverage.height)
    if right <= left or bottom <= top:
        return None
    first = stencil.coverage.crop((left - stencil.x, top - stencil.y, right - stencil.x, bottom - stencil.y))
    second = clip.coverage.crop((left - clip.x, top - clip.y, right - clip.x, bottom - clip.y))
    return Stencil(ImageChops.multiply(first, second), left, top)
