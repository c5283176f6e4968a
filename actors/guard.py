"""The gateway's side of the guard process: starts it, tells it every child's group, and replaces it when it dies."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import structlog
import trio

from actors.census import MARKER
from actors.guard_process import FORGET, GIVE_UP_S, WATCH
from actors.spawn import PtySpec
from protocol.restart import RestartPolicy, RestartWindow

log = structlog.get_logger(__name__)

RESTARTS: Final = RestartPolicy(intensity=10, backoff_s=0.1)  # beyond them it keeps trying at the longest wait
STOP_S: Final = GIVE_UP_S + 2.0  # the guard process bounds itself; this much later it is killed
KILL_S: Final = 1.0
_CODE_ROOT: Final = str(Path(__file__).resolve().parent.parent)
_PROGRAM: Final = "import sys; sys.path.append(sys.argv[1]); from actors.guard_process import main; main(*sys.argv[2:])"


class Guard:
    """Sees to it that no child outlives this process, not even its SIGKILL; a `Keeper` for `open_pty`."""

    def __init__(
        self,
        gateway: str,
        jobs: Path | None,
        held: tuple[int, ...],
        restarts: RestartWindow,
        open_files: int | None = None,
    ) -> None:
        self._gateway = gateway
        self._jobs = str(jobs.absolute()) if jobs else ""
        self._held = held
        self._restarts = restarts
        self._open_files = open_files
        self._groups: set[int] = set()
        self._process: trio.Process | None = None
        self._pipe: int | None = None
        self._keeping = trio.CancelScope()
        self._kept = trio.Event()

    @property
    def pid(self) -> int | None:
        """The guard process, or None while there is none."""
        return self._process.pid if self._process else None

    def mark(self, spec: PtySpec) -> PtySpec:
        """The same child with this gateway's marker in its environment; its job is named as its folder is.

        It gets the limit of open files that children are to have, unless it asks for one.
        """
        marker = f"{self._gateway}/{os.path.basename(spec.cwd)}"
        open_files = self._open_files if spec.open_files is None else spec.open_files
        return msgspec.structs.replace(spec, env={**spec.env, MARKER: marker}, open_files=open_files)

    def watch(self, pgid: int) -> None:
        """A child leads this group now. Never blocks."""
        self._groups.add(pgid)
        self._tell(WATCH, pgid)

    def forget(self, pgid: int) -> None:
        """The child has been collected and its group is empty. Never blocks."""
        self._groups.discard(pgid)
        self._tell(FORGET, pgid)

    def _tell(self, verb: bytes, pgid: int) -> None:
        if self._pipe is None or self._process is None:
            return  # the next guard process is told everything anew
        try:
            os.write(self._pipe, b"%b%d\n" % (verb, pgid))  # short enough to be written whole or not at all
        except BrokenPipeError:
            pass
        except BlockingIOError:
            self._process.kill()  # it has stopped reading; another one takes its place

    async def _start(self) -> None:
        """Start a guard process and tell it all. Raises OSError."""
        command = (sys.executable, "-I", "-S", "-c", _PROGRAM, _CODE_ROOT, self._gateway, self._jobs)
        reader, writer = os.pipe()
        try:
            os.set_blocking(writer, False)
            self._process = await trio.lowlevel.open_process(
                command,
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={name: value for name, value in os.environ.items() if name != MARKER},
                start_new_session=True,
                pass_fds=self._held,
            )
        except BaseException:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        self._pipe = writer
        for pgid in self._groups:
            self._tell(WATCH, pgid)

    async def _keep(self) -> None:
        """Replace every guard process that dies, for as long as it takes."""
        with self._keeping:
            while True:
                if self._process is not None:
                    status = await self._process.wait()
                    self._drop()
                    log.warning("guard_died", status=status)
                delay = self._restarts.next_delay(trio.current_time())
                await trio.sleep(RESTARTS.backoff_max_s if delay is None else delay)
                try:
                    await self._start()
                except OSError as error:
                    log.warning("guard_missing", reason=error.strerror)
        self._kept.set()

    async def _stop(self) -> None:
        """Let the guard process end what is left, and itself."""
        self._keeping.cancel()
        await self._kept.wait()
        if self._process is None:
            return
        process = self._process
        self._drop()
        with trio.move_on_after(STOP_S):
            await process.wait()
        if process.returncode is None:
            log.warning("guard_stuck", pid=process.pid)
            process.kill()
            await process.wait()

    def _drop(self) -> None:
        """Close the pipe, whose end tells the guard process that its time has come."""
        self._process = None
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


@asynccontextmanager
async def open_guard(
    gateway: str,
    *,
    jobs: Path | None = None,
    held: tuple[int, ...] = (),
    open_files: int | None = None,
    random: Random | None = None,
) -> AsyncIterator[Guard]:
    """Guard the children of this process, whose marker begins with `gateway`, which has no slash in it.

    `open_files` is the soft limit of open files that they get, for a process that has raised its own.

    Whether the scope is left or the process is killed: all that is watched or marked is ended, and `jobs`, the folder
    of the job directories, is removed. The descriptors `held`, such as the data directory's lock, stay open until
    that is done. Open it around all that starts children. Raises OSError if the guard process cannot be started.
    """
    guard = Guard(gateway, jobs, held, RestartWindow(RESTARTS, random or Random()), open_files)
    await guard._start()
    trio.lowlevel.spawn_system_task(guard._keep)  # not a nursery, to keep exception groups out of the scope
    try:
        yield guard
    finally:
        with trio.move_on_after(STOP_S + KILL_S, shield=True):
            await guard._stop()
