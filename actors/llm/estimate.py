"""How far the writing is, honestly, although nobody knows how long a persona will be."""

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from protocol.persona import Persona, persona_strings


class Typical(msgspec.Struct, frozen=True):
    """How long a field usually is: the median and the 90th percentile, in code points over all its strings."""

    p50: float
    p90: float


TYPICAL: Final[Mapping[str, Typical]] = MappingProxyType(
    {
        "name": Typical(9, 20),
        "species": Typical(14, 28),
        "tagline": Typical(60, 100),
        "traits": Typical(70, 120),
        "backstory": Typical(650, 1100),
        "greeting": Typical(150, 260),
        "system_prompt": Typical(550, 1000),
        "palette": Typical(32, 35),
        "avatar_prompt": Typical(300, 500),
    }
)
MIN_OBSERVED_S: Final = 0.5  # before that a rate says nothing
KEPT_LENGTHS: Final = 50  # of each field: what a model wrote before that says little of what it writes now
MIN_LENGTHS: Final = 3  # before that the table knows better
_OVERRUN: Final = 0.25  # of the spread: what a field that is longer than usual is still expected to grow


class LengthHistory:
    """How long the fields of one model's latest personas were.

    `past` are the lengths by field of earlier ones, oldest first; `keep` is told those of each new one.
    """

    def __init__(
        self, past: Iterable[Mapping[str, int]] = (), keep: Callable[[Mapping[str, int]], None] | None = None
    ) -> None:
        self._lengths = {name: deque[int](maxlen=KEPT_LENGTHS) for name in TYPICAL}
        self._keep = keep
        for fields in past:
            self._note(fields)

    def add(self, persona: Persona) -> None:
        """Note an accepted persona."""
        totals = dict.fromkeys(TYPICAL, 0)
        for path, text in persona_strings(persona):
            totals[path.split("/")[1]] += len(text)
        self._note(totals)
        if self._keep is not None:
            self._keep(totals)

    def _note(self, fields: Mapping[str, int]) -> None:
        for name, length in fields.items():
            if name in self._lengths:
                self._lengths[name].append(length)

    def typical(self) -> dict[str, Typical]:
        """The fields seen often enough to say."""
        return {
            name: Typical(_quantile(lengths, 0.5), _quantile(lengths, 0.9))
            for name, lengths in self._lengths.items()
            if len(lengths) >= MIN_LENGTHS
        }


def _quantile(lengths: Collection[int], share: float) -> int:
    """The nearest rank."""
    return sorted(lengths)[math.ceil(share * len(lengths)) - 1]


class WritingEstimate:
    """done / (done + expected remaining), in code points; of the measures without a known length the least wrong.

    `history` maps fields to lengths seen before; the others are as TYPICAL says. A field is over once another begins.
    """

    def __init__(self, history: Mapping[str, Typical] = MappingProxyType({})) -> None:
        self._typical = {**TYPICAL, **history}
        self._done: dict[str, int] = {}
        self._current = ""
        self._began: tuple[float, int] | None = None
        self._latest = 0.0

    def grew(self, path: str, code_points: int, now: float) -> None:
        """Note that the string at `path` grew at time `now` (seconds)."""
        self._current = path.split("/")[1]
        self._done[self._current] = self._done.get(self._current, 0) + code_points
        if self._began is None:
            self._began = now, code_points
        self._latest = now

    @property
    def fraction(self) -> float:
        """The share that is written: from 0, never falling, below 1 until the very end, which others declare."""
        done = sum(self._done.values())
        return done / (done + self._remaining(0.5))

    @property
    def eta_s(self) -> tuple[float, float] | None:
        """Seconds until it is written, [p50, p90], from the rate so far; None while there is no rate."""
        if self._began is None or self._latest - self._began[0] < MIN_OBSERVED_S:
            return None
        began, first = self._began
        rate = (sum(self._done.values()) - first) / (self._latest - began)
        return (self._remaining(0.5) / rate, self._remaining(0.9) / rate) if rate else None

    def _remaining(self, quantile: float) -> float:
        """Code points still to come, each field being as long as that quantile says; it never rises as text grows."""
        total = 0.0
        for name, typical in self._typical.items():
            if name not in self._done or name == self._current:
                expected = typical.p50 if quantile == 0.5 else typical.p90
                overrun = _OVERRUN * (typical.p90 - typical.p50) + 1
                total += max(expected - self._done.get(name, 0), overrun)
        return total
