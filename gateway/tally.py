"""A histogram for what is observed very often: adding to it is a tenth of what prometheus_client's own asks for."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class TallyHistogram(Collector):
    """Counts values by upper bound, rising; for one thread only. Register it as any collector."""

    def __init__(self, name: str, what: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._what = what
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def describe(self) -> list[HistogramMetricFamily]:
        """Its name, without a look at the counts."""
        return [HistogramMetricFamily(self._name, self._what)]

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The counts as they are now, each with those of the bounds below it."""
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._what, buckets=buckets, sum_value=self._sum)
