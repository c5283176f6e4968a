"""The guard: nothing survives the gateway, strangers do, and a guard that dies is replaced. All with real processes."""

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog.testing
import trio

from actors.census import MARKER, look
from actors.guard import Guard, open_guard
from actors.pty import PtySpec, open_pty
from tests.helpers.descriptors import open_descriptors
from tests.helpers.stubborn import all_gone, doomed_gateway, pinned, stubborn_children

ENV = {"PATH": "/usr/bin:/bin"}
GATEWAY = f"test-{os.getpid()}"  # other runs on this machine are other gateways


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test may leave a descriptor or an uncollected child."""
    before = open_descriptors()
    yield
    assert open_descriptors() <= before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


class Sleepers:
    """Children of the test itself, each in a group of its own, without a terminal and deaf to a hang-up."""

    def __init__(self) -> None:
        self._statuses: dict[int, int] = {}

    def start(self, **env: str) -> int:
        script = "trap '' HUP; exec sleep 600"
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", script], {**ENV, **env}, setpgroup=0)
        self._statuses[pid] = 0
        return pid

    def signals(self) -> list[int]:
        """Which signal has ended each of them, in order; 0 for those that live. All are collected."""
        for pid in self._statuses:
            ended, self._statuses[pid] = os.waitpid(pid, os.WNOHANG)
            if not ended:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        signals = [os.WTERMSIG(status) for status in self._statuses.values()]
        self._statuses.clear()
        return signals


@pytest.fixture
def sleepers() -> Iterator[Sleepers]:
    started = Sleepers()
    yield started
    started.signals()


async def until(condition: Callable[[], bool]) -> None:
    """For what only the kernel knows or nobody announces."""
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - nobody announces it
            await trio.sleep(0.01)


def status(pid: int, field: str) -> str:
    return Path(f"/proc/{pid}/status").read_text().split(f"{field}:")[1].split()[0]


async def begun(guard: Guard) -> int:
    """The guard process, once it ignores SIGTERM: before, Python itself is still starting."""
    pid = guard.pid
    assert pid is not None
    await until(lambda: bool(int(status(pid, "SigIgn"), 16) & 1 << signal.SIGTERM - 1))
    return pid


@pytest.mark.parametrize("before", [(), (signal.SIGSTOP,)], ids=["running", "stopped"])
async def test_nothing_survives_the_kill_of_a_gateway(tmp_path: Path, before: tuple[signal.Signals, ...]) -> None:
    async with doomed_gateway(tmp_path / "data") as (gateway, brood):
        assert len(brood.children) == 15
        with pinned(brood.guard, *brood.children) as processes:
            for number in (*before, signal.SIGKILL):
                gateway.send_signal(number)
            await all_gone(processes, within_s=3)
    assert not (tmp_path / "data" / "jobs").exists()


async def test_a_normal_stop_leaves_nothing_and_ends_no_stranger(tmp_path: Path, sleepers: Sleepers) -> None:
    for marker in ("", f"{GATEWAY}0/job", GATEWAY):
        sleepers.start(**{MARKER: marker})
    with ExitStack() as stack:
        async with open_guard(GATEWAY, jobs=tmp_path / "jobs") as guard:
            assert guard.pid is not None
            async with stubborn_children(guard, tmp_path / "jobs") as pids:
                processes = stack.enter_context(pinned(guard.pid, *pids))
        assert select.select(processes, (), (), 0)[0] == processes
    assert sleepers.signals() == [0, 0, 0]
    assert not (tmp_path / "jobs").exists()


async def test_what_is_watched_or_marked_is_ended_and_what_is_forgotten_is_not(sleepers: Sleepers) -> None:
    watched, _, forgotten = sleepers.start(), sleepers.start(**{MARKER: f"{GATEWAY}/job"}), sleepers.start()
    async with open_guard(GATEWAY) as guard:
        guard.watch(watched)
        guard.watch(forgotten)
        guard.forget(forgotten)
    assert sleepers.signals() == [signal.SIGTERM, signal.SIGTERM, 0]


async def test_a_child_is_marked_with_its_gateway_and_its_job(tmp_path: Path) -> None:
    (tmp_path / "s1-abc").mkdir()
    spec = PtySpec(("sh", "-c", f"echo ${MARKER} $HOME"), str(tmp_path / "s1-abc"), {**ENV, "HOME": "/h"})
    async with open_guard(GATEWAY) as guard, open_pty(spec, keeper=guard) as child:
        assert await child.receive() == f"{GATEWAY}/s1-abc /h\n".encode()


async def test_a_guard_that_is_killed_is_replaced_and_the_new_one_knows_all(sleepers: Sleepers) -> None:
    before, meanwhile, forgotten = sleepers.start(), sleepers.start(), sleepers.start()
    async with open_guard(GATEWAY) as guard:
        guard.watch(before)
        guard.watch(forgotten)
        old = guard.pid
        assert old is not None
        os.kill(old, signal.SIGKILL)
        guard.watch(meanwhile)
        guard.forget(forgotten)
        await until(lambda: guard.pid not in (None, old))
        assert look(before)
    assert sleepers.signals() == [signal.SIGTERM, signal.SIGTERM, 0]


async def test_a_guard_that_has_stopped_reading_blocks_nobody_and_is_replaced(sleepers: Sleepers) -> None:
    watched = sleepers.start()
    async with open_guard(GATEWAY) as guard:
        guard.watch(watched)
        old = guard.pid
        assert old is not None
        os.kill(old, signal.SIGSTOP)
        for _ in range(5000):  # 100 KB and more; a pipe holds 64 KiB
            guard.watch(2**30)
            guard.forget(2**30)
        await until(lambda: guard.pid not in (None, old))
        assert look(watched)
    assert sleepers.signals() == [signal.SIGTERM]


async def test_a_guard_that_cannot_be_replaced_is_tried_again(
    sleepers: Sleepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = sleepers.start()
    async with open_guard(GATEWAY) as guard:
        guard.watch(watched)
        old = guard.pid
        assert old is not None
        with structlog.testing.capture_logs() as logs, monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/no/such/python")
            os.kill(old, signal.SIGKILL)
            await until(lambda: "guard_missing" in [entry["event"] for entry in logs])
            assert guard.pid is None
            guard.forget(watched)  # into the void
            guard.watch(watched)
        await until(lambda: guard.pid not in (None, old))
    assert sleepers.signals() == [signal.SIGTERM]
    assert logs[0] == {"event": "guard_died", "log_level": "warning", "status": -signal.SIGKILL}


async def test_leaving_while_there_is_no_guard_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_guard(GATEWAY) as guard:
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        assert guard.pid is not None
        os.kill(guard.pid, signal.SIGKILL)
        await until(lambda: guard.pid is None)
    guard.forget(2**30)  # a stuck child may be collected after the guard's time


async def test_a_guard_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(OSError, match="python"):
        async with open_guard(GATEWAY):
            pytest.fail("entered")


async def test_an_error_of_the_scope_comes_out_bare_and_the_guard_goes() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_guard(GATEWAY) as guard:
            _ = 1 / 0
    assert guard.pid is None


async def test_it_goes_when_the_scope_is_cancelled(sleepers: Sleepers) -> None:
    watched = sleepers.start()
    with trio.CancelScope() as scope:
        async with open_guard(GATEWAY) as guard:
            guard.watch(watched)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert sleepers.signals() == [signal.SIGTERM]


async def test_it_hears_no_signal_and_no_terminal() -> None:
    async with open_guard(GATEWAY) as guard:
        pid = await begun(guard)
        assert os.getsid(pid) == os.getpgid(pid) == pid
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            os.kill(pid, number)
        with pinned(pid) as fds, pytest.raises(trio.TooSlowError):
            await all_gone(fds, within_s=0.2)


async def test_it_keeps_no_descriptor_but_those_it_is_to_hold() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    async with (
        open_pty(PtySpec(("sh", "-c", "exec sleep 600"), "/", ENV), hold_slave=True),
        open_guard(GATEWAY, held=(writer,)) as guard,
    ):
        pid = await begun(guard)
        links = {name: os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    assert links.pop("0").startswith("pipe:")
    assert links == {"1": "/dev/null", "2": "/dev/null", str(writer): os.readlink(f"/proc/self/fd/{writer}")}
    os.close(writer)
    os.close(reader)


async def test_it_is_not_marked_as_somebodys_job_even_if_its_gateway_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARKER, "another/job")
    async with open_guard(GATEWAY) as guard:
        process = look(await begun(guard))
    assert process is not None
    assert process.marker == ""


async def test_it_is_small() -> None:
    async with open_guard(GATEWAY) as guard:
        assert int(status(await begun(guard), "VmRSS")) < 16 * 1024  # KiB
