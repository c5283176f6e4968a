"""The machine itself: Python, platform, versions, memory, clock."""

import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec

from gateway.doctor.finding import Finding, notice, ok, problem

OLDEST_PYTHON: Final = (3, 11)
PACKAGES: Final = ("trio", "msgspec", "websockets", "starlette", "pillow", "tqdm")
GIB: Final = 1 << 30
LITTLE_MEMORY: Final = 2 * GIB  # an estimate: no model that mflux draws with fits into less
EARLIEST_S: Final = 1_767_225_600.0  # 2026-01-01: no clock that is right was before this program
LATEST_S: Final = 4_102_444_800.0  # 2100-01-01
SYSCTL: Final = "/usr/sbin/sysctl"
_VM_STAT_PAGE: Final = re.compile(r"page size of (\d+) bytes")
_VM_STAT_COUNT: Final = re.compile(r"^Pages (free|inactive|speculative): +(\d+)\.$", re.MULTILINE)


class Memory(msgspec.Struct, frozen=True):
    """Bytes of main memory; `available` is what programs can have without swapping, None if nobody says."""

    total: int
    available: int | None


def check_machine() -> list[Finding]:
    """Everything of the machine that needs neither files nor engines."""
    return [
        check_python(sys.version_info[:3]),
        check_platform(sys.platform, platform.machine()),
        check_versions(),
        check_memory(read_memory()),
        check_clock(time.time()),
    ]


def check_python(running: tuple[int, int, int]) -> Finding:
    """Whether this Python is one that Hatchery is written for."""
    found = f"{'.'.join(map(str, running))} at {sys.executable}"
    if running[:2] < OLDEST_PYTHON:
        return problem("Python", found, "uv python install 3.13, then install Hatchery into it")
    return ok("Python", found)


def check_platform(system: str, machine: str) -> Finding:
    """Whether mflux can use the GPU here."""
    match system, machine:
        case "darwin", "arm64":
            return ok("platform", "Apple silicon: mflux draws on the GPU")
        case "darwin", _:
            return notice("platform", f"macOS on {machine}: mlx needs Apple silicon", "--image demo")
        case "linux", _:
            return ok("platform", f"Linux on {machine}: mflux draws on the CPU, or with CUDA")
        case _:
            return problem(
                "platform", f"{system} on {machine} has no pseudo-terminals", "run it on macOS, Linux or WSL"
            )


def check_versions() -> Finding:
    """Hatchery and the packages that carry it."""
    try:
        versions = [f"{name} {version(name)}" for name in ("hatchery", *PACKAGES)]
    except PackageNotFoundError as error:
        return problem(
            "versions", f"{error.name} is not installed", "uv sync, or pip install --force-reinstall hatchery"
        )
    return ok("versions", ", ".join(versions))


def check_memory(memory: Memory) -> Finding:
    """How much there is."""
    total = f"{memory.total / GIB:.1f} GiB"
    if memory.available is None:
        return ok("memory", total)
    found = f"{memory.available / GIB:.1f} of {total} available"
    if memory.available < LITTLE_MEMORY:
        return notice("memory", found, "close other programs, or draw with a smaller model: --quantize 4 in --image")
    return ok("memory", found)


def read_memory() -> Memory:
    """As the kernel tells it."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        told = ask("/usr/bin/vm_stat") if sys.platform == "darwin" else Path("/proc/meminfo").read_text("ascii")
    except OSError:
        return Memory(total, None)
    return Memory(total, available_by_vm_stat(told) if sys.platform == "darwin" else available_by_meminfo(told))


def available_by_meminfo(text: str) -> int | None:
    """Bytes, from proc_meminfo(5)."""
    found = re.search(r"^MemAvailable: +(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def available_by_vm_stat(text: str) -> int | None:
    """Bytes, from vm_stat(1): its free pages do not count those that were read ahead on speculation."""
    page = _VM_STAT_PAGE.search(text)
    counts = [int(count) for _, count in _VM_STAT_COUNT.findall(text)]
    return sum(counts) * int(page[1]) if page and counts else None


def check_clock(now_s: float) -> Finding:
    """Signed addresses and TLS need the date; `now_s` is in seconds since 1970."""
    if not EARLIEST_S <= now_s <= LATEST_S:
        said = time.strftime("%Y-%m-%d", time.gmtime(now_s))
        remedy = "sudo sntp -sS time.apple.com" if sys.platform == "darwin" else "sudo timedatectl set-ntp true"
        return problem("clock", f"it says {said}", remedy)
    return ok("clock", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now_s)))


def ask(*command: str) -> str:
    """What a system tool prints. Raises OSError if it cannot be run or has failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5.0).stdout
    except subprocess.SubprocessError as error:
        raise OSError(f"{command[0]} has failed") from error
