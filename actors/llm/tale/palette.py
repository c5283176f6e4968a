"""Five colours that go together: a hue from the words or the being, a scheme from the seed, a cast from the temper."""

import colorsys
import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

COLOURS: Final[Mapping[str, tuple[int, int, int]]] = MappingProxyType(
    {
        "red": (2, 72, 50), "scarlet": (8, 80, 50), "crimson": (348, 75, 46), "ruby": (345, 75, 44),
        "orange": (26, 88, 54), "amber": (38, 88, 52), "gold": (44, 82, 50), "golden": (44, 82, 50),
        "yellow": (50, 88, 56), "lime": (80, 65, 50), "green": (130, 48, 42), "emerald": (150, 62, 38),
        "mint": (155, 48, 68), "teal": (180, 58, 38), "turquoise": (176, 60, 48), "cyan": (188, 70, 50),
        "blue": (215, 68, 50), "azure": (205, 78, 55), "navy": (222, 60, 28), "indigo": (243, 52, 42),
        "violet": (270, 58, 55), "purple": (282, 52, 46), "lavender": (262, 48, 74), "magenta": (312, 66, 50),
        "pink": (338, 74, 70), "rose": (345, 62, 64), "brown": (26, 44, 36), "copper": (22, 58, 46),
        "bronze": (32, 52, 42), "silver": (212, 12, 68), "grey": (215, 8, 52), "gray": (215, 8, 52),
        "black": (232, 16, 16), "white": (42, 24, 93), "ivory": (44, 44, 88),
    }
)  # fmt: skip
_SCHEMES: Final = ((-28, 152), (24, 182), (32, 204), (-40, 122))  # degrees to the neighbour and to the accent
_HUES: Final = (
    (15, "vermilion"), (35, "amber"), (52, "honey gold"), (80, "moss green"), (150, "fern green"), (185, "sea green"),
    (215, "harbour blue"), (245, "dusk blue"), (275, "violet"), (310, "plum"), (345, "rose"), (360, "vermilion"),
)  # fmt: skip


def compose_palette(
    hue: int, colours: Sequence[str], saturation: int, lightness: int, rng: random.Random
) -> tuple[tuple[str, ...], str]:
    """Five colours (body, its neighbour, accent, deep shade, pale light) as #rrggbb, and the first and third in words.

    `hue` in degrees serves when the prompt names none of `colours`; `saturation` and `lightness` shift by hundredths.
    """
    to_neighbour, to_accent = rng.choice(_SCHEMES)
    if colours:
        h, s, v = COLOURS[colours[0]]
    else:
        h, s, v = (hue + rng.randint(-16, 16)) % 360, 56, 52
    accent = COLOURS[colours[1]] if len(colours) > 1 else ((h + to_accent) % 360, max(s, 46), 58)
    body_s = _clamp(s + saturation, 5, 92)
    body = _hex(h, body_s, _clamp(v + lightness, 14, 94))
    palette = (
        body,
        _hex(h + to_neighbour, _clamp(body_s - 6, 5, 80), _clamp(v + lightness + (14 if v < 60 else -16), 22, 84)),
        _hex(accent[0], _clamp(accent[1] + saturation // 2, 5, 92), accent[2]),
        _hex(h + to_neighbour // 2, _clamp(body_s, 18, 46), 18),
        _hex(accent[0], 42, 92),
    )
    words = f"{colours[0] if colours else _word(h)} and {colours[1] if len(colours) > 1 else _word(accent[0])}"
    return palette, words


def _word(hue: int) -> str:
    return next(word for limit, word in _HUES if hue % 360 <= limit)


def _hex(hue: float, saturation: int, lightness: int) -> str:
    rgb = colorsys.hls_to_rgb(hue % 360 / 360, lightness / 100, saturation / 100)
    return "#" + "".join(f"{round(255 * c):02x}" for c in rgb)


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))
