"""How long a drawing will still take, from what this machine has taken before; pure, `now` in seconds.

A drawing is a row of spans: load, first step, the other steps, decode. Their past durations are samples; an estimate
between two measured points moves towards the next one and never reaches it, and ends when the past has nothing to say.
"""

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Final

Range = tuple[float, float]  # p50 and p90, seconds

KEPT_STEPS: Final = 32  # a drawing's own: its first and the latest, however many a bar has counted
_SHORT_OF_NEXT: Final = 0.95  # of the way to the next measured point


class Span(enum.Enum):
    """The parts of a drawing that are timed."""

    LOAD = "load"  # from the start of the job to its step bar
    FIRST_STEP = "first_step"  # which may read the prompt and the weights: mflux evaluates lazily
    STEP = "step"  # of the others, the mean of the latest of one drawing
    DECODE = "decode"  # from the last step to the end of the job


_SPANS: Final = tuple(Span)  # since iterating over an enumeration is slow, and done at each step
_TO_COME: Final = {span: _SPANS[place + (span is not Span.STEP) :] for place, span in enumerate(_SPANS)}

Past = Mapping[Span, Sequence[float]]


def quantiles(samples: Sequence[float]) -> Range | None:
    """The median of past durations and their p90 by nearest rank, or None without any."""
    if not samples:
        return None
    ordered, count = sorted(samples), len(samples)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2, ordered[math.ceil(0.9 * count) - 1]


class Forecast:
    """One drawing of `steps` steps (0: unknown yet); tell it what was measured, ask it for fractions and times left."""

    def __init__(self, past: Past, steps: int) -> None:
        self._past = {span: quantiles(past.get(span, ())) for span in Span}
        self._planned = steps
        self.begin(0.0)

    def begin(self, now: float) -> None:
        """The job has begun."""
        self._steps = self._planned
        self._step = -1  # no step bar has shown yet
        self._since = now  # the latest measured point
        self._usual = True  # nothing was measured so far that is not part of every drawing
        self._own_steps: list[float] = []
        self._pace = self._past[Span.STEP]  # what a step takes; kept, as each estimate needs it more than once
        self._measured: dict[Span, float] = {}

    def downloading(self) -> None:
        """What goes on is no part of other drawings: the span that it falls into is neither foretold nor learned."""
        self._usual = False

    def stepped(self, step: int, steps: int, now: float) -> None:
        """The engine said that `step` of `steps` is done; 0 says that its loop begins, or another one after it."""
        took, advance = now - self._since, step - self._step
        if self._step < 0:
            if step == 0 and self._usual:
                self._measured[Span.LOAD] = took
            self._usual = step == 0
        elif advance < 0:
            self._own_steps.clear()
            self._pace = self._past[Span.STEP]
            self._usual = False
        elif advance > 0:
            self._own_steps += [took / advance] * min(advance, KEPT_STEPS)
            del self._own_steps[1:-KEPT_STEPS]
            # Its own steps say more about the next ones than the past does; the first is the worst measure.
            self._pace = quantiles(self._own_steps[1:]) or self._past[Span.STEP] or quantiles(self._own_steps)
            if self._step == 0:
                self._measured[Span.FIRST_STEP] = took / advance
        self._step, self._steps, self._since = step, steps, now

    @property
    def step_s(self) -> float | None:
        """How long the latest step took."""
        return self._own_steps[-1] if self._own_steps else None

    @property
    def span(self) -> Span:
        """What is going on now."""
        if self._step < 0:
            return Span.LOAD
        if self._step == self._steps:
            return Span.DECODE
        return Span.FIRST_STEP if self._step == 0 else Span.STEP

    @property
    def whole(self) -> Range | None:
        """What such a drawing takes from its beginning to its end; None while that is unknown."""
        return self._sum(_SPANS) if self._planned else None

    def fraction(self, now: float) -> float | None:
        """How far the present span probably is, from 0 to below 1; None when the past says nothing, or nothing more."""
        usual, elapsed = self._past[self.span], now - self._since
        if usual is None or elapsed > usual[1] or not self._is_foretold:
            return None
        expected = self._expected(self.span) or usual
        return min(elapsed / expected[0], 1.0) * _SHORT_OF_NEXT if expected[0] > 0 else _SHORT_OF_NEXT

    def eta(self, now: float) -> Range | None:
        """Seconds to the end of the drawing, p50 and p90; None while a part is unknown, or takes longer than ever.

        A decode that was never seen is left out, so that a first drawing has an ETA from its own steps.
        """
        span, elapsed = self.span, now - self._since
        present = self._expected(span)
        if present is None or elapsed > present[1] or not self._is_foretold:
            return None
        rest = self._sum(_TO_COME[span], after=max(self._step, 0) + 1)
        if rest is None:
            return None
        p50 = max(present[0] - elapsed, 0.0) + rest[0]
        p90 = max(present[1] - elapsed, 0.0) + rest[1]
        return round(p50, 1), round(max(p50, p90), 1)

    def lessons(self, now: float) -> dict[Span, float]:
        """The seconds that each span took in a drawing that has ended well at `now`."""
        if not self._usual or self._step != self._steps:
            return {}
        later = self._own_steps[1:]
        steps = {Span.STEP: fmean(later)} if later else {}
        return {**self._measured, **steps, Span.DECODE: now - self._since}

    @property
    def _is_foretold(self) -> bool:
        return self._steps > 0 and (self._usual or self._step >= 0)

    def _sum(self, spans: Iterable[Span], *, after: int = 1) -> Range | None:
        """The time of several spans, with the steps that come `after` so many."""
        p50 = p90 = 0.0
        for span in spans:
            count = max(self._steps - after, 0) if span is Span.STEP else 1
            expected = self._expected(span)
            if expected is not None:
                p50 += count * expected[0]
                p90 += count * expected[1]
            elif count and span is not Span.DECODE:
                return None
        return p50, p90

    def _expected(self, span: Span) -> Range | None:
        """What the span, or one step of it, takes."""
        return self._pace if span is Span.STEP else self._past[span]
