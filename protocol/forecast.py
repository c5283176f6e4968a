"""How long a drawing will still take, from what this machine has taken before; pure, `now` in seconds.

A drawing is a row of spans: load, first step, the other steps, decode. Their past durations are samples; an estimate
between two measured points moves towards the next one and never reaches it, and ends when the past has nothing to say.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import Final

Range = tuple[float, float]  # p50 and p90, seconds

_SHORT_OF_NEXT: Final = 0.95  # of the way to the next measured point


class Span(enum.Enum):
    """The parts of a drawing that are timed, by the names under which they are kept."""

    LOAD = "load"  # from the start of the command to its step bar
    FIRST_STEP = "first_step"  # which may read the weights
    STEP = "step"
    DECODE = "decode"  # from the last step to the end of the command


History = Mapping[Span, Sequence[float]]


def quantiles(samples: Sequence[float]) -> Range | None:
    """The p50 and p90 of past durations by nearest rank, or None without any."""
    if not samples:
        return None
    ordered = sorted(samples)
    last = len(ordered) - 1
    return ordered[round(0.5 * last)], ordered[round(0.9 * last)]


class Forecast:
    """One drawing under way; tell it what was measured, ask it for fractions and times left."""

    def __init__(self, history: History, steps: int, now: float) -> None:
        self._history = history
        self._steps = steps
        self._step = -1  # no step bar has shown yet
        self._since = now  # when the last measured point was
        self._own_steps: list[float] = []
        self.measured: list[tuple[Span, float]] = []

    def stepped(self, step: int, steps: int, now: float) -> None:
        """The engine said that `step` of `steps` is done; 0 says that its loop begins."""
        took = now - self._since
        if self._step < 0:
            self.measured.append((Span.LOAD, took))
        elif step > self._step:
            each = took / (step - self._step)
            self._own_steps += [each] * (step - self._step)
            self.measured.append((Span.FIRST_STEP if self._step == 0 else Span.STEP, each))
        self._step, self._steps, self._since = step, steps, now

    def finished(self, now: float) -> None:
        """The engine has ended with a picture."""
        if self._step == self._steps:
            self.measured.append((Span.DECODE, now - self._since))

    @property
    def span(self) -> Span:
        """What is going on now."""
        if self._step < 0:
            return Span.LOAD
        if self._step == self._steps:
            return Span.DECODE
        return Span.FIRST_STEP if self._step == 0 else Span.STEP

    def fraction(self, now: float) -> float | None:
        """How far the present span probably is, 0 to 1; None when the past says nothing, or nothing more."""
        expected = self._expected(self.span)
        elapsed = now - self._since
        if expected is None or elapsed > expected[1]:
            return None
        return min(elapsed / expected[0], 1.0) * _SHORT_OF_NEXT if expected[0] > 0 else _SHORT_OF_NEXT

    def eta(self, now: float) -> Range | None:
        """Seconds to the end of the drawing, p50 and p90; None while a part of it is unknown."""
        present = self._expected(self.span)
        coming = [self._expected(span) for span in self._spans_to_come()]
        if present is None or None in coming:
            return None
        elapsed = now - self._since
        known = [span for span in coming if span is not None]
        p50 = max(present[0] - elapsed, 0.0) + sum(span[0] for span in known)
        p90 = max(present[1] - elapsed, 0.0) + sum(span[1] for span in known)
        return round(p50, 1), round(max(p50, p90), 1)

    def _spans_to_come(self) -> list[Span]:
        match self.span:
            case Span.DECODE:
                return []
            case Span.LOAD:
                return [Span.FIRST_STEP, *[Span.STEP] * max(self._steps - 1, 0), Span.DECODE]
            case Span.FIRST_STEP | Span.STEP:
                return [*[Span.STEP] * max(self._steps - self._step - 1, 0), Span.DECODE]

    def _expected(self, span: Span) -> Range | None:
        """This drawing's own steps say more about its next ones than the past does; the first is no measure."""
        own = self._own_steps[1:]
        if span is Span.STEP and own:
            return quantiles(own)
        return quantiles(self._history.get(span, ())) or self._fallback(span)

    def _fallback(self, span: Span) -> Range | None:
        return quantiles(self._own_steps) if span is Span.STEP else None
