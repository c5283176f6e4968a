"""Small children in a pseudo-terminal, and what is left of them."""

import os
import signal
import sys
from pathlib import Path

import trio
import trio.testing

from actors.pty import (
    INTERRUPT_KEY,
    ExitStatus,
    Ladder,
    PtyChild,
    PtySpec,
    Rung,
    open_pty,
)

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


GRANDCHILD = """
script = {handlers!r} + "import os, time; print('ready', os.getpid(), '.', flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, '-S', '-c', 'import signal\\n' + script], start_new_session={session})
"""


async def grandchild_pid(child: PtyChild) -> int:
    return int((await read_until(child, b" .")).split(b"ready ")[1].split()[0])
