"""The two ways to notice an end agree, and kill leftovers when the number of the group is still safe."""

import os
import signal
import sys

import pytest
import trio

from actors.reaper import ExitStatus, Reaper, reap, reap_by_polling
from tests.helpers.descriptors import open_descriptors


def child(script: str) -> int:
    return os.posix_spawn("/bin/sh", ["sh", "-c", script], {"PATH": "/usr/bin:/bin"})


@pytest.mark.parametrize("reaper", [reap, reap_by_polling])
async def test_every_kind_of_end_is_decoded_and_collected(reaper: Reaper) -> None:
    for script, status in [("exit 9", ExitStatus(code=9)), ("kill -KILL $$", ExitStatus(signal=signal.SIGKILL))]:
        pid = child(script)
        assert await reaper(pid, lambda: None) == status
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it does not block


@pytest.mark.parametrize("reaper", [reap, reap_by_polling])
async def test_leftovers_are_killed_once_and_only_after_the_end(reaper: Reaper) -> None:
    calls: list[str] = []
    pid = child("exec sleep 60")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reaper, pid, lambda: calls.append("leftovers"))
        await trio.sleep(0.1)  # several polls
        assert calls == []
        os.kill(pid, signal.SIGTERM)
    assert calls == ["leftovers"]


async def test_with_a_pidfd_the_zombie_still_pins_its_number() -> None:
    states: list[str] = []
    pid = child("exit 0")

    def look() -> None:
        with open(f"/proc/{pid}/stat") as stat:
            states.append(stat.read().rpartition(")")[2].split()[0])

    await reap(pid, look)
    assert states == ["Z"]


async def test_without_a_pidfd_it_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pid: int) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "pidfd_open", refused)
    assert await reap(child("exit 4"), lambda: None) == ExitStatus(code=4)
    monkeypatch.undo()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "pidfd_open")
    assert await reap(child("exit 5"), lambda: None) == ExitStatus(code=5)


@pytest.mark.parametrize("reaper", [reap, reap_by_polling])
async def test_a_cancelled_wait_leaves_the_child_to_be_collected(reaper: Reaper) -> None:
    pid = child("exec sleep 60")
    before = open_descriptors()
    with trio.move_on_after(0.05) as scope:
        await reaper(pid, lambda: pytest.fail("it has not ended"))
    assert scope.cancelled_caught
    assert open_descriptors() <= before
    os.kill(pid, signal.SIGKILL)
    assert await reaper(pid, lambda: None) == ExitStatus(signal=signal.SIGKILL)
