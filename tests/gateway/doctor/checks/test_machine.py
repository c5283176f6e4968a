"""The machine, judged from what it says of itself; the samples are from Linux and from macOS."""

import os
import sys

import pytest

from gateway.doctor.checks.machine import (
    GIB,
    Memory,
    ask,
    available_by_meminfo,
    available_by_vm_stat,
    check_clock,
    check_machine,
    check_memory,
    check_platform,
    check_python,
    check_versions,
    read_memory,
)

MEMINFO = "MemTotal:       24684052 kB\nMemFree:        21190000 kB\nMemAvailable:   23500000 kB\nBuffers: 1 kB\n"
VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            400000.
Pages inactive:                           20000.
Pages speculative:                          500.
Pages throttled:                              0.
"Translation faults":                 123456789.
"""


def test_this_machine_can_run_its_own_tests() -> None:
    assert {finding.subject: finding.status for finding in check_machine() if finding.subject != "memory"} == {
        "Python": "ok",
        "platform": "ok",
        "versions": "ok",
        "clock": "ok",
    }
    assert "hatchery 0." in check_versions().found


@pytest.mark.parametrize(("running", "status"), [((3, 10, 13), "problem"), ((3, 11, 0), "ok"), ((3, 13, 1), "ok")])
def test_an_old_python_is_a_problem(running: tuple[int, int, int], status: str) -> None:
    finding = check_python(running)
    assert finding.status == status
    assert finding.found.startswith(".".join(map(str, running)))


@pytest.mark.parametrize(
    ("system", "machine", "status"),
    [
        ("darwin", "arm64", "ok"),
        ("darwin", "x86_64", "notice"),
        ("linux", "x86_64", "ok"),
        ("linux", "aarch64", "ok"),
        ("win32", "AMD64", "problem"),
    ],
)
def test_platforms(system: str, machine: str, status: str) -> None:
    assert check_platform(system, machine).status == status


def test_memory_is_read_as_each_kernel_tells_it() -> None:
    assert available_by_meminfo(MEMINFO) == 23500000 * 1024
    assert available_by_vm_stat(VM_STAT) == 30500 * 16384
    assert available_by_meminfo("") is None
    assert available_by_vm_stat("Pages free: 1.") is None
    memory = read_memory()
    assert memory.available is not None
    assert 0 < memory.available <= memory.total


def test_little_memory_is_noticed_and_unknown_memory_is_not() -> None:
    assert check_memory(Memory(8 * GIB, GIB)).status == "notice"
    assert check_memory(Memory(8 * GIB, 4 * GIB)).status == "ok"
    assert check_memory(Memory(8 * GIB, None)).found == "8.0 GiB"


@pytest.mark.parametrize(("now_s", "status"), [(0.0, "problem"), (1_800_000_000.0, "ok"), (5e9, "problem")])
def test_a_clock_that_cannot_be_right(now_s: float, status: str) -> None:
    assert check_clock(now_s).status == status


def test_a_system_tool_that_fails_is_an_os_error() -> None:
    assert ask(sys.executable, "-c", "print(1)") == "1\n"
    with pytest.raises(OSError, match=os.path.basename(sys.executable)):
        ask(sys.executable, "-c", "raise SystemExit(1)")
    with pytest.raises(OSError, match="missing"):
        ask("/missing/tool")
