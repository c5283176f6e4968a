"""Measures what a reader of mflux sees, and when: attempts on pipes, a terminal, the output file's size, a guess.

    python -m tests.helpers.evidence        prints the measurements as a Markdown table

Every run is the real mflux, and each reader is held against the truth of its own run. On the terminal that is the time
of the image saved after each step. On pipes those images would change what is read (each logs lines to stderr), so
there it is the time at which a tap between mflux and the reader saw the step's tick pass.
"""

import dataclasses
import enum
import io
import os
import re
import select
import shutil
import subprocess
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.helpers.tiny_mflux import mflux_argv, mflux_env, tiny_checkpoint

OUTPUT = "owl.png"
STEPS = 6
SEED = 7
SIDE = 128
CHUNK = 100
SIZE_POLL_S = 0.02
TIMEOUT_S = 60.0
STEP_FRAME = re.compile(rb"\| (\d+)/%d \[" % STEPS)

Pieces = Callable[[IO[bytes]], Iterator[bytes]]


class Reader(enum.StrEnum):
    """The ways of reading, in the order of the table; the letters are the options of the write-up this answers."""

    STDERR_LINES = "stderr, binary lines"
    STDERR_TEXT_LINES = "stderr, text lines"
    STDOUT_LINES = "stdout, lines"
    STDOUT_CHUNKS = "stdout, 100-byte chunks split at CR"
    STDBUF_STDOUT = "stdbuf -oL -eL, stdout chunks"
    STDBUF_STDERR = "stdbuf -oL -eL, stderr lines"
    UNBUFFERED_STDOUT = "PYTHONUNBUFFERED=1, stdout chunks"
    UNBUFFERED_STDERR = "PYTHONUNBUFFERED=1, stderr lines"
    TERMINAL = "A: a pseudo-terminal"
    FILE_SIZE = "C: the output file's size"


@dataclasses.dataclass(frozen=True)
class Delivery:
    """One thing a reader got: when (seconds since the spawn), and which steps it showed."""

    at_s: float
    steps: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Run:
    """One life of the child, in seconds since its spawn: its end, and when steps 1 to `STEPS` were done."""

    life_s: float
    done_s: tuple[float, ...]

    def error_of(self, shown: Callable[[float], float]) -> float:
        """Mean over the child's life of |shown - true|, both as the share of steps done at that time, 0 to 1."""
        samples = 1000
        times = [self.life_s * (sample + 0.5) / samples for sample in range(samples)]
        return sum(abs(shown(at) - _share(self.done_s, at)) for at in times) / samples

    def error_of_guess(self, expected_s: float) -> float:
        """The error of fake ticks that rise evenly to 100 % over `expected_s`."""
        return self.error_of(lambda at: min(1.0, at / expected_s))


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one reader saw of one run."""

    run: Run
    deliveries: tuple[Delivery, ...]

    @property
    def bars(self) -> tuple[int, ...]:
        """The steps it was shown, in the order in which it saw them."""
        return tuple(step for delivery in self.deliveries for step in delivery.steps)

    @property
    def shown_s(self) -> tuple[float, ...]:
        """When each of the steps 1 to `STEPS`, or a later one, was first shown; the child's end if never."""
        return tuple(
            min((d.at_s for d in self.deliveries if max(d.steps, default=0) >= step), default=self.run.life_s)
            for step in range(1, STEPS + 1)
        )

    @property
    def in_time(self) -> int:
        """How many steps were shown before the next one was done (the last: before the child's end)."""
        limits = (*self.run.done_s[1:], self.run.life_s)
        return sum(shown < limit for shown, limit in zip(self.shown_s, limits, strict=True))

    @property
    def error(self) -> float:
        shown_s = self.shown_s
        return self.run.error_of(lambda at: _share(shown_s, at))


def measure(workspace: Path) -> dict[Reader, Finding]:
    """Build a checkpoint in `workspace` and run mflux on it five times, one after the other (some 35 s).

    Where there is no `stdbuf` (macOS) its two findings are absent. Raises `CalledProcessError` when a child fails or
    outlives `TIMEOUT_S`.
    """
    model = tiny_checkpoint(workspace / "model", layers=1, width=512)
    argv = mflux_argv(model, Path(OUTPUT), steps=STEPS, side=SIDE, seed=SEED)
    found: dict[Reader, Finding] = {}
    found[Reader.STDOUT_LINES], found[Reader.STDERR_LINES] = _run_on_pipes(argv, workspace / "1", _lines, _lines)
    found[Reader.STDOUT_CHUNKS], found[Reader.STDERR_TEXT_LINES] = _run_on_pipes(
        argv, workspace / "2", _chunks, _text_lines
    )
    if stdbuf := shutil.which("stdbuf"):
        found[Reader.STDBUF_STDOUT], found[Reader.STDBUF_STDERR] = _run_on_pipes(
            [stdbuf, "-oL", "-eL", *argv], workspace / "3", _chunks, _lines
        )
    found[Reader.UNBUFFERED_STDOUT], found[Reader.UNBUFFERED_STDERR] = _run_on_pipes(
        argv, workspace / "4", _chunks, _lines, PYTHONUNBUFFERED="1"
    )
    found[Reader.TERMINAL], found[Reader.FILE_SIZE] = _run_on_terminal(argv, workspace / "5")
    return found


