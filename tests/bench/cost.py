"""What a process has cost so far, read from /proc, and where in a distribution most of it lies."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """User and system time of a process in seconds (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM (proc_pid_statm(5), field 2)."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE


def children(pid: int) -> list[int]:
    """The processes that a process has started and not yet collected, whichever of its threads did."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text(encoding="ascii").split()]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them, 0 to 1, do not exceed (nearest rank); 0 of none."""
    if not values:
        return 0.0
    rank = min(int(len(values) * share), len(values) - 1)
    return sorted(values)[rank]
