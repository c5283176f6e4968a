"""`hatchery doctor --probe`: runs the image command over pipes and on a terminal, and notes what each shows when.

The difference is why Hatchery reads a terminal: who reads a pipe by lines sees a whole bar at once, when it is over.
"""

import contextlib
import os
import shlex
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Final

import msgspec
import trio

from actors.mflux.jobs import open_job_directory
from actors.mflux.oneshot import PICTURE, QUOTED_LINES, Program, child_environment
from actors.pty import ExitStatus, PtySpec, open_pty
from actors.reaper import reap
from gateway.doctor.finding import Finding, ok, problem
from protocol.tqdm import BarEvent, BarReader

STEPS: Final = 2
SIDE: Final = 256  # pixels
RUN_S: Final = 300.0
"""Seconds for each of the two runs; a cold model takes a minute to load."""
KILL_S: Final = 5.0
READ_BYTES: Final = 65536
KEPT_BARS: Final = 32
HELD_BYTES: Final = 65536  # of a line that does not end


class Sight(msgspec.Struct, frozen=True, tag="sight"):
    """What one reader saw, in seconds since the start of its run; None if it never did.

    `first_progress_s` is the first sign of a finished step; `bars` are the frames in the order in which they appeared.
    """

    reader: str
    first_byte_s: float | None
    first_progress_s: float | None
    end_s: float
    bars: tuple[str, ...]
    lines: int


class Run(msgspec.Struct, frozen=True):
    """One life of the command: how it ended (None: not in time), if it left a picture, what its readers saw."""

    status: ExitStatus | None
    has_picture: bool
    sights: tuple[Sight, ...]
    last_lines: tuple[str, ...]


