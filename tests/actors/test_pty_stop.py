"""Ending children in a pseudo-terminal: the ladder's rungs, grandchildren, and cancellation at every wait."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from actors import pty
from actors.pty import (
    FULL_LADDER,
    INTERRUPT_KEY,
    ONE_SHOT_LADDER,
    ExitStatus,
    PtyChild,
    Rung,
    open_pty,
)
from actors.reaper import Reaper, reap, reap_by_polling
from tests.helpers.pty_children import (
    GRANDCHILD,
    OBEDIENT,
    QUICK,
    SLEEP,
    STUBBORN,
    alive,
    gone,
    grandchild_pid,
    ignoring,
    python,
    read_all,
    read_until,
    shell,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.mark.parametrize("reaper", [reap, reap_by_polling])
@pytest.mark.parametrize(("script", "status"), [row[1:] for row in STUBBORN], ids=[row[0] for row in STUBBORN])
async def test_the_ladder_ends_every_child_at_its_rung(script: str, status: ExitStatus, reaper: Reaper) -> None:
    async with open_pty(python(script), ladder=QUICK, reaper=reaper) as child:
        await read_until(child, b"ready")
    assert child.status == status


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (OBEDIENT + SLEEP, ExitStatus(signal=signal.SIGTERM)),
        (ignoring("SIGTERM") + SLEEP, ExitStatus(signal=signal.SIGKILL)),
    ],
)
async def test_a_one_shot_is_not_asked(script: str, status: ExitStatus) -> None:
    ladder = (Rung(signal.SIGTERM, 0.3), ONE_SHOT_LADDER[-1])
    async with open_pty(python(script), ladder=ladder) as child:
        await read_until(child, b"ready")
        assert await child.stop(ladder) == status


async def test_the_interrupt_key_loses_no_unread_output(tmp_path: Path) -> None:
    fifo = tmp_path / "written"
    os.mkfifo(fifo)
    written = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    script = "signal.signal(signal.SIGINT, lambda *_: os._exit(0))\nos.write(1, b'x' * 10_000)\n"  # over 4 KiB
    async with open_pty(python(script + f"open({str(fifo)!r}, 'w').close()\ntime.sleep(60)")) as child:
        await trio.lowlevel.wait_readable(written)
        os.close(written)
        await child.send(INTERRUPT_KEY)
        assert await read_all(child) == b"x" * 10_000
        assert await child.wait() == ExitStatus(code=0)


async def test_a_polite_ladder_may_leave_it_alive() -> None:
    async with open_pty(python(ignoring("SIGINT") + SLEEP)) as child:
        await read_until(child, b"ready")
        assert await child.stop((Rung(signal.SIGINT, 0.05),)) is None
        assert not child.stuck
        assert alive(child.pid)


@pytest.mark.parametrize("reaper", [reap, reap_by_polling])
@pytest.mark.parametrize("handlers", ["", ignoring("SIGHUP", "SIGINT", "SIGTERM")], ids=["plain", "stubborn"])
@pytest.mark.parametrize("ends_itself", [True, False])
async def test_no_grandchild_of_its_group_survives(ends_itself: bool, handlers: str, reaper: Reaper) -> None:
    after = "input()" if ends_itself else "time.sleep(60)"
    spec = python(GRANDCHILD.format(handlers=handlers, session=False) + after)
    async with open_pty(spec, ladder=QUICK, reaper=reaper) as child:
        pid = await grandchild_pid(child)
        if ends_itself:
            await child.send(b"\n")
            with trio.fail_after(5):  # the grandchild holds the terminal: no EIO
                await read_all(child)
                assert await child.wait() == ExitStatus(code=0)
    await gone(pid)


async def test_a_grandchild_out_of_reach_cannot_keep_the_reading_open() -> None:
    flood = "while True: os.write(1, b'x' * 9999)"
    script = f"import os; print('ready', os.getpid(), '.', flush=True)\n{flood}"
    spec = python(f"subprocess.Popen([sys.executable, '-S', '-c', {script!r}], start_new_session=True)\ninput()")
    async with open_pty(spec) as child:
        pid = await grandchild_pid(child)
        await child.send(b"\n")
        with trio.fail_after(5):
            await read_all(child)
            assert await child.wait() == ExitStatus(code=0)
    await gone(pid)  # its terminal is closed now: its next write fails


async def test_a_child_that_survives_sigkill_is_reported_and_collected_later() -> None:
    released = trio.Event()

    async def late(pid: int, kill_leftovers: Callable[[], None]) -> ExitStatus:
        await released.wait()
        return await reap(pid, kill_leftovers)

    with trio.fail_after(5):
        async with open_pty(shell("exec sleep 60"), ladder=(Rung(signal.SIGKILL, 0.05),), reaper=late) as child:
            assert await child.stop((Rung(signal.SIGTERM, 0.05), Rung(signal.SIGKILL, 0.05))) is None
            assert child.stuck
        assert child.stuck
        assert child.status is None
        released.set()
        assert await child.wait() == ExitStatus(signal=signal.SIGTERM)
    assert not child.stuck


# Scopes and cancellation


async def test_leaving_by_an_error_stops_it_and_passes_the_error_on_bare() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_pty(shell("exec sleep 60")) as child:
            _ = 1 / 0
    assert child.status == ExitStatus(signal=signal.SIGTERM)


async def test_a_cancelled_scope_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pty, "spawn", lambda *_, **__: pytest.fail("forked"))
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_pty(shell("true")):
            pass
    assert scope.cancelled_caught


async def forever_receive(child: PtyChild) -> None:
    while True:
        assert await child.receive()


async def forever_send(child: PtyChild) -> None:
    while True:
        await child.send(b"x" * 65536)


async def forever_wait(child: PtyChild) -> None:
    await child.wait()


async def forever_stop(child: PtyChild) -> None:
    await child.stop((Rung(signal.SIGCONT, 60),))


@pytest.mark.parametrize("waiting", [forever_receive, forever_send, forever_wait, forever_stop])
async def test_cancellation_at_any_wait_stops_it(waiting: Callable[[PtyChild], Awaitable[None]]) -> None:
    @asynccontextmanager
    async def started() -> AsyncIterator[PtyChild]:
        async with open_pty(python(SLEEP), ladder=QUICK) as child:
            await read_until(child, b"ready")
            yield child

    with trio.fail_after(5):
        async with started() as child, trio.open_nursery() as nursery:
            nursery.start_soon(waiting, child)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert child.status == ExitStatus(signal=signal.SIGINT)


async def test_after_the_scope_its_terminal_is_closed_for_everyone() -> None:
    async with open_pty(shell("exec sleep 60")) as child:
        pass
    with pytest.raises(trio.ClosedResourceError):
        await child.receive()
    with pytest.raises(trio.ClosedResourceError):
        await child.send(b"x")


async def test_typing_to_a_dead_child_is_an_error() -> None:
    async with open_pty(shell("exit 0")) as child:
        await child.wait()
        with pytest.raises(trio.BrokenResourceError):
            await child.send(b"x")


async def test_stop_works_beside_a_task_that_reads() -> None:
    async with open_pty(python(OBEDIENT + SLEEP)) as child, trio.open_nursery() as nursery:
        await read_until(child, b"ready")
        nursery.start_soon(read_all, child)
        await trio.testing.wait_all_tasks_blocked()
        assert await child.stop(FULL_LADDER) == ExitStatus(code=5)


async def test_a_ladder_must_end_with_sigkill() -> None:
    for ladder in ((), (Rung(signal.SIGTERM, 1),)):
        with pytest.raises(ValueError, match="SIGKILL"):
            async with open_pty(shell("true"), ladder=ladder):
                pass


async def test_cancelling_forty_mixed_children_at_once_leaves_nothing() -> None:
    children: list[PtyChild] = []
    grandchildren: list[int] = []
    scripts = [row[1] for row in STUBBORN] + [GRANDCHILD.format(handlers=ignoring("SIGHUP"), session=False) + SLEEP]

    async def run(script: str, ready: trio.Event) -> None:
        async with open_pty(python(script), ladder=QUICK) as child:
            children.append(child)
            if "Popen" in script:
                grandchildren.append(await grandchild_pid(child))
            else:
                await read_until(child, b"ready")
            ready.set()
            await read_all(child)
            await child.wait()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            events = [trio.Event() for _ in range(42)]
            for number, ready in enumerate(events):
                nursery.start_soon(run, scripts[number % len(scripts)], ready)
            for ready in events:
                await ready.wait()
            nursery.cancel_scope.cancel()
        for pid in grandchildren:
            await gone(pid)
    assert len(children) == 42
    assert len(grandchildren) == 6
    assert not any(child.stuck or child.status is None or alive(child.pid) for child in children)
