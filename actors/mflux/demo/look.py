"""What is to be drawn, read from a persona's or a prompt's words: kind, mood, things, scenery and colours."""

import hashlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from actors.mflux.demo.colour import Lch, Rgb, hue_gap, lift, mix, parse, to_lch, to_rgb, tone
from actors.mflux.demo.vocabulary import AIR, COLOURS, FOLK, HOMES, KINDS, MOODS, NATURAL, SCENERIES, THINGS, singular

SKINS: Final = tuple(parse(c) for c in ("#f6cfae", "#e8b48c", "#cf9468", "#a86f48", "#80502f"))


@dataclass(frozen=True)
class Colours:
    """The parts a palette plays: `coat` is the body, `pale` its belly, `glow` lights the rim and the sky.

    `cloth` is the palette's main colour also where the coat is skin.
    """

    coat: Rgb
    cloth: Rgb
    pale: Rgb
    accent: Rgb
    iris: Rgb
    ink: Rgb
    sky: Rgb
    horizon: Rgb
    glow: Rgb


@dataclass(frozen=True)
class Look:
    """Everything the drawing depends on besides its size; equal looks give equal pixels."""

    kind: str
    mood: str
    things: Mapping[str, str]
    scenery: str
    colours: Colours
    seed: str

    def dice(self, purpose: str) -> random.Random:
        """A generator of its own for each purpose, the same whenever asked."""
        return random.Random(f"{self.seed}/{purpose}")


def read_look(*, species: str, words: str, palette: list[str], seed: int) -> Look:
    """The look of a being: its species decides the kind, the other words (traits, prompt) the rest.

    `palette` holds `#rrggbb`; when empty, colour words and then the seed choose.
    """
    said = "\0".join((str(seed), species, words, *palette))
    essence = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()
    dice = random.Random(essence)
    named, spoken = _words(species), _words(words)
    kind = next(filter(None, (_first(t, w) for w in (named, spoken) for t in (KINDS, FOLK))), None)
    kind = kind or ("beast" if named else dice.choice(sorted(KINDS)))
    scenery = _first(SCENERIES, named + spoken) or HOMES.get(kind) or dice.choice(sorted(SCENERIES))
    things = {place: found for place, choice in THINGS.items() if (found := _first(choice, named + spoken))}
    if not things and dice.random() < 0.6:
        place, thing = dice.choice(
            (("neck", "scarf"), ("neck", "bow"), ("head", "flower"), ("head", "leaf"), ("air", "stars"))
        )
        things[place] = thing
    colours = [parse(c) for c in palette] or _spoken_colours(named + spoken, kind, dice)
    mood = _first(MOODS, spoken) or dice.choice(("cheerful", "gentle", "curious"))
    parts = cast(colours, dice)
    if kind in FOLK:
        parts = replace(parts, coat=dice.choice(SKINS), pale=Rgb(255, 240, 226))
    if scenery in AIR:
        parts = replace(parts, sky=_airy(parts.sky, AIR[scenery]), horizon=_airy(parts.horizon, AIR[scenery]))
    return Look(kind, mood, MappingProxyType(things), scenery, parts, essence)


def cast(palette: list[Rgb], dice: random.Random) -> Colours:
    """Give each colour of the palette a part, the body rather to an early one; being and sky differ in lightness."""
    coat = max(palette, key=lambda c: _body_worth(to_lch(c)) - 0.12 * palette.index(c))
    others = [c for c in palette if c != coat] or [coat]
    accent = max(others, key=lambda c: to_lch(c).chroma + hue_gap(c, coat) / 900)
    sky = min(others, key=lambda c: to_lch(c).lightness + (0.25 if c == accent and len(others) > 1 else 0))
    lch = to_lch(coat)
    coat = to_rgb(Lch(min(0.82, max(0.52, lch.lightness)), min(0.17, max(lch.chroma, 0.02)), lch.hue))
    deep = to_lch(sky)
    sky = to_rgb(Lch(min(0.40, max(0.24, deep.lightness)), min(0.11, max(0.05, deep.chroma)), _clear(deep.hue)))
    accent = tone(accent, light=min(0.82, max(0.60, to_lch(accent).lightness)), chroma=max(0.11, to_lch(accent).chroma))
    if hue_gap(accent, coat) < 25:
        accent = tone(accent, hue=to_lch(coat).hue + dice.choice((150, 180, 210)))
    towards = (to_lch(accent).hue - to_lch(sky).hue + 180) % 360 - 180
    horizon = tone(sky, light=0.55, chroma=0.095, hue=to_lch(sky).hue + max(-50, min(50, towards)))
    glow = tone(mix(accent, sky, 0.2), light=0.78)
    pale = mix(lift(coat, 0.22), Rgb(255, 246, 232), 0.55)
    hue = to_lch(accent).hue
    iris = tone(accent, light=0.62, chroma=0.14, hue=70 if hue < 60 or hue > 345 else hue)
    ink = to_rgb(Lch(0.20, 0.035, to_lch(coat).hue))
    return Colours(coat, coat, pale, accent, iris, ink, sky, horizon, glow)


def _clear(hue: float) -> float:
    """The hue, or the nearest that does not turn to mud when dark, as yellows and olives do."""
    if not 30 < hue < 150:
        return hue
    return 30.0 if hue < 80 else 150.0


def _airy(colour: Rgb, hue: float) -> Rgb:
    """The colour with its hue brought to within 45 degrees of the given one."""
    gap = (to_lch(colour).hue - hue + 180) % 360 - 180
    return tone(colour, hue=hue + max(-45.0, min(45.0, gap)))


def _body_worth(colour: Lch) -> float:
    """How well a colour serves as a body: neither near black nor near white, and rather vivid than grey."""
    return min(colour.chroma, 0.15) * 2 - abs(colour.lightness - 0.68)


def _spoken_colours(words: list[str], kind: str, dice: random.Random) -> list[Rgb]:
    """Colours named in the words, else the kind's own or a chance one, filled up with a scheme about the first."""
    named = [parse(COLOURS[w]) for w in dict.fromkeys(words) if w in COLOURS][:3]
    if not named and kind in NATURAL:
        named = [parse(NATURAL[kind])]
    hue = to_lch(named[0]).hue if named else dice.uniform(0, 360)
    scheme = [Lch(0.70, 0.13, hue), Lch(0.30, 0.08, hue + 200 + dice.uniform(-40, 40)), Lch(0.76, 0.14, hue + 160)]
    return named + [to_rgb(Lch(c.lightness, c.chroma, c.hue % 360)) for c in scheme[min(1, len(named)) :]]


def _words(text: str) -> list[str]:
    return [singular(word) for word in re.findall(r"[a-z]+", text.lower())]


def _first(table: dict[str, frozenset[str]], words: list[str]) -> str | None:
    """The entry that the earliest telling word belongs to."""
    for word in words:
        for name, signs in table.items():
            if word in signs:
                return name
    return None
