"""The probe on real children: the demo renderer, and scripts that misbehave."""

import os
import sys
from pathlib import Path

import pytest
import trio

from actors.census import look
from actors.mflux.oneshot import Program, demo_program
from actors.reaper import ExitStatus
from gateway.doctor.probe import Reader, Run, judge, probe

BAR = "\r  0%|   | 0/2 [00:00<?, ?it/s]"
STEP = "\r 50%|#  | 1/2 [00:00<00:01,  1.00it/s]"

HANG = """
import os, subprocess, sys, time
if sys.stdout.isatty() == (sys.argv[1] == "terminal"):
    grandchild = subprocess.Popen(["sleep", "600"])
    with open(sys.argv[2] + ".new", "w") as ready:
        print(os.getpid(), grandchild.pid, file=ready)
    os.rename(sys.argv[2] + ".new", sys.argv[2])
    time.sleep(600)
"""
DRAW = "import sys; print('drawing'); open(sys.argv[sys.argv.index('--output') + 1], 'wb').write(b'a picture')"


def script(code: str, *arguments: str) -> Program:
    return Program(name="script", argv=(sys.executable, "-c", code, *arguments))


def has_ended(pid: int) -> bool:
    """Whether it runs no more; a container's first process may be slow to collect an orphan."""
    process = look(pid)
    return process is None or process.zombie


async def all_ended(pids: list[int]) -> None:
    """Wait until they run no more: who has been killed still has to get its turn to die."""
    with trio.fail_after(5.0):
        while not all(map(has_ended, pids)):  # noqa: ASYNC110 - an orphan's end is told to nobody here
            await trio.sleep(0.01)


async def until(path: trio.Path) -> list[int]:
    """The numbers in a file, once it is there."""
    with trio.fail_after(20.0):
        while not await path.exists():  # noqa: ASYNC110 - a file announces itself to nobody
            await trio.sleep(0.01)
    return [int(word) for word in (await path.read_text()).split()]


# --- readers


def test_a_reader_of_lines_sees_a_bar_when_it_is_over() -> None:
    pieces, lines = Reader("pieces"), Reader("lines", by_lines=True)
    for reader in (pieces, lines):
        for at_s, data in enumerate((BAR, STEP, "\r100%|###| 2/2 [00:02<00:00,  1.00it/s]\n", "saved\n", "")):
            reader.feed(data.encode(), float(at_s))
    assert pieces.sight(5.0).bars == ("0/2", "1/2", "2/2")
    assert (pieces.sight(5.0).first_byte_s, pieces.sight(5.0).first_progress_s) == (0.0, 1.0)
    assert lines.sight(5.0).bars == ("2/2",)
    assert (lines.sight(5.0).first_byte_s, lines.sight(5.0).first_progress_s) == (2.0, 2.0)
    assert pieces.sight(5.0).lines == lines.sight(5.0).lines == 1


def test_a_last_line_without_its_end_is_seen_at_the_end() -> None:
    lines = Reader("lines", by_lines=True)
    lines.feed(b"first\nTrace", 1.0)
    lines.feed(b"back\n", 2.0)
    lines.feed(STEP.encode(), 3.0)
    assert (lines.sight(4.0).lines, lines.sight(4.0).first_progress_s) == (2, None)
    lines.feed(b"", 4.0)
    assert lines.sight(4.0).first_progress_s == 4.0


def test_a_flood_of_bars_is_bounded() -> None:
    reader = Reader("pieces")
    for step in range(1000):
        reader.feed(f"\r 10%|#  | {step}/1000 [00:00<00:01,  1.00it/s]".encode(), 1.0)
    assert len(reader.sight(1.0).bars) < 100


# --- runs


async def test_the_demo_renderer_shows_its_steps_on_a_terminal(tmp_path: Path) -> None:
    pipes, terminal = await probe(demo_program(), os.environ, root=tmp_path)
    stdout, lines, pieces = pipes.sights
    (screen,) = terminal.sights
    assert screen.bars == ("0/2", "1/2", "2/2")
    assert screen.first_progress_s is not None
    assert screen.first_progress_s < screen.end_s - 0.01
    assert stdout.bars == (), "the bars are on the other output"
    assert stdout.lines == 1
    assert pieces.first_progress_s is not None
    assert lines.first_progress_s is not None
    assert lines.bars == ("2/2",)
    assert pieces.first_progress_s < lines.first_progress_s
    finding = judge(demo_program(), pipes, terminal)
    assert finding.status == "ok"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("where", ["pipes", "terminal"])
async def test_a_cancelled_probe_leaves_nothing(tmp_path: Path, where: str) -> None:
    ready, root = tmp_path / "ready", tmp_path / "root"
    await probe(script("pass"), os.environ, root=root)  # whatever is opened once is open now
    fds = len(os.listdir("/dev/fd"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: probe(script(HANG, where, str(ready)), os.environ, root=root))
        pids = await until(trio.Path(ready))
        assert not any(map(has_ended, pids))
        nursery.cancel_scope.cancel()
    await all_ended(pids)
    assert os.listdir(root) == []
    assert len(os.listdir("/dev/fd")) == fds


async def test_a_command_that_never_ends_is_given_up(tmp_path: Path) -> None:
    program = script(HANG, "pipes", str(tmp_path / "ready"))
    pipes, terminal = await probe(program, os.environ, root=tmp_path / "root", run_s=1.0)
    assert (pipes.status, terminal.status) == (None, ExitStatus(code=0))
    await all_ended(await until(trio.Path(tmp_path / "ready")))
    finding = judge(program, pipes, terminal)
    assert (finding.status, finding.found) == ("problem", "script took longer than 1 s")


async def test_a_command_that_fails_is_quoted(tmp_path: Path) -> None:
    program = script("raise SystemExit('no such model')")
    finding = judge(program, *await probe(program, os.environ, root=tmp_path))
    assert "no such model" in finding.found
    assert (finding.status, "HF_HUB_OFFLINE=1" in finding.remedy) == ("problem", True)


async def test_a_command_without_bars_is_a_problem(tmp_path: Path) -> None:
    finding = judge(script(DRAW), *await probe(script(DRAW), os.environ, root=tmp_path))
    assert (finding.status, finding.found) == ("problem", "script shows no progress on a terminal")


async def test_a_command_downloads_nothing_and_inherits_no_secret(tmp_path: Path) -> None:
    told = "import os; print('told', os.environ.get('HF_HUB_OFFLINE'), os.environ.get('HATCHERY_LLM_API_KEY'))"
    run: Run = (await probe(script(told), {**os.environ, "HATCHERY_LLM_API_KEY": "sk"}, root=tmp_path))[1]
    assert run.last_lines == ("told 1 None",)


async def test_a_missing_command(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        await probe(Program(name="missing", argv=("/missing/command",)), os.environ, root=tmp_path)
    assert os.listdir(tmp_path) == []
