"""One PTY child, with real children: what it sees, what we read, and that nothing of it is ever left."""

import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from actors import pty
from actors.pty import (
    FULL_LADDER,
    INTERRUPT_KEY,
    ONE_SHOT_LADDER,
    ExitStatus,
    Ladder,
    PtyChild,
    PtySpec,
    Rung,
    open_pty,
)
from actors.reaper import Reaper, reap, reap_by_polling
from protocol.errors import ImageUnavailable

PATH = "/usr/bin:/bin"
QUICK: Ladder = (
    Rung(INTERRUPT_KEY, 0.3),
    Rung(signal.SIGINT, 0.3),
    Rung(signal.SIGTERM, 0.3),
    Rung(signal.SIGKILL, 5.0),
)


def python(script: str, **env: str) -> PtySpec:
    prelude = "import os, signal, subprocess, sys, time\n"
    return PtySpec(argv=(sys.executable, "-S", "-c", prelude + script), cwd="/", env={"PATH": PATH, **env})


def shell(script: str) -> PtySpec:
    return PtySpec(argv=("sh", "-c", script), cwd="/", env={"PATH": PATH})


async def read_all(child: PtyChild) -> bytes:
    seen = b""
    while chunk := await child.receive():
        seen += chunk
    return seen


async def read_until(child: PtyChild, mark: bytes) -> bytes:
    seen = b""
    while mark not in seen:
        chunk = await child.receive()
        assert chunk, f"ended after {seen!r}"
        seen += chunk
    return seen


async def output_of(spec: PtySpec) -> bytes:
    async with open_pty(spec) as child:
        return await read_all(child)


def alive(pid: int) -> bool:
    """A zombie whose new parent has not collected it yet is dead enough."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int) -> None:
    """Wait for the end of a process that is nobody's child here."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with trio.fail_after(5):
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


def open_descriptors() -> Counter[str]:
    found = Counter[str]()
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found[str(fd.readlink()).partition(":[")[0]] += 1
        except FileNotFoundError:
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test may leave a descriptor or an uncollected child; not async, since pytest-trio passes over autouse ones."""
    before = open_descriptors()
    yield
    assert open_descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# What the child sees


async def test_it_sees_a_terminal_of_the_given_size_before_its_first_line() -> None:
    script = "print(*(os.isatty(fd) for fd in range(3)), os.get_terminal_size(1), os.get_terminal_size(0))"
    size = "os.terminal_size(columns=100, lines=30)"
    spec = python(script)
    assert (
        await output_of(PtySpec(spec.argv, spec.cwd, spec.env, 100, 30)) == f"True True True {size} {size}\n".encode()
    )
    default = "os.terminal_size(columns=80, lines=24)"
    assert await output_of(spec) == f"True True True {default} {default}\n".encode()


async def test_it_leads_a_session_with_a_controlling_terminal() -> None:
    async with open_pty(python("os.open('/dev/tty', os.O_RDWR); print(os.getsid(0), os.getpgid(0))")) as child:
        assert await read_all(child) == f"{child.pid} {child.pid}\n".encode()


async def test_its_environment_and_folder_are_the_given_ones(tmp_path: Path) -> None:
    spec = PtySpec(("sh", "-c", "pwd; /usr/bin/env | grep -v -e ^PWD= -e ^_= -e ^SHLVL="), str(tmp_path), {"A": "é"})
    assert await output_of(spec) == f"{tmp_path}\nA=é\n".encode()


async def test_no_descriptor_of_the_parent_is_inherited() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        async with open_pty(shell("echo up; exec sleep 60")) as other:
            await read_until(other, b"up")
            # The listing itself needs one descriptor.
            assert await output_of(python("print(sorted(map(int, os.listdir('/proc/self/fd'))))")) == b"[0, 1, 2, 3]\n"
    finally:
        os.close(reader)
        os.close(writer)


# What we read


async def test_both_outputs_come_in_order_and_untranslated() -> None:
    script = "for n in range(50): os.write(1 + n % 2, b'%d\\n' % n)"
    assert await output_of(python(script)) == b"".join(b"%d\n" % n for n in range(50))


async def test_bytes_arrive_while_it_runs_and_input_is_not_echoed() -> None:
    async with open_pty(python("print('name?'); print('hello', input()); print('and', input())")) as child:
        assert await child.receive() == b"name?\n"
        await child.send("Zoë 🐣\n".encode())
        assert await child.receive() == "hello Zoë 🐣\n".encode()
        await child.send(b"you\n")
        assert await read_all(child) == b"and you\n"
        assert await child.wait() == ExitStatus(code=0)


async def test_utf8_is_passed_raw_and_may_be_cut_anywhere() -> None:
    text = "███▎ 17% 🐣 " * 4000
    output = await output_of(python(f"sys.stdout.buffer.write({'███▎ 17% 🐣 '!r}.encode() * 4000)", PYTHONUTF8="1"))
    assert output.decode() == text


async def test_large_input_waits_for_a_slow_reader_without_spinning() -> None:
    script = """
