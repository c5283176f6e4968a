"""What drawings took on this machine before: the history that forecasts are made of."""

from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from actors.store.durations import Durations, Work
from protocol.events import Stage
from protocol.forecast import Forecast, Past, Range, Span

KEPT: Final = 50  # durations of each span of the same work, in memory
WORKS: Final = 1000  # that memory knows


class History(Protocol):
    """Past durations in seconds, by work and span."""

    def note(self, work: Work, span: Span, seconds: float) -> None:
        """Remember one; never blocks."""

    async def recent(self, work: Work, span: Span) -> Sequence[float]:
        """The latest ones."""


class MemoryHistory:
    """A history that ends with the process."""

    def __init__(self) -> None:
        self._kept: dict[Work, dict[Span, deque[float]]] = {}

    def note(self, work: Work, span: Span, seconds: float) -> None:
        """See History."""
        if work not in self._kept and len(self._kept) >= WORKS:
            del self._kept[next(iter(self._kept))]
        self._kept.setdefault(work, {}).setdefault(span, deque(maxlen=KEPT)).append(seconds)

    async def recent(self, work: Work, span: Span) -> Sequence[float]:
        """See History."""
        return list(self._kept.get(work, {}).get(span, ()))


# The store keeps durations by stage. What comes between loading and the later steps is the first of them, in which
# mflux, evaluating lazily, also encodes the prompt.
_STAGES: Final[dict[Span, Stage]] = {
    Span.LOAD: "loading",
    Span.FIRST_STEP: "encoding",
    Span.STEP: "steps",
    Span.DECODE: "decoding",
}


class StoredHistory:
    """A history in the gateway's store."""

    def __init__(self, durations: Durations) -> None:
        self._durations = durations

    def note(self, work: Work, span: Span, seconds: float) -> None:
        """See History."""
        self._durations.note(work, _STAGES[span], seconds)

    async def recent(self, work: Work, span: Span) -> Sequence[float]:
        """See History."""
        return await self._durations.recent(work, _STAGES[span])


class Pace:
    """Forecasts for drawings, and what is learned from those that ended well."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def past(self, work: Work) -> Past:
        """All that is known of such work."""
        return {span: await self._history.recent(work, span) for span in Span}

    async def forecast(self, work: Work) -> Forecast:
        """For a drawing that has yet to begin."""
        return Forecast(await self.past(work), work.steps)

    async def whole(self, work: Work) -> Range | None:
        """How long such a drawing takes, p50 and p90 in seconds; None if that is unknown."""
        return (await self.forecast(work)).whole

    def note(self, work: Work, span: Span, seconds: float) -> None:
        """Remember one duration."""
        self._history.note(work, span, seconds)

    def learn(self, work: Work, forecast: Forecast, now: float) -> None:
        """Remember what a drawing took that has ended well at `now`."""
        for span, seconds in forecast.lessons(now).items():
            self.note(work, span, seconds)
