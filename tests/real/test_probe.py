"""The probe on the real mflux: a terminal shows each step; who reads a pipe by lines sees the bar once it is over."""

from pathlib import Path

import pytest

from actors.mflux.oneshot import Program
from gateway.doctor.probe import judge, probe
from tests.helpers.tiny_mflux import MFLUX_COMMAND, mflux_env, tiny_checkpoint


@pytest.mark.timeout(120)
async def test_mflux_shows_its_steps_on_a_terminal(tmp_path: Path) -> None:
    model = tiny_checkpoint(tmp_path / "model", layers=1, width=256)  # a step takes long enough to be seen alone
    program = Program(name="mflux", argv=(MFLUX_COMMAND, f"--model={model}"))
    pipes, terminal = await probe(program, mflux_env(), root=tmp_path / "jobs")
    assert judge(program, pipes, terminal).status == "ok"
    stdout, lines, pieces = pipes.sights
    (screen,) = terminal.sights
    assert (screen.bars[0], screen.bars[-1]) == ("0/2", "2/2"), "a step of milliseconds may share a read with the next"
    assert screen.first_progress_s is not None
    assert screen.first_progress_s < screen.end_s
    assert stdout.bars == ()
    assert pieces.bars[0] == "0/2", "tqdm does not disable itself on a pipe"
    assert lines.bars == ("2/2",)
    assert (lines.first_progress_s or 0) > (pieces.first_progress_s or 0)
