"""A cancellation at every step of a hatch whose painter is a real child: nothing of it is left, whenever it comes."""

import os
import sys
from pathlib import Path

import msgspec
import pytest
import trio

from actors.artifacts import ArtifactStore
from actors.hatch import Hatch, open_hatch
from actors.mflux.oneshot import OneShotEngine, Program, demo_program
from actors.pty import PtySpec
from protocol.commands import ImageOptions
from protocol.events import End
from tests.helpers.descriptors import open_descriptors
from tests.helpers.fakes import PERSONA, png, record_of
from tests.helpers.house import AtStep, House

IMAGE = ImageOptions(width=64, height=64, steps=2)
SCRIPT = """
import sys, time
for step in range(9):
    sys.stdout.write(f"\\r{step * 12:3d}%|#         | {step}/8 [00:01<00:01,  1.00it/s]")
    sys.stdout.flush()
    time.sleep(0.01)  # or they are all one read
with open(sys.argv[1], "rb") as picture, open(sys.argv[sys.argv.index("--output") + 1], "wb") as output:
    output.write(picture.read())
"""  # what there is of a painter without its libraries, which take ten times as long to load


class Census:
    """A Keeper that only remembers: the groups of children, and that they were collected."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.collected: list[int] = []

    def mark(self, spec: PtySpec) -> PtySpec:
        return spec

    def watch(self, pgid: int) -> None:
        self.groups.append(pgid)

    def forget(self, pgid: int) -> None:
        self.collected.append(pgid)


class Sweep:
    """Redraws, each cancelled at one step of all the tasks that are at work for it."""

    def __init__(self, directory: Path, program: Program) -> None:
        self._directory = directory
        self._program = program
        self.outcomes: set[str] = set()
        self.workers: set[str] = set()

    def at(self, number: int) -> bool:
        """Cancel before step `number` and check everything; False when all was over before that step."""
        census, descriptors = Census(), open_descriptors()
        acted, end = trio.run(self._play, census, number)
        assert end.outcome in (("done", "cancelled") if acted else ("done",))
        assert end.receipt.worker == ("exited" if census.groups else "none")
        assert len(census.groups) <= 1
        assert census.collected == census.groups
        for pgid in census.groups:
            with pytest.raises(ProcessLookupError):
                os.killpg(pgid, 0)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        assert open_descriptors() <= descriptors
        assert not [*self._directory.glob("jobs/*")]
        self.outcomes.add(end.outcome)
        self.workers.add(end.receipt.worker)
        return acted

    async def _play(self, census: Census, number: int) -> tuple[bool, End]:
        artifacts, jobs = ArtifactStore(self._directory / "artifacts"), self._directory / "jobs"
        engine = OneShotEngine(self._program, artifacts=artifacts, jobs=jobs, environ=os.environ, keeper=census)
        house = House(painter=engine, restarts=0)
        instrument = AtStep(number, lambda: cancellers.start_soon(hatch.cancel, "swept away"))
        async with trio.open_nursery() as cancellers:
            async with trio.open_nursery() as hatches:
                hatch: Hatch = await hatches.start(_redraw, house)
                trio.lowlevel.add_instrument(instrument)
            trio.lowlevel.remove_instrument(instrument)
        return instrument.acted, house.check(redraw=True)


async def _redraw(house: House, task_status: trio.TaskStatus[Hatch]) -> None:
    record = record_of(persona=PERSONA)
    record = msgspec.structs.replace(record, hatch=msgspec.structs.replace(record.hatch, image=IMAGE))
    await house.log.create(record)
    async with open_hatch(record, 7, house.workshop) as hatch:
        task_status.started(hatch)
        await hatch.run()


@pytest.mark.parametrize("painter", ["script", "demo"])
def test_a_cancellation_at_every_step(tmp_path: Path, painter: str) -> None:
    (tmp_path / "png").write_bytes(png(64, 64))
    (tmp_path / "paint.py").write_text(SCRIPT)
    argv = (sys.executable, "-I", "-S", str(tmp_path / "paint.py"), str(tmp_path / "png"))
    sweep = Sweep(tmp_path, demo_program() if painter == "demo" else Program(name="paint", argv=argv, default_steps=2))
    number = 0
    while sweep.at(number):
        number += 1
    assert number > 20, "the whole hatch was swept"
    assert sweep.outcomes == {"cancelled", "done"}
    assert sweep.workers == {"none", "exited"}