def table(findings: dict[Reader, Finding]) -> str:
    """The findings as Markdown, with three rows for option B, fake ticks, reckoned on the terminal's run."""
    rows = [
        "| reader | reports of a step | steps shown in time | first shown (done), % of life | mean error, points |",
        "|---|---|---|---|---|",
    ]
    for reader in Reader:
        if (finding := findings.get(reader)) is None:
            continue
        first, done = (f"{100 * at_s / finding.run.life_s:.0f}" for at_s in (finding.shown_s[0], finding.run.done_s[0]))
        when = f"{first if finding.bars else 'never'} ({done})"
        error = f"{100 * finding.error:.0f}"
        rows.append(f"| {reader} | {len(finding.bars)} | {finding.in_time} of {STEPS} | {when} | {error} |")
    run = findings[Reader.TERMINAL].run
    for guess, factor in (("right", 1.0), ("half the truth", 0.5), ("twice the truth", 2.0)):
        error = f"{100 * run.error_of_guess(run.life_s * factor):.0f}"
        rows.append(f"| B: fake ticks over a guessed duration, {guess} | - | - | - | {error} |")
    return "\n".join(rows)


def _share(times: Sequence[float], at: float) -> float:
    return sum(when <= at for when in times) / STEPS


def _steps_in(data: bytes) -> tuple[int, ...]:
    return tuple(int(step) for step in STEP_FRAME.findall(data))


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(stream.readline, b"")


def _text_lines(stream: IO[bytes]) -> Iterator[bytes]:
    with io.TextIOWrapper(stream) as text:
        for line in text:
            yield line.encode()


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in iter(lambda: stream.read(CHUNK), b""):
        *segments, rest = (rest + chunk).split(b"\r")
        yield from segments
    yield rest


@contextmanager
def _mflux(
    argv: Sequence[str], job: Path, *, output: int, errors: int, **env: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """One child in the new directory `job`, showing every tick; killed after `TIMEOUT_S`, reaped in any case."""
    job.mkdir()
    environment = mflux_env(TQDM_MININTERVAL="0", **env)
    with subprocess.Popen(
        argv, cwd=job, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
    ) as child:
        killer = threading.Timer(TIMEOUT_S, child.kill)
        killer.start()
        try:
            yield child
            child.wait()
        finally:
            child.kill()
            killer.cancel()
            killer.join()
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, argv)


def _run_on_pipes(argv: Sequence[str], job: Path, out: Pieces, err: Pieces, **env: str) -> tuple[Finding, Finding]:
    logs: dict[str, list[Delivery]] = {"out": [], "tap": [], "err": []}

    def log(name: str, data: bytes) -> None:
        logs[name].append(Delivery(time.time() - began, _steps_in(data)))

    def tap(stream: IO[bytes], sink: int) -> None:
        with open(sink, "wb", buffering=0) as onward:
            while data := os.read(stream.fileno(), 65536):
                log("tap", data)
                onward.write(data)

    def read(name: str, pieces: Iterator[bytes]) -> None:
        for data in pieces:
            log(name, data)

    source, sink = os.pipe()
    began = time.time()
    with (
        open(source, "rb") as tapped,
        _mflux(argv, job, output=subprocess.PIPE, errors=subprocess.PIPE, **env) as child,
    ):
        assert child.stdout is not None
        assert child.stderr is not None
        threads = (
            threading.Thread(target=tap, args=(child.stderr, sink)),
            threading.Thread(target=read, args=("err", err(tapped))),
        )
        for thread in threads:
            thread.start()
        read("out", out(child.stdout))
        for thread in threads:
            thread.join()
    life_s = time.time() - began
    truth = Finding(Run(life_s, ()), tuple(logs["tap"]))
    run = Run(life_s, truth.shown_s)
    return Finding(run, tuple(logs["out"])), Finding(run, tuple(logs["err"]))


def _run_on_terminal(argv: Sequence[str], job: Path) -> tuple[Finding, Finding]:
    """Read a pseudo-terminal and poll the output file's size, both on the same child."""
    log: list[Delivery] = []
    sizes: dict[int, float] = {}
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    output = job / OUTPUT
    began = time.time()
    with (
        open(master, "rb", buffering=0),
        _mflux([*argv, "--stepwise-image-output-dir=steps"], job, output=slave, errors=slave),
    ):
        os.close(slave)
        while True:
            ready, _, _ = select.select([master], [], [], SIZE_POLL_S)
            if output.exists():
                sizes.setdefault(output.stat().st_size, time.time() - began)
            if not ready:
                continue
            data = _read_terminal(master)
            if not data:
                break
            log.append(Delivery(time.time() - began, _steps_in(data)))
    images = (job / "steps" / f"seed_{SEED}_step{step}of{STEPS}.png" for step in range(1, STEPS + 1))
    run = Run(time.time() - began, tuple(image.stat().st_mtime - began for image in images))
    final = output.stat().st_size
    polls = tuple(Delivery(at_s, (STEPS * size // final,)) for size, at_s in sizes.items())
    return Finding(run, tuple(log)), Finding(run, polls)


def _read_terminal(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # Linux says EIO once the child's side is closed, macOS the end of the file
        return b""


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        print(table(measure(Path(directory))))
