"""One PTY child, with real children: what it sees, what we read, and that nothing of it is ever left."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from actors import pty
from actors.pty import (
    ExitStatus,
    PtySpec,
    Rung,
    open_pty,
)
from actors.reaper import Reaper, reap, reap_by_polling
from protocol.errors import ImageUnavailable
from tests.helpers.pty_children import alive, output_of, python, read_all, read_until, shell

pytestmark = pytest.mark.usefixtures("nothing_left")

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
