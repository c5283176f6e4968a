"""How many image commands and clients the limits of the kernel leave room for."""

import resource
import sys
from pathlib import Path
from typing import Final

import msgspec

from gateway.config import Config
from gateway.doctor.checks.machine import SYSCTL, ask
from gateway.doctor.finding import Finding, notice, ok, problem

FILES_PER_CHILD: Final = 2
"""The terminal's master, and a pidfd (Linux) or the slave that is held (macOS)."""
RESERVED_FILES: Final = 48
"""An estimate of what else a gateway has open: listeners, loop, logs, lock, guard, and four while it spawns."""
UNLIMITED: Final = 1 << 30


class KernelLimits(msgspec.Struct, frozen=True):
    """`files` is the soft limit of open files; of `terminals`, `used` are taken, or 0 where the kernel does not say."""

    files: int
    hard_files: int
    terminals: int
    used: int

    @property
    def children(self) -> int:
        """How many one-shot children fit at a time."""
        return max(0, min(self.children_by_files, self.terminals - self.used))

    @property
    def children_by_files(self) -> int:
        """How many the open files allow."""
        return (self.files - RESERVED_FILES) // FILES_PER_CHILD


def check_capacity(config: Config, limits: KernelLimits) -> list[Finding]:
    """What fits beside what the settings ask for."""
    return [_check_children(config, limits), _check_clients(config, limits)]


def _check_children(config: Config, limits: KernelLimits) -> Finding:
    slots = config.image.slots
    terminals = f"{limits.used:,} of {limits.terminals:,} terminals taken"
    found = f"{limits.files:,} open files, {terminals}: {limits.children:,} image commands fit at a time"
    if limits.children >= slots:
        return ok("children", found)
    if limits.children_by_files < slots:
        remedy = _raise_files(RESERVED_FILES + slots * FILES_PER_CHILD, limits)
    else:
        name = "kern.tty.ptmx_max" if sys.platform == "darwin" else "kernel.pty.max"
        remedy = f"sudo sysctl -w {name}={limits.used + slots}"
    fewer = f"; or HATCHERY_IMAGE_SLOTS={limits.children}" if limits.children else ""
    return problem("children", f"{found}, image.slots is {slots:,}", remedy + fewer)


def _check_clients(config: Config, limits: KernelLimits) -> Finding:
    wanted = config.server.max_connections
    taken = RESERVED_FILES + config.image.slots * FILES_PER_CHILD + config.llm.slots
    fit = max(0, limits.files - taken)
    found = f"{min(fit, wanted):,} connections fit at a time"
    if fit >= wanted:
        return ok("clients", found)
    remedy = f"{_raise_files(wanted + taken, limits)}; or HATCHERY_SERVER_MAX_CONNECTIONS={max(1, fit)}"
    return notice("clients", f"{found}, server.max_connections is {wanted:,}", remedy)


def _raise_files(wanted: int, limits: KernelLimits) -> str:
    command = f"ulimit -n {wanted} before the gateway starts"
    return command if wanted <= limits.hard_files else f"{command} (as root: the hard limit is {limits.hard_files})"


def kernel_limits() -> KernelLimits:
    """The limits of this process and of this kernel."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    terminals, used = terminals_by_sysctl() if sys.platform == "darwin" else terminals_by_proc()
    return KernelLimits(_finite(soft), _finite(hard), terminals, used)


def terminals_by_proc(root: Path = Path("/proc/sys/kernel/pty")) -> tuple[int, int]:
    """The most that there may be, and how many there are, as Linux tells it."""
    try:
        return int((root / "max").read_text()), int((root / "nr").read_text())
    except OSError:  # a sandbox
        return UNLIMITED, 0


def terminals_by_sysctl(sysctl: str = SYSCTL) -> tuple[int, int]:
    """The most that there may be, as macOS tells it; how many there are it does not tell."""
    try:
        return int(ask(sysctl, "-n", "kern.tty.ptmx_max")), 0
    except (OSError, ValueError):
        return UNLIMITED, 0


def _finite(limit: int) -> int:
    return UNLIMITED if limit == resource.RLIM_INFINITY else min(limit, UNLIMITED)
