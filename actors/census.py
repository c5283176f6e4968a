"""Which processes this machine runs and whose they are: the one place that knows how Linux and macOS tell.

The guard process imports it too and must stay small: nothing but the standard library here, and little of that.
"""

import os
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

MARKER: Final = "HATCHERY_JOB"
"""The variable in the environment of every child: `<gateway id>/<job id>`; its own children inherit it."""

PS_COLUMNS: Final = "pid=,pgid=,stat=,lstart=,command="
_LSTART_WORDS: Final = 5  # `Sat Nov 22 13:57:01 2026`
_START_TIME: Final = 19  # field 22 of proc_pid_stat(5), counted from the state, which is field 3


class Process(NamedTuple):
    """One process; `started` only serves to be compared, `marker` is "" if there is none or it may not be read."""

    pid: int
    pgid: int
    started: str
    zombie: bool
    marker: str


def census() -> list[Process]:
    """Every process that can be seen; blocks, on Linux some 20 µs for each of them."""
    return parse_ps(_ps("-ax")) if sys.platform == "darwin" else census_by_proc()


def look(pid: int) -> Process | None:
    """One process, or None if there is none of this number."""
    if sys.platform == "darwin":
        return next(iter(parse_ps(_ps("-p", str(pid)))), None)
    return read_proc(str(pid))


def belonging(
    processes: Iterable[Process], gateway: str, groups: Mapping[int, str], spare: Collection[int]
) -> set[int]:
    """The pids that are a gateway's: they carry its marker, or are in one of its groups ({pgid: leader's start time}).

    A group whose leader began at another time is a stranger's that was given the same number. One that has lost its
    leader is still ours: its number is not given out again while a member lives. Zombies and `spare` are left out.
    """
    living = [process for process in processes if not process.zombie and process.pid not in spare]
    leaders = {process.pid: process.started for process in processes if process.pid in groups}
    return {
        process.pid
        for process in living
        if process.marker.startswith(f"{gateway}/")
        or (process.pgid in groups and leaders.get(process.pgid, groups[process.pgid]) == groups[process.pgid])
    }


def census_by_proc(root: str = "/proc") -> list[Process]:
    """As Linux tells it; the environment of another user's process cannot be read."""
    found = (read_proc(name, root) for name in os.listdir(root) if name.isdecimal())
    return [process for process in found if process is not None]


def read_proc(pid: str, root: str = "/proc") -> Process | None:
    """One process as Linux tells it, or None if there is none."""
    try:
        with open(f"{root}/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()  # a command's name may hold blanks and parentheses
    except OSError:
        return None
    try:
        with open(f"{root}/{pid}/environ", "rb") as environ:
            _, found, rest = (b"\0" + environ.read()).partition(f"\0{MARKER}=".encode())
    except OSError:
        found = rest = b""
    marker = os.fsdecode(rest.partition(b"\0")[0]) if found else ""
    return Process(int(pid), int(fields[2]), fields[_START_TIME].decode(), fields[0] in b"ZX", marker)


def _ps(*selection: str) -> str:
    """What macOS tells; it hides the environment of its own protected programs."""
    from subprocess import DEVNULL, PIPE, run  # here, since on Linux the guard process does without it

    command = ("/bin/ps", *selection, "-E", "-ww", "-o", PS_COLUMNS)  # -E: with the environment
    return os.fsdecode(
        run(command, env={"LC_ALL": "C"}, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, check=False).stdout
    )


def parse_ps(listing: str) -> list[Process]:
    """Read ps' columns (`PS_COLUMNS`), where the environment follows the command in the last one."""
    found = []
    for line in listing.splitlines():
        words = line.split(None, 3 + _LSTART_WORDS)
        if len(words) < 3 + _LSTART_WORDS or not (words[0].isdecimal() and words[1].isdecimal()):
            continue  # the rest of a command that has a line break in it
        command = words[-1] if len(words) > 3 + _LSTART_WORDS else ""
        marker = next((w.partition("=")[2] for w in command.split() if w.startswith(f"{MARKER}=")), "")
        started = " ".join(words[3 : 3 + _LSTART_WORDS])
        found.append(Process(int(words[0]), int(words[1]), started, words[2].startswith("Z"), marker))
    return found
