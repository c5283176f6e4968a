"""Who is there and whose it is, as Linux tells it and as macOS does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors import census as census_module
from actors.census import (
    MARKER,
    PS_COLUMNS,
    Process,
    belonging,
    census,
    census_by_proc,
    look,
    parse_ps,
)

OURS = "fd01-2a"
MACOS = """\
    1     1 Ss   Sat Nov 22 08:00:00 2026     /sbin/launchd
  501   501 Ss+  Sat Nov 22 13:57:01 2026     python -m mflux a (b) c PATH=/bin HATCHERY_JOB=fd01-2a/s1-x LANG=C
  502   501 Z+   Sat Nov 22 13:57:02 2026     (python)
  503   501 R    Sat Nov 22 13:57:03 2026     sh NOT_HATCHERY_JOB=a/b HATCHERY_JOBS=a/b
a second line of a command
"""


def proc(root: Path, pid: int, stat: str, environ: bytes | None) -> None:
    place = root / str(pid)
    place.mkdir()
    (place / "stat").write_text(stat)
    if environ is not None:
        (place / "environ").write_bytes(environ)


def stat_line(pid: int, name: str, state: str, pgid: int, start: int) -> str:
    return f"{pid} ({name}) {state} 1 {pgid} {pgid} 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {start} 1000 200 99\n"


def test_linux_is_read_whatever_a_process_is_called(tmp_path: Path) -> None:
    proc(tmp_path, 10, stat_line(10, "a) R 1 (b", "S", 9, 777), b"A=1\0HATCHERY_JOB=fd01-2a/s1\0B=2\0")
    proc(tmp_path, 11, stat_line(11, "sh", "Z", 9, 778), b"")
    proc(tmp_path, 12, stat_line(12, "sudo", "S", 12, 779), None)  # not to be read
    proc(tmp_path, 13, stat_line(13, "x", "R", 13, 780), b"XHATCHERY_JOB=a/b\0C=\nHATCHERY_JOB=a/b\0")
    (tmp_path / "14").mkdir()  # has just ended
    (tmp_path / "self").mkdir()
    assert sorted(census_by_proc(str(tmp_path))) == [
        Process(10, 9, "777", False, "fd01-2a/s1"),
        Process(11, 9, "778", True, ""),
        Process(12, 12, "779", False, ""),
        Process(13, 13, "780", False, ""),
    ]


def test_macos_is_read_and_broken_lines_are_passed_over() -> None:
    assert parse_ps(MACOS) == [
        Process(1, 1, "Sat Nov 22 08:00:00 2026", False, ""),
        Process(501, 501, "Sat Nov 22 13:57:01 2026", False, "fd01-2a/s1-x"),
        Process(502, 501, "Sat Nov 22 13:57:02 2026", True, ""),
        Process(503, 501, "Sat Nov 22 13:57:03 2026", False, ""),
    ]


def test_both_see_the_same_processes() -> None:
    child = subprocess.Popen(["sleep", "600"], env={"PATH": "/usr/bin:/bin", MARKER: f"{OURS}/job"}, process_group=0)
    try:
        command = ["ps", "axeww", "-o", PS_COLUMNS]  # procps' way to show the environment
        listing = subprocess.run(command, env={"LC_ALL": "C"}, stdout=subprocess.PIPE, check=True).stdout
        by_ps = next(process for process in parse_ps(os.fsdecode(listing)) if process.pid == child.pid)
        by_proc = next(process for process in census() if process.pid == child.pid)
        assert by_proc == look(child.pid)
        assert by_ps._replace(started="") == by_proc._replace(started="")
        assert by_proc._replace(started="") == Process(child.pid, child.pid, "", False, f"{OURS}/job")
    finally:
        child.kill()
        assert look(child.pid) is not None  # not collected yet
        child.wait()
    assert look(child.pid) is None


def test_macos_is_asked_for_all_or_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def ps(*selection: str) -> str:
        asked.append(selection)
        return MACOS if selection == ("-ax",) else MACOS.splitlines()[1]

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(census_module, "_ps", ps)
    assert census() == parse_ps(MACOS)
    assert look(501) == parse_ps(MACOS)[1]
    assert asked == [("-ax",), ("-p", "501")]


def process(pid: int, pgid: int, started: str = "1", marker: str = "", *, zombie: bool = False) -> Process:
    return Process(pid, pgid, started, zombie, marker)


def test_ours_are_the_marked_and_the_members_of_our_groups() -> None:
    marked = f"{OURS}/job"
    processes = [
        process(10, 10),  # leads our group
        process(11, 10, "2"),  # its child, without a marker
        process(20, 20, "2", marked),  # has left its group
        process(21, 20, "2", marked, zombie=True),
        process(30, 30, "2", f"{OURS}0/job"),  # of another gateway
        process(31, 31, "2", OURS),
        process(40, 40),  # a stranger
        process(50, 50, "2", marked),  # ourselves
    ]
    assert belonging(processes, OURS, {10: "1"}, spare={50}) == {10, 11, 20}


def test_a_number_that_was_given_out_again_is_a_strangers() -> None:
    reused = [process(10, 10, "9"), process(11, 10, "9"), process(12, 10, "2", f"{OURS}/job")]
    assert belonging(reused, OURS, {10: "1"}, spare=()) == {12}


@pytest.mark.parametrize("leader", [[], [process(10, 10, zombie=True)]], ids=["gone", "zombie"])
def test_a_group_whose_leader_has_died_is_still_ours(leader: list[Process]) -> None:
    assert belonging([*leader, process(11, 10, "2")], OURS, {10: "1"}, spare=()) == {11}
