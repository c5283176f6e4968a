"""What the guard process does by itself: follow the pipe, know its own, end them for certain and nobody else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from actors.census import MARKER, look
from actors.guard_process import GIVE_UP_S, end_all, end_gateways_processes, follow

GATEWAY = f"test-{os.getpid()}"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
POLITE = "import time; print(flush=True); time.sleep(600)"


def python(script: str, **env: str) -> "subprocess.Popen[bytes]":
    """A process that has begun, leader of a group."""
    command = [sys.executable, "-S", "-c", script]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, process_group=0)
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    return process


@pytest.fixture
def polite() -> Iterator["subprocess.Popen[bytes]"]:
    with python(POLITE) as process:
        yield process
        process.kill()


def start_of(pid: int) -> str:
    process = look(pid)
    assert process is not None
    return process.started


def test_whoever_ignores_sigterm_is_killed_and_an_orphan_of_it_too() -> None:
    spawns = f"import os, subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {STUBBORN!r}]); os.wait()"
    with python(spawns, **{MARKER: f"{GATEWAY}/job"}) as parent:
        ended = end_gateways_processes(GATEWAY, {})
        assert parent.wait() == -signal.SIGTERM
    assert len(ended) == 2
    assert all((process := look(pid)) is None or process.zombie for pid in ended)


def test_a_stranger_who_was_given_a_groups_number_is_spared(polite: "subprocess.Popen[bytes]") -> None:
    assert end_gateways_processes(GATEWAY, {polite.pid: "1"}) == set()
    assert polite.poll() is None
    assert end_gateways_processes(GATEWAY, {polite.pid: start_of(polite.pid)}) == {polite.pid}
    assert polite.wait() == -signal.SIGTERM


def test_what_nothing_can_end_does_not_hold_it_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", lambda pid, number: None)
    began = time.monotonic()
    assert end_all(lambda: {12345}) == {12345}
    assert GIVE_UP_S <= time.monotonic() - began < GIVE_UP_S + 1


def test_what_appears_late_is_still_ended() -> None:
    """Such as a child that was between its fork and its exec when the gateway died."""
    signals: list[tuple[int, int]] = []
    looks = iter([set(), set(), {12345}])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
        assert end_all(lambda: next(looks, set())) == {12345}
    assert (12345, signal.SIGTERM) in signals


def test_the_pipe_is_followed_however_it_is_cut(polite: "subprocess.Popen[bytes]") -> None:
    told = b"+%d\n+%d\n-%d\n+%d\n" % (polite.pid, os.getpid(), os.getpid(), 2**30)
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        for position in range(len(told)):
            os.write(writer, told[position : position + 1])
        os._exit(0)
    os.close(writer)
    assert follow(reader) == {polite.pid: start_of(polite.pid)}  # the last one does not exist
    os.close(reader)
    os.waitpid(pid, 0)
