"""The real `hatchery` command as a child process, its output gathered, and nothing of it left behind."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

import trio

HATCHERY: Final = Path(sys.executable).with_name("hatchery")


class Child:
    """A running command and all that it has said."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._said: dict[str, bytearray] = {"out": bytearray(), "err": bytearray()}
        self._more = trio.Event()
        self._open = 2

    @property
    def out(self) -> str:
        """What stands on stdout by now."""
        return self._said["out"].decode()

    @property
    def err(self) -> str:
        """What stands on stderr by now."""
        return self._said["err"].decode()

    async def until(self, text: str, *, within_s: float = 60.0, stream: Literal["out", "err"] = "out") -> str:
        """Wait until stdout, or stderr, holds `text`; returns the line that it stands in.

        A second's start takes half a minute on a machine whose cores and disk are taken.
        """
        with trio.move_on_after(within_s):
            while text not in self._said[stream].decode() and self._open:
                await self._more.wait()
        found = [line for line in self._said[stream].decode().splitlines() if text in line]
        assert found, f"{text!r} was never said: {self.out!r}, {self.err!r}"
        return found[0]

    async def ended(self, *, within_s: float = 30.0) -> int:
        """The exit code, once the process is gone and its output is whole."""
        with trio.fail_after(within_s):
            status = await self.process.wait()
            while self._open:
                await self._more.wait()
        return status

    async def _gather(self, name: str, stream: trio.abc.ReceiveStream) -> None:
        async for data in stream:
            self._said[name] += data
            self._notify()
        self._open -= 1
        self._notify()

    def _notify(self) -> None:
        self._more.set()
        self._more = trio.Event()


@asynccontextmanager
async def hatchery(
    *arguments: str | Path, cwd: Path, environ: Mapping[str, str] | None = None, within: Sequence[str] = ()
) -> AsyncIterator[Child]:
    """The command, started in `cwd` with no settings but `environ`'s; killed when the block ends.

    `within` is a command that executes another one, in surroundings of its own.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HATCHERY_")}
    process = await trio.lowlevel.open_process(
        [*within, HATCHERY, *arguments],
        cwd=cwd,
        env={**inherited, **(environ or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    child = Child(process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child._gather, "out", process.stdout)
        nursery.start_soon(child._gather, "err", process.stderr)
        try:
            yield child
        finally:
            if process.returncode is None:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
            nursery.cancel_scope.cancel()


async def run_hatchery(
    *arguments: str | Path, cwd: Path, environ: Mapping[str, str] | None = None, within_s: float = 60.0
) -> tuple[int, str, str]:
    """Run to the end; returns exit code, stdout, stderr."""
    async with hatchery(*arguments, cwd=cwd, environ=environ) as child:
        return await child.ended(within_s=within_s), child.out, child.err


async def descendants(pid: int) -> set[int]:
    """The processes below `pid`, by ps."""
    listed = await trio.run_process(["ps", "-A", "-o", "pid=,ppid="], capture_stdout=True)
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listed.stdout.splitlines())}
    found = {pid}
    while grown := {child for child, parent in parents.items() if parent in found} - found:
        found |= grown
    return found - {pid}


def is_alive(pid: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
