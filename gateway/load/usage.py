"""What a process has used, and what a gateway says of itself: /proc and /metrics, read back. Linux and Prometheus."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

_SAMPLE: Final = re.compile(r"^([a-z_]+)(?:\{([^}]*)\})? ([0-9.eE+-]+|\+Inf|NaN)$", re.MULTILINE)
_LABEL: Final = re.compile(r'([a-z_]+)="([^"]*)"')


class Usage(msgspec.Struct, frozen=True):
    """Processor seconds, bytes of memory that are resident now, and seconds that it would have run but got no core."""

    cpu_s: float
    rss_bytes: int
    starved_s: float


def read_usage(pid: int) -> Usage | None:
    """Of one process, by proc_pid_stat(5); None where there is no /proc, or no such process any more."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        starved_ns = Path(f"/proc/{pid}/schedstat").read_text(encoding="utf-8").split()[1]  # of its main thread
    except OSError:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return Usage(
        cpu_s=(int(fields[11]) + int(fields[12])) / ticks,
        rss_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        starved_s=int(starved_ns) / 1e9,
    )


def pin(pid: int, core: int) -> bool:
    """Let a process run on one core only (0 is itself), counted from those it may use; whether that could be done."""
    if not sys.platform.startswith("linux"):
        return False
    allowed = sorted(os.sched_getaffinity(0 if pid == os.getpid() else pid))
    if len(allowed) < 2:
        return False
    os.sched_setaffinity(pid, {allowed[core % len(allowed)]})
    return True


class Exposition(msgspec.Struct, frozen=True):
    """The part of a gateway's /metrics that a load test looks at: drops by kind, and how late its loop was."""

    drops: Mapping[str, float]
    lags: Mapping[float, float]  # looks at the loop, by the upper bound in seconds that they were within
    lag_sum_s: float

    def since(self, earlier: "Exposition") -> "Exposition":
        """What has come since then."""
        return Exposition(
            {kind: count - earlier.drops.get(kind, 0.0) for kind, count in self.drops.items()},
            {bound: count - earlier.lags.get(bound, 0.0) for bound, count in self.lags.items()},
            self.lag_sum_s - earlier.lag_sum_s,
        )

    @property
    def looks(self) -> float:
        """How often the loop was looked at."""
        return max(self.lags.values(), default=0.0)

    def lag_within_s(self, share: float) -> float:
        """The bound in seconds that so many of the looks were within; 0 if there was none."""
        return next((bound for bound in sorted(self.lags) if self.lags[bound] >= share * self.looks > 0), 0.0)


def parse_metrics(text: str) -> Exposition:
    """From Prometheus's text format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""
    drops: dict[str, float] = {}
    lags: dict[float, float] = {}
    lag_sum_s = 0.0
    for name, labels, value in _SAMPLE.findall(text):
        label = dict(_LABEL.findall(labels))
        match name:
            case "hatchery_outbox_drops_total":
                drops[label.get("kind", "")] = float(value)
            case "hatchery_loop_lag_seconds_bucket":
                lags[float(label["le"])] = float(value)
            case "hatchery_loop_lag_seconds_sum":
                lag_sum_s = float(value)
            case _:
                pass
    return Exposition(drops, lags, lag_sum_s)