import tty
tty.setraw(0)
signal.signal(signal.SIGUSR1, lambda *_: None)
print('up', flush=True)
signal.pause()
print(len(sys.stdin.buffer.read(300_000)))
"""
    async with open_pty(python(script)) as child:
        await read_until(child, b"up")
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child.send, b"x" * 300_000)
                await trio.testing.wait_all_tasks_blocked(0.05)  # full, and nobody reads: a spinning task never blocks
                os.kill(child.pid, signal.SIGUSR1)
            assert await read_all(child) == b"300000\n"


async def test_the_last_output_survives_the_exit() -> None:
    async with open_pty(python("os.write(1, b'x' * 3000); os._exit(3)")) as child:
        assert await child.wait() == ExitStatus(code=3)
        assert await read_all(child) == b"x" * 3000
        assert await child.receive() == b""


@pytest.mark.parametrize("hold_slave", [False, True], ids=["linux", "macos"])
async def test_the_end_comes_whoever_holds_the_terminal(hold_slave: bool) -> None:
    script = "os.write(1, b'x' * 60_000); print('last', flush=True)"
    async with open_pty(python(script), hold_slave=hold_slave) as child:
        with trio.fail_after(5):
            assert await read_all(child) == b"x" * 60_000 + b"last\n"
            assert await child.wait() == ExitStatus(code=0)


async def test_every_platforms_end_of_output_is_understood() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    assert pty._read(reader) is None
    os.close(writer)
    assert pty._read(reader) == b""  # BSD and macOS
    os.close(reader)
    master, slave = os.openpty()
    os.close(slave)
    assert pty._read(master) == b""  # Linux: EIO
    os.close(master)
    with pytest.raises(OSError, match="Bad file descriptor"):
        pty._read(master)


async def test_closed_outputs_end_the_reading_but_not_the_child() -> None:
    async with open_pty(python("import os; [os.close(fd) for fd in (0, 1, 2)]; time.sleep(0.2); os._exit(4)")) as child:
        assert await read_all(child) == b""
        assert await child.wait() == ExitStatus(code=4)


async def test_a_flooding_child_does_not_starve_another() -> None:
    async with (
        open_pty(shell("exec yes")) as flood,
        open_pty(python("print('up', flush=True)\nwhile True: print(input(), flush=True)")) as quiet,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(read_all, flood)
        with trio.fail_after(5):
            await read_until(quiet, b"up\n")
            for n in range(50):
                await quiet.send(b"%d\n" % n)
                assert await quiet.receive() == b"%d\n" % n
        nursery.cancel_scope.cancel()


# How it ends


@pytest.mark.parametrize("reaper", [reap, reap_by_polling])
@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", ExitStatus(code=0)),
        ("exit 77", ExitStatus(code=77)),
        ("kill -USR1 $$", ExitStatus(signal=signal.SIGUSR1)),
    ],
)
async def test_status_tells_an_exit_from_a_signal(script: str, status: ExitStatus, reaper: Reaper) -> None:
    async with open_pty(shell(script), reaper=reaper) as child:
        assert await child.wait() == status
        assert await child.stop() == status
    assert child.status == status
    assert not child.stuck


async def test_a_status_that_somebody_else_took_is_an_error() -> None:
    async with open_pty(shell("read line; exit 0")) as child:
        await child.send(b"\n")
        os.waitpid(child.pid, 0)  # noqa: ASYNC222 - the child is ending
        assert await child.wait() == ExitStatus(code=255)


def ignoring(*names: str) -> str:
    return "".join(f"signal.signal(signal.{name}, signal.SIG_IGN)\n" for name in names)


OBEDIENT = "signal.signal(signal.SIGINT, lambda *_: sys.exit(5))\n"
READY = "print('ready', flush=True)\n"
SLEEP = READY + "while True: time.sleep(60)\n"
STUBBORN: list[tuple[str, str, ExitStatus]] = [
    ("obeys the key", OBEDIENT + SLEEP, ExitStatus(code=5)),
    ("has no isig", "os.system('stty -isig')\n" + OBEDIENT + SLEEP, ExitStatus(code=5)),
    ("ignores SIGINT", ignoring("SIGINT") + SLEEP, ExitStatus(signal=signal.SIGTERM)),
    ("ignores SIGTERM", ignoring("SIGINT", "SIGTERM", "SIGHUP") + SLEEP, ExitStatus(signal=signal.SIGKILL)),
    ("is stopped", READY + "os.kill(os.getpid(), signal.SIGSTOP)\n" + SLEEP, ExitStatus(signal=signal.SIGINT)),
    (
        "has more to say than a terminal holds",
        "signal.signal(signal.SIGINT, lambda *_: (os.write(1, b'x' * 99_999), os._exit(6)))\n" + SLEEP,
        ExitStatus(code=6),
    ),
]


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


GRANDCHILD = """
script = {handlers!r} + "import os, time; print('ready', os.getpid(), '.', flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, '-S', '-c', 'import signal\\n' + script], start_new_session={session})
"""


async def grandchild_pid(child: PtyChild) -> int:
    return int((await read_until(child, b" .")).split(b"ready ")[1].split()[0])


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


# For the day when this process is killed


class Notebook:
    """A keeper that notes what it is told."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, int]] = []

    def mark(self, spec: PtySpec) -> PtySpec:
        return msgspec.structs.replace(spec, env={**spec.env, "MARK": "x"})

    def watch(self, pgid: int) -> None:
        assert alive(pgid)
        self.notes.append(("watch", pgid))

    def forget(self, pgid: int) -> None:
        assert not Path(f"/proc/{pgid}").exists()
        self.notes.append(("forget", pgid))