class Reader:
    """Notes what one way of reading shows; `by_lines` holds back what no line feed has ended yet."""

    def __init__(self, name: str, *, by_lines: bool = False) -> None:
        self._name = name
        self._by_lines = by_lines
        self._held = b""
        self._reader = BarReader()
        self._first_byte_s: float | None = None
        self._first_progress_s: float | None = None
        self._bars: list[str] = []
        self._lines = 0

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The newest lines that are no bars."""
        return self._reader.last_lines

    def feed(self, data: bytes, at_s: float) -> None:
        """Some bytes of the run, b"" at its end; `at_s` is in seconds since its start."""
        if self._by_lines and data:
            whole, feed, self._held = (self._held + data).rpartition(b"\n")
            data, self._held = whole + feed, self._held[-HELD_BYTES:]
        elif self._by_lines:
            data, self._held = self._held, b""
        if not data:
            return
        if self._first_byte_s is None:
            self._first_byte_s = at_s
        for event in self._reader.feed(data):
            match event:
                case BarEvent(bar=bar):
                    if len(self._bars) < KEPT_BARS:
                        self._bars.append(f"{bar.description} {bar.done}/{bar.total}".lstrip())
                    if bar.done and self._first_progress_s is None:
                        self._first_progress_s = at_s
                case _:
                    self._lines += 1

    def sight(self, end_s: float) -> Sight:
        """What it has shown by the end of the run."""
        first_byte_s, first_progress_s = _rounded(self._first_byte_s), _rounded(self._first_progress_s)
        return Sight(self._name, first_byte_s, first_progress_s, round(end_s, 3), tuple(self._bars), self._lines)


def _rounded(at_s: float | None) -> float | None:
    return None if at_s is None else round(at_s, 3)


async def probe(program: Program, environ: Mapping[str, str], *, root: Path, run_s: float = RUN_S) -> tuple[Run, Run]:
    """Two steps over pipes, then two on a terminal; downloads nothing, and leaves nothing behind, cancelled or not.

    Its files are below `root` for that long; each run may take `run_s` seconds. Raises ImageUnavailable or OSError if
    the command cannot be started.
    """
    env = {**child_environment(environ), "HF_HUB_OFFLINE": "1"}
    runs = []
    for run in (_over_pipes, _on_terminal):
        async with open_job_directory(root, "hatchery-probe") as directory:
            (directory / "prompt.txt").write_text("an owl", encoding="utf-8")
            runs.append(await run(PtySpec(_argv(program), str(directory), env), run_s))
    return runs[0], runs[1]


def _argv(program: Program) -> tuple[str, ...]:
    """The last of two equal flags counts, so these also win over those that were configured."""
    size = ("--width", str(SIDE), "--height", str(SIDE))
    return (*program.argv, "--prompt-file", "prompt.txt", "--output", PICTURE, "--steps", str(STEPS), "--seed=7", *size)


async def _on_terminal(spec: PtySpec, run_s: float) -> Run:
    began = trio.current_time()
    terminal = Reader("terminal")
    status: ExitStatus | None = None
    with trio.move_on_after(run_s):
        async with open_pty(spec) as child:
            while data := await child.receive():
                terminal.feed(data, trio.current_time() - began)
            status = await child.wait()
    return _summary(spec, status, (terminal,), trio.current_time() - began)


async def _over_pipes(spec: PtySpec, run_s: float) -> Run:
    began = trio.current_time()
    stdout = Reader("pipe, stdout by lines", by_lines=True)
    lines, pieces = Reader("pipe, stderr by lines", by_lines=True), Reader("pipe, stderr in pieces")
    status: ExitStatus | None = None
    process = await trio.lowlevel.open_process(
        spec.argv, cwd=spec.cwd, env=spec.env, stdout=PIPE, stderr=PIPE, stdin=DEVNULL, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    kill = partial(_kill_group, process.pid)
    try:
        with trio.move_on_after(run_s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_drain, process.stdout, (stdout,), began)
                nursery.start_soon(_drain, process.stderr, (lines, pieces), began)
                status = await reap(process.pid, kill)
    finally:
        with trio.move_on_after(KILL_S, shield=True):
            if status is None:
                kill()
                await reap(process.pid, kill)
            await trio.aclose_forcefully(process.stdout)
            await trio.aclose_forcefully(process.stderr)
        process.poll()  # only tells it that the child has been collected
    return _summary(spec, status, (stdout, lines, pieces), trio.current_time() - began)


async def _drain(stream: trio.abc.ReceiveStream, readers: tuple[Reader, ...], began: float) -> None:
    ended = False
    while not ended:
        data = await stream.receive_some(READ_BYTES)
        ended = not data
        for reader in readers:
            reader.feed(bytes(data), trio.current_time() - began)


def _kill_group(pgid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM if only zombies are left
        os.killpg(pgid, signal.SIGKILL)


def _summary(spec: PtySpec, status: ExitStatus | None, readers: tuple[Reader, ...], end_s: float) -> Run:
    picture = Path(spec.cwd, PICTURE)
    return Run(
        status=status,
        has_picture=picture.is_file() and picture.stat().st_size > 0,
        sights=tuple(reader.sight(end_s) for reader in readers),
        last_lines=tuple(line for reader in readers for line in reader.last_lines)[-QUOTED_LINES:],
    )


def judge(program: Program, pipes: Run, terminal: Run) -> Finding:
    """Whether the command shows its progress where Hatchery looks, and draws."""
    by_hand = f"see what it says: HF_HUB_OFFLINE=1 {shlex.join(program.argv)} --prompt 'an owl' --steps {STEPS}"
    for run in (pipes, terminal):
        if run.status is None:
            return problem("probe", f"{program.name} took longer than {run.sights[0].end_s:.0f} s", by_hand)
        if not run.has_picture:
            said = "\n".join(run.last_lines) or "nothing"
            return problem("probe", f"{program.name} drew nothing and said: {said}", by_hand)
    shown_s = terminal.sights[0].first_progress_s
    if shown_s is None:
        return problem(
            "probe", f"{program.name} shows no progress on a terminal", f"{by_hand}; is it an mflux command?"
        )
    return ok("probe", f"{program.name} shows its first step after {shown_s:.1f} s of {terminal.sights[0].end_s:.1f} s")
