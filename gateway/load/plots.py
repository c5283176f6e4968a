"""Line plots as SVG, drawn by hand: a few curves over seconds, with axes that people can read."""

import math
from collections.abc import Sequence
from html import escape
from typing import Final

import msgspec

WIDTH: Final = 640
HEIGHT: Final = 220
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 34, 30
TICKS: Final = 4


class Curve(msgspec.Struct, frozen=True):
    """One line: its name, its colour as CSS knows it, and a value for each time, or None for none."""

    name: str
    colour: str
    values: Sequence[float | None]


def plot(title: str, unit: str, times_s: Sequence[float], curves: Sequence[Curve]) -> str:
    """An `<svg>` of the curves over the times; a curve is interrupted where it has no value."""
    top = _round_up(max((v for curve in curves for v in curve.values if v is not None), default=0.0))
    end = max(times_s, default=0.0) or 1.0
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<text class="title" x="{LEFT}" y="18">{escape(title)}</text>',
        *_grid(top, unit, end),
        *(_line(curve, times_s, end, top) for curve in curves),
        *_legend(curves),
        "</svg>",
    ]
    return "\n".join(parts)


def _grid(top: float, unit: str, end: float) -> list[str]:
    parts = []
    for tick in range(TICKS + 1):
        y = _y(top * tick / TICKS, top)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        label = f"{_number(top * tick / TICKS)} {unit}".rstrip()
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>')
    step = _round_up(end / 6)
    for place in range(math.floor(end / step) + 1):
        x = _x(place * step, end)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{_number(place * step)} s</text>'
        )
    return parts


def _line(curve: Curve, times_s: Sequence[float], end: float, top: float) -> str:
    steps, pen = [], "M"
    for at, value in zip(times_s, curve.values, strict=True):
        if value is None:
            pen = "M"
            continue
        steps.append(f"{pen}{_x(at, end):.1f} {_y(value, top):.1f}")
        pen = "L"
    return f'<path d="{" ".join(steps)}" stroke="{escape(curve.colour)}"/>'


def _legend(curves: Sequence[Curve]) -> list[str]:
    parts, x = [], WIDTH - RIGHT
    for curve in reversed(curves):
        parts.append(f'<text class="tick" x="{x}" y="18" text-anchor="end">{escape(curve.name)}</text>')
        x -= 7 * len(curve.name) + 16
        parts.append(f'<rect x="{x}" y="9" width="10" height="10" rx="2" fill="{escape(curve.colour)}"/>')
        x -= 14
    return parts


def _x(at: float, end: float) -> float:
    return LEFT + at / end * (WIDTH - LEFT - RIGHT)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, …, for an axis; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= value * (1 - 1e-9))


def _number(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:,.4g}"