async def test_a_keeper_marks_it_and_knows_of_it_until_it_is_collected() -> None:
    keeper = Notebook()
    async with open_pty(shell("echo $MARK; read line"), keeper=keeper) as child:
        assert keeper.notes == [("watch", child.pid)]
        assert await child.receive() == b"x\n"
        assert len(keeper.notes) == 1
    assert keeper.notes == [("watch", child.pid), ("forget", child.pid)]


async def test_a_keeper_is_not_told_of_what_was_not_started() -> None:
    keeper = Notebook()
    with pytest.raises(ImageUnavailable):
        async with open_pty(shell("true \0"), keeper=keeper):
            pytest.fail("started")
    assert keeper.notes == []


async def test_a_stuck_child_is_kept_beyond_its_scope() -> None:
    released = trio.Event()
    keeper = Notebook()

    async def late(pid: int, kill_leftovers: Callable[[], None]) -> ExitStatus:
        await released.wait()
        return await reap(pid, kill_leftovers)

    async with open_pty(shell("exec sleep 60"), ladder=(Rung(signal.SIGKILL, 0.05),), reaper=late, keeper=keeper) as c:
        pass
    assert keeper.notes == [("watch", c.pid)]
    released.set()
    await c.wait()
    assert keeper.notes == [("watch", c.pid), ("forget", c.pid)]


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
