"""One-shot image commands that are small scripts, and what they tell."""

import os
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from actors.artifacts import ArtifactStore
from actors.mflux.capabilities import Capabilities, Flag
from actors.mflux.engine import InputPicture, RenderJob
from actors.mflux.offer import NamedLora, NamedModel, Offer
from actors.mflux.oneshot import OneShotEngine, Program
from protocol.commands import ImageOptions
from protocol.errors import ImageFailed
from protocol.mail import RenderMail, StepFinished, WorkerLeft
from protocol.persona import Persona
from protocol.stall import StallLimits
from tests.helpers.fakes import PERSONA, png

PRELUDE = """
import json, os, signal, sys, time
from pathlib import Path

outside = Path(__file__).parent  # where the test can look, other than in the job's own directory
args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
png = (outside / "png").read_bytes()

def bar(done, total):
    print(f"\\r{100 * done // total:3d}%|#         | {done}/{total} [00:01<00:01,  1.00s/it]", end="", flush=True)

"""
SAVE = "Path(args['--output']).write_bytes(png)\n"
SMALL = ImageOptions(width=64, height=32)
OFFER = Offer(
    models={"mine": NamedModel(path="/models/mine", base_model="dev"), "schnell": NamedModel(path="schnell")},
    loras={"ink": NamedLora(path="someone/ink", scale=0.8)},
)
MFLUX_FLAGS = tuple(
    Flag(flag=flag) for flag in ("--model", "--lora", "--guidance", "--negative-prompt", "--image-path")
)


class Told:
    """What an engine tells, and an event at its first step."""

    def __init__(self) -> None:
        self.letters: list[RenderMail] = []
        self.stepped = trio.Event()

    async def __call__(self, letter: RenderMail) -> None:
        await trio.lowlevel.checkpoint()
        self.letters.append(letter)
        if isinstance(letter, StepFinished):
            self.stepped.set()

    @property
    def farewells(self) -> list[WorkerLeft]:
        return [letter for letter in self.letters if isinstance(letter, WorkerLeft)]


class Easel:
    """An engine whose command is a script of the test."""

    def __init__(self, directory: Path) -> None:
        self.outside = directory
        self.jobs = directory / "jobs"
        self.artifacts = ArtifactStore(directory / "artifacts")
        self.told = Told()
        (directory / "png").write_bytes(png())

    def engine(
        self,
        script: str,
        *,
        persona: bool = False,
        stalls: StallLimits | None = None,
        name: str = "toy",
        flags: tuple[Flag, ...] = (),
        line: str = "",
        capabilities: Capabilities | None = None,
    ) -> OneShotEngine:
        path = self.outside / "toy.py"
        path.write_text(PRELUDE + script)
        argv = (sys.executable, "-S", str(path), *line.split())
        return OneShotEngine(
            Program(name=name, argv=argv, takes_persona=persona, flags=flags),
            artifacts=self.artifacts,
            jobs=self.jobs,
            environ=os.environ,
            stalls=stalls or StallLimits(),
            offer=OFFER,
            capabilities=capabilities,
        )

    def job(
        self, image: ImageOptions = SMALL, persona: Persona = PERSONA, picture: InputPicture | None = None
    ) -> RenderJob:
        return RenderJob(session="s1", persona=persona, image=image, seed=42, input=picture)

    async def failure(self, script: str, image: ImageOptions = SMALL, stalls: StallLimits | None = None) -> ImageFailed:
        """The one with which the script's picture fails; nothing of the job is left."""
        with pytest.raises(ImageFailed) as failed:
            await self.engine(script, stalls=stalls).draw(self.job(image), self.told)
        assert os.listdir(self.jobs) == []
        assert len(self.told.farewells) == 1
        return failed.value

    def seen(self, name: str) -> bytes:
        return (self.outside / name).read_bytes()
