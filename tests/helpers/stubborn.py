"""A gateway's children of every stubbornness, as a program to be killed; and how to see that a process is gone.

Run as a program: `python -m tests.helpers.stubborn DATA` prints one line of JSON, a `Brood`, and goes on for ever.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
import trio

from actors.guard import Guard, open_guard
from actors.pty import PtyChild, PtySpec, open_pty
from actors.sweep import open_data_lock

ROOT = Path(__file__).parents[2]
_PRELUDE = """
import os, signal, subprocess, sys, time
def ignore(*names): [signal.signal(getattr(signal, name), signal.SIG_IGN) for name in names]
def ready(*pids): print('ready', os.getpid(), *pids, '.', flush=True)
def sleep(): time.sleep(600)
"""
_SLEEPER = "[sys.executable, '-S', '-c', 'import time; time.sleep(600)']"
_DAEMON = """
reader, writer = os.pipe()
if not os.fork():
    os.setsid()
    if os.fork(): os._exit(0)
    os.chdir('/')
    ignore('SIGHUP')
    os.write(writer, str(os.getpid()).encode())
    os.closerange(0, 100)
    sleep()
os.wait()
ready(int(os.read(reader, 20)))
"""
STUBBORN = {
    "plain": "ready(); sleep()",
    "ignores SIGHUP": "ignore('SIGHUP'); ready(); sleep()",
    "ignores SIGTERM": "ignore('SIGHUP', 'SIGINT', 'SIGTERM'); ready(); sleep()",
    "nohup": f"p = subprocess.Popen(['nohup', *{_SLEEPER}]); ready(p.pid); sleep()",
    "setsid": f"ready(subprocess.Popen({_SLEEPER}, start_new_session=True).pid); sleep()",
    "setsid, left alone": f"ready(subprocess.Popen({_SLEEPER}, start_new_session=True).pid)",
    "no marker": f"ignore('SIGHUP'); ready(subprocess.Popen({_SLEEPER}, env={{}}).pid); sleep()",
    "daemon": _DAEMON + "sleep()",
    "daemon, left alone": _DAEMON,
    "holds its terminal": "tty = os.open('/dev/tty', os.O_RDWR); ignore('SIGHUP', 'SIGTTOU'); ready(); sleep()",
    "is stopped": "ignore('SIGHUP', 'SIGCONT'); ready(); os.kill(os.getpid(), signal.SIGSTOP); sleep()",
}


class Brood(msgspec.Struct, frozen=True):
    """The process ids of a gateway's guard and of all its children's processes that run."""

    guard: int
    children: list[int]


@asynccontextmanager
async def stubborn_children(guard: Guard, jobs: Path) -> AsyncIterator[list[int]]:
    """One child of every kind, each in a job directory; the pids of all processes that run."""
    async with AsyncExitStack() as stack:
        pids: list[int] = []
        for number, script in enumerate(STUBBORN.values()):
            job = jobs / f"job-{number}"
            job.mkdir(parents=True)
            argv = (sys.executable, "-S", "-c", _PRELUDE + script)
            spec = PtySpec(argv=argv, cwd=str(job), env={"PATH": "/usr/bin:/bin"})
            child = await stack.enter_async_context(open_pty(spec, keeper=guard))
            pids += await _reported(child)
            if "sleep()" not in script.splitlines()[-1]:
                await child.wait()
                pids.remove(child.pid)
        yield pids


async def _reported(child: PtyChild) -> list[int]:
    seen = b""
    while b" ." not in seen:
        chunk = await child.receive()
        assert chunk, seen
        seen += chunk
    return [int(word) for word in seen.partition(b"ready ")[2].partition(b" .")[0].split()]


@asynccontextmanager
async def doomed_gateway(data: Path) -> AsyncIterator[tuple[trio.Process, Brood]]:
    """This module as a process of its own, whose children have all begun."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", __name__, str(data)], stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True
    )
    assert process.stdout is not None
    try:
        line = b""
        with trio.fail_after(30):
            while not line.endswith(b"\n"):
                chunk = await process.stdout.receive_some()
                assert chunk, "it has ended"
                line += chunk
        yield process, msgspec.json.decode(line, type=Brood)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


@contextmanager
def pinned(*pids: int) -> Iterator[list[int]]:
    """A pidfd for each process that runs now, so that a number used again deceives nobody."""
    fds = [os.pidfd_open(pid) for pid in pids]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


async def all_gone(pidfds: list[int], within_s: float = 5.0) -> None:
    """Wait until all have ended. Raises trio.TooSlowError."""
    with trio.fail_after(within_s):
        for fd in pidfds:
            await trio.lowlevel.wait_readable(fd)


async def _main(data: Path) -> None:
    jobs = data / "jobs"
    async with (
        open_data_lock(data) as lock,
        open_guard(lock.gateway, jobs=jobs, held=(lock.fd,)) as guard,
        stubborn_children(guard, jobs) as pids,
    ):
        assert guard.pid is not None
        print(msgspec.json.encode(Brood(guard.pid, pids)).decode(), flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(_main, Path(sys.argv[1]))
