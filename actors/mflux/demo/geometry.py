"""Paths: every shape of the portrait is a closed polygon in design units, a square of 1000 x 1000, y downwards."""

import math
from collections.abc import Sequence

Point = tuple[float, float]
Path = Sequence[Point]

MIDDLE = 500.0


def ellipse(cx: float, cy: float, rx: float, ry: float | None = None, *, turn: float = 0.0) -> Path:
    """An ellipse turned clockwise by `turn` degrees; a circle when `ry` is left out."""
    return superellipse(cx, cy, rx, rx if ry is None else ry, power=2.0, turn=turn)


def superellipse(cx: float, cy: float, rx: float, ry: float, *, power: float, turn: float = 0.0) -> Path:
    """Lamé's curve |x/rx|^power + |y/ry|^power = 1: an ellipse at 2, a rounded box above."""
    count = 96 if max(rx, ry) > 60 else 48
    points: list[Point] = []
    for i in range(count):
        c, s = math.cos(math.tau * i / count), math.sin(math.tau * i / count)
        x = math.copysign(abs(c) ** (2 / power), c) * rx
        y = math.copysign(abs(s) ** (2 / power), s) * ry
        points.append((cx + x, cy + y))
    return rotate(points, turn, (cx, cy)) if turn else points


def spline(points: Path, *, closed: bool = True, steps: int = 10) -> Path:
    """A Catmull-Rom curve through the points."""
    count = len(points)
    curve: list[Point] = []
    for i in range(count if closed else count - 1):
        if closed:
            p0, p1, p2, p3 = (points[(i + k) % count] for k in (-1, 0, 1, 2))
        else:
            p0, p1, p2, p3 = (points[min(count - 1, max(0, i + k))] for k in (-1, 0, 1, 2))
        for step in range(steps):
            t = step / steps
            curve.append((_catmull(p0[0], p1[0], p2[0], p3[0], t), _catmull(p0[1], p1[1], p2[1], p3[1], t)))
    if not closed:
        curve.append(points[-1])
    return curve


def symmetric(right: Path) -> Path:
    """A smooth closed shape from its right half, listed from top to bottom; both ends lie on the middle axis."""
    left = [(2 * MIDDLE - x, y) for x, y in reversed(right) if abs(x - MIDDLE) > 1e-6]
    return spline([*right, *left])


def ribbon(points: Path, start: float, end: float, *, bulge: float = 0.0) -> Path:
    """A smooth stroke along the points, its width going from `start` to `end`, wider by `bulge` in the middle."""
    line = spline(points, closed=False, steps=8)
    left: list[Point] = []
    right: list[Point] = []
    for i, (x, y) in enumerate(line):
        (ax, ay), (bx, by) = line[max(0, i - 1)], line[min(len(line) - 1, i + 1)]
        length = math.hypot(bx - ax, by - ay) or 1.0
        t = i / (len(line) - 1)
        half = (start + (end - start) * t + bulge * math.sin(math.pi * t)) / 2
        nx, ny = -(by - ay) / length * half, (bx - ax) / length * half
        left.append((x + nx, y + ny))
        right.append((x - nx, y - ny))
    return [*left, *_cap(line[-1], right[-1], left[-1]), *reversed(right), *_cap(line[0], left[0], right[0])]


def star(cx: float, cy: float, radius: float, *, points: int = 5, inner: float = 0.45, turn: float = -90.0) -> Path:
    """A star of so many points, its notches at `inner` of the radius."""
    corners: list[Point] = []
    for i in range(2 * points):
        r = radius if i % 2 == 0 else radius * inner
        angle = math.radians(turn) + math.pi * i / points
        corners.append((cx + r * math.cos(angle), cy + r * math.sin(angle)))
    return corners


def mirror(path: Path) -> Path:
    """The path on the other side of the middle axis."""
    return [(2 * MIDDLE - x, y) for x, y in path]


def rotate(path: Path, degrees: float, centre: Point) -> Path:
    """The path turned clockwise about the centre."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    cx, cy = centre
    return [(cx + (x - cx) * c - (y - cy) * s, cy + (x - cx) * s + (y - cy) * c) for x, y in path]


def move(path: Path, dx: float, dy: float, *, scale: float = 1.0) -> Path:
    """The path scaled about the origin, then moved."""
    return [(x * scale + dx, y * scale + dy) for x, y in path]


def _catmull(a: float, b: float, c: float, d: float, t: float) -> float:
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t**3)


def _cap(centre: Point, first: Point, last: Point) -> Path:
    """A round end: the half circle about the centre from `first` back to `last`."""
    radius = math.hypot(first[0] - centre[0], first[1] - centre[1])
    if radius < 0.5:
        return []
    angle = math.atan2(last[1] - centre[1], last[0] - centre[0])
    return [
        (centre[0] + radius * math.cos(angle - math.pi * i / 8), centre[1] + radius * math.sin(angle - math.pi * i / 8))
        for i in range(1, 8)
    ]
