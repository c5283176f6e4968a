"""What an image command's bars mean for the hatch: terminal bytes in, render mail out. Pure; `now` is in seconds."""

from statistics import median
from typing import Final

from protocol.events import Stage
from protocol.mail import RenderMail, RenderStaged, StepFinished
from protocol.tqdm import Bar, BarEvent, BarReader, Line, Role

_STAGES: Final[dict[Role, tuple[Stage, str]]] = {
    "download": ("downloading", "Downloading the model"),
    "load": ("loading", "Loading the model"),
    "decode": ("decoding", "Decoding the picture"),
    "save": ("saving", "Saving the picture"),
}


class BarWatch:
    """Reads one job's terminal; every tick is timed as it arrives, since tqdm's own rate is a running average."""

    def __init__(self, now: float) -> None:
        self._reader = BarReader()
        self._step = 0
        self._stepped_at = now
        self._step_times: list[float] = []

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The newest lines that are no bars, for quoting in an error."""
        return self._reader.last_lines

    def feed(self, data: bytes, now: float) -> list[RenderMail]:
        """The mail for what these bytes say."""
        letters: list[RenderMail] = []
        for event in self._reader.feed(data):
            match event:
                case BarEvent(bar=bar, role="steps"):
                    letters += self._steps(bar, now)
                case BarEvent(bar=bar, role=role) if role in _STAGES:
                    stage, message = _STAGES[role]
                    letters.append(RenderStaged(stage=stage, basis="measured", message=message, fraction=_part(bar)))
                case BarEvent() | Line():
                    pass
        return letters

    def _steps(self, bar: Bar, now: float) -> list[RenderMail]:
        if bar.done is None or not bar.total:
            return []
        if bar.done < self._step:  # another loop began
            self._step_times.clear()
        elif bar.done > self._step:
            self._step_times += [(now - self._stepped_at) / (bar.done - self._step)] * (bar.done - self._step)
        self._step, self._stepped_at = bar.done, now
        step_s = round(self._step_times[-1], 3) if self._step_times else None
        letters: list[RenderMail] = [
            StepFinished(step=bar.done, steps=bar.total, step_s=step_s, eta_s=self._eta(bar.total - bar.done))
        ]
        if bar.done == bar.total:
            letters.append(RenderStaged(stage="decoding", basis="indeterminate", message="Decoding the picture"))
        return letters

    def _eta(self, steps_left: int) -> tuple[float, float] | None:
        """Seconds that the steps left will take, p50 and p90; the first step, which loads weights, is no measure."""
        times = self._step_times[1:] or self._step_times
        if not times:
            return None
        return round(steps_left * median(times), 1), round(steps_left * max(times), 1)


def _part(bar: Bar) -> float | None:
    if bar.done is not None and bar.total:
        return bar.done / bar.total
    return None if bar.percent is None else bar.percent / 100
