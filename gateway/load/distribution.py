"""Many durations in little memory: counted in buckets that each are two percent wide. Pure; seconds."""

import math
from typing import Final

import msgspec

LEAST_S: Final = 1e-5
GROWTH: Final = 1.02
BUCKETS: Final = 1024  # the last begins at 6,000 s
_LOG_GROWTH: Final = math.log(GROWTH)


class Quantiles(msgspec.Struct, frozen=True):
    """What is said of a distribution: a count, and milliseconds."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


class Distribution:
    """Counts of durations; a quantile is at most two percent above the truth, the largest is exact."""

    __slots__ = ("_counts", "count", "max_s")

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self.count = 0
        self.max_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one; less than LEAST_S counts as that."""
        place = 0 if seconds <= LEAST_S else math.ceil(math.log(seconds / LEAST_S) / _LOG_GROWTH)
        self._counts[min(place, BUCKETS - 1)] += 1
        self.count += 1
        self.max_s = max(self.max_s, seconds)

    def quantile_s(self, share: float) -> float:
        """The nearest rank, in seconds; 0 if there is nothing."""
        rank, seen = math.ceil(share * self.count), 0
        for place, count in enumerate(self._counts):
            seen += count
            if count and seen >= rank:
                return min(LEAST_S * GROWTH**place, self.max_s)
        return 0.0

    def quantiles(self) -> Quantiles:
        """p50, p90, p99 and the largest."""
        p50, p90, p99 = (_ms(self.quantile_s(share)) for share in (0.5, 0.9, 0.99))
        return Quantiles(self.count, p50, p90, p99, _ms(self.max_s))


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
