"""Colour arithmetic in OKLab, where equal steps look equal, so tints and shades stay clean instead of muddy."""

import math
from functools import lru_cache
from typing import NamedTuple


class Rgb(NamedTuple):
    """An sRGB colour, 0-255 a channel."""

    r: int
    g: int
    b: int


class Lch(NamedTuple):
    """A colour in OKLCh: lightness 0-1, chroma 0-0.4, hue in degrees."""

    lightness: float
    chroma: float
    hue: float


def parse(text: str) -> Rgb:
    """The colour written as `#rrggbb`; raises ValueError for anything else."""
    if len(text) != 7 or text[0] != "#":
        raise ValueError(f"{text!r} is not a colour like #a0c4ff")
    return Rgb(int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16))


@lru_cache(maxsize=4096)
def to_lch(colour: Rgb) -> Lch:
    """sRGB to OKLCh; matrices from Björn Ottosson, "A perceptual color space for image processing" (2020)."""
    r, g, b = (_linear(c / 255) for c in colour)
    l_ = math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
    m_ = math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
    s_ = math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
    lightness = 0.2104542553 * l_ + 0.7936177850 * m_ - 0.0040720468 * s_
    a = 1.9779984951 * l_ - 2.4285922050 * m_ + 0.4505937099 * s_
    b_ = 0.0259040371 * l_ + 0.7827717662 * m_ - 0.8086757660 * s_
    return Lch(lightness, math.hypot(a, b_), math.degrees(math.atan2(b_, a)) % 360)


@lru_cache(maxsize=4096)
def to_rgb(colour: Lch) -> Rgb:
    """OKLCh to sRGB, channels clipped to what a screen can show."""
    a = colour.chroma * math.cos(math.radians(colour.hue))
    b = colour.chroma * math.sin(math.radians(colour.hue))
    l3 = (colour.lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    m3 = (colour.lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s3 = (colour.lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return Rgb(
        _gamma(4.0767416621 * l3 - 3.3077115913 * m3 + 0.2309699292 * s3),
        _gamma(-1.2684380046 * l3 + 2.6097574011 * m3 - 0.3413193965 * s3),
        _gamma(-0.0041960863 * l3 - 0.7034186147 * m3 + 1.7076147010 * s3),
    )


def tone(colour: Rgb, *, light: float | None = None, chroma: float | None = None, hue: float | None = None) -> Rgb:
    """The colour with the given OKLCh parts replaced."""
    old = to_lch(colour)
    return to_rgb(
        Lch(
            old.lightness if light is None else light,
            old.chroma if chroma is None else chroma,
            old.hue if hue is None else hue % 360,
        )
    )


def lift(colour: Rgb, amount: float) -> Rgb:
    """A tint (amount > 0) or shade (< 0), in steps of OKLab lightness; shades lean to blue, tints to yellow."""
    old = to_lch(colour)
    lightness = min(0.985, max(0.06, old.lightness + amount))
    fade = 1 - 0.35 * abs(lightness - old.lightness)
    return to_rgb(Lch(lightness, old.chroma * fade, _lean(old.hue, 285 if amount < 0 else 90, 18 * abs(amount))))


def mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    """The colour `share` (0-1) of the way from the first to the second, through OKLab."""
    a, b = to_lch(first), to_lch(second)
    x = (1 - share) * a.chroma * math.cos(math.radians(a.hue)) + share * b.chroma * math.cos(math.radians(b.hue))
    y = (1 - share) * a.chroma * math.sin(math.radians(a.hue)) + share * b.chroma * math.sin(math.radians(b.hue))
    lightness = (1 - share) * a.lightness + share * b.lightness
    return to_rgb(Lch(lightness, math.hypot(x, y), math.degrees(math.atan2(y, x)) % 360))


def hue_gap(first: Rgb, second: Rgb) -> float:
    """Degrees between two hues, 0-180."""
    return abs((to_lch(first).hue - to_lch(second).hue + 180) % 360 - 180)


def _lean(hue: float, towards: float, degrees: float) -> float:
    gap = (towards - hue + 180) % 360 - 180
    return (hue + max(-degrees, min(degrees, gap))) % 360


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def _gamma(channel: float) -> int:
    channel = min(1.0, max(0.0, channel))
    return round(255 * (12.92 * channel if channel <= 0.0031308 else 1.055 * channel ** (1 / 2.4) - 0.055))
