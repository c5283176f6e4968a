"""The guard process: outlives a killed gateway just long enough to end what the gateway has left running.

A program of its own, small on purpose: the standard library only, and nothing of Hatchery but the census.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from actors.census import belonging, census, look

TERM_S: Final = 0.3  # how long SIGTERM may take before SIGKILL follows
POLL_S: Final = 0.05
QUIET_POLLS: Final = 3  # a child may be caught between its fork and the exec that makes its marker visible
GIVE_UP_S: Final = 3.0  # only what is stuck in the kernel survives SIGKILL that long
WATCH: Final = b"+"
FORGET: Final = b"-"


def end_all(find: Callable[[], set[int]]) -> set[int]:
    """SIGTERM, then SIGKILL, whatever `find` finds until it finds nothing more; returns all pids that it found.

    Blocks for 0.1 s if there is nothing, 0.5 s if somebody ignores SIGTERM, and at most `GIVE_UP_S`.
    """
    began = time.monotonic()
    asked: set[int] = set()
    quiet = 0
    while quiet < QUIET_POLLS and (elapsed := time.monotonic() - began) < GIVE_UP_S:
        found = find()
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if elapsed >= TERM_S:
                    os.kill(pid, signal.SIGKILL)
                elif pid not in asked:
                    os.kill(pid, signal.SIGTERM)
                    os.kill(pid, signal.SIGCONT)  # a stopped process hears nothing until it is continued
        asked |= found
        quiet = 0 if found else quiet + 1
        if quiet < QUIET_POLLS:
            time.sleep(POLL_S)
    return asked


def end_gateways_processes(gateway: str, groups: Mapping[int, str]) -> set[int]:
    """End every process of a gateway but this one; see `belonging` and `end_all`."""
    return end_all(lambda: belonging(census(), gateway, groups, spare={os.getpid()}))


def follow(pipe: int) -> dict[int, str]:
    """Read lines `+PGID` and `-PGID` until the pipe's end; the groups left then, with their leaders' start times."""
    groups: dict[int, str] = {}
    rest = b""
    while chunk := os.read(pipe, 65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            pgid = int(line[1:])
            if line.startswith(FORGET):
                groups.pop(pgid, None)
            elif leader := look(pgid):  # it is not collected yet, or its `-` is already on the way
                groups[pgid] = leader.started
    return groups


def main(gateway: str, jobs: str) -> None:
    """Guard until standard input ends, clean up after `gateway`, and remove the folder `jobs` ("" for none)."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it goes when the gateway is gone, and never before
    end_gateways_processes(gateway, follow(sys.stdin.fileno()))
    if jobs:
        from shutil import rmtree  # here, since it would double what a waiting guard has imported

        rmtree(jobs, ignore_errors=True)
