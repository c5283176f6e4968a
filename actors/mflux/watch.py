"""What an image command's bars, and its silence, mean for the hatch: terminal bytes in, render mail out.

Pure; `now` is in seconds. What the engine said is measured; what is shown between two of its words is estimated from
the past, if that says anything.
"""

import math
from typing import Final

from protocol.events import Stage
from protocol.forecast import Forecast, Span
from protocol.mail import RenderMail, RenderStaged, StepFinished
from protocol.stall import StallLimits, stalls_at
from protocol.tqdm import Bar, BarEvent, BarReader, Line, Role

_STAGES: Final[dict[Role, Stage]] = {
    "download": "downloading",
    "load": "loading",
    "decode": "decoding",
    "save": "saving",
}
_MESSAGES: Final[dict[Stage, str]] = {
    "downloading": "Downloading the model",
    "loading": "Loading the model",
    "encoding": "Reading the prompt",
    "decoding": "Decoding the picture",
    "saving": "Saving the picture",
}


class BarWatch:
    """Reads one job's terminal; every tick is timed as it arrives, since tqdm's own rate is a running average.

    `stage` is what goes on before the first bar.
    """

    def __init__(self, now: float, forecast: Forecast | None = None, stage: Stage = "loading") -> None:
        self.downloaded = False
        self._is_complete = False  # the latest download bar
        self._reader = BarReader()
        self._stage = self._first = stage
        self._step = self._steps = 0
        self._heard_at = now
        self._barred: set[Stage] = set()  # these have bars of their own, so nothing is estimated
        self._estimating = False
        self.expect(forecast or Forecast({}, 0), now)

    def expect(self, forecast: Forecast, since: float) -> None:
        """Estimate with this forecast of what began at `since`."""
        self._forecast = forecast
        forecast.begin(since)

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The newest lines that are no bars, for quoting in an error."""
        return self._reader.last_lines

    def feed(self, data: bytes, now: float) -> list[RenderMail]:
        """The mail for what these bytes say."""
        self._heard_at = now
        letters: list[RenderMail] = []
        for event in self._reader.feed(data):
            match event:
                case BarEvent(bar=bar, role="steps"):
                    letters += self._on_step(bar, now)
                case BarEvent(bar=bar, role=role) if role in _STAGES:
                    letters.append(self._on_bar(_STAGES[role], bar))
                case BarEvent() | Line():
                    pass
        return letters

    def look(self, now: float) -> list[RenderMail]:
        """The mail for a silence: an estimate, the end of one, or nothing new."""
        if self._stage == "downloading" and self._is_complete:
            return [self._begin(self._first)]
        if self._stage in self._barred:
            return []
        part = self._forecast.fraction(now)
        if part is None and not self._estimating:
            return []
        self._estimating = part is not None
        if part is None:
            return [self._begin(self._stage)]
        if self._forecast.span in (Span.FIRST_STEP, Span.STEP):
            part = (self._step + part) / self._steps
        eta_s = self._forecast.eta(now)
        return [RenderStaged(stage=self._stage, basis="estimated", message=self._message, fraction=part, eta_s=eta_s)]

    def stalled(self, limits: StallLimits, now: float) -> str | None:
        """What to reproach the job with, if it has been silent for longer than its stage allows."""
        step_s = self._forecast.step_s
        if now < stalls_at(limits, self._stage, self._heard_at, step=self._step, step_s=step_s):
            return None
        return f"said nothing for {math.floor(now - self._heard_at)} s in stage {self._stage}"

    @property
    def _message(self) -> str:
        return _MESSAGES.get(self._stage) or f"Step {self._step} of {self._steps}"

    def _enter(self, stage: Stage) -> None:
        self._stage, self._estimating = stage, False

    def _begin(self, stage: Stage) -> RenderStaged:
        """Enter a stage of which no more is known."""
        self._enter(stage)
        return RenderStaged(stage=stage, basis="indeterminate", message=self._message)

    def _on_bar(self, stage: Stage, bar: Bar) -> RenderMail:
        self._enter(stage)
        self._barred.add(stage)
        part = _part(bar)
        if stage == "downloading":
            self.downloaded = True
            self._is_complete = part == 1
            self._forecast.downloading()
        return RenderStaged(stage=stage, basis="measured", message=self._message, fraction=part)

    def _on_step(self, bar: Bar, now: float) -> list[RenderMail]:
        if bar.done is None or not bar.total:
            return []
        self._enter("steps")
        self._step, self._steps = bar.done, bar.total
        self._forecast.stepped(bar.done, bar.total, now)
        step_s = self._forecast.step_s
        letters: list[RenderMail] = [
            StepFinished(
                step=bar.done,
                steps=bar.total,
                step_s=None if step_s is None else round(step_s, 3),
                eta_s=self._forecast.eta(now),
            )
        ]
        if bar.done == bar.total:
            letters.append(self._begin("decoding"))
        return letters


def _part(bar: Bar) -> float | None:
    if bar.done is not None and bar.total:
        return bar.done / bar.total
    return None if bar.percent is None else bar.percent / 100
