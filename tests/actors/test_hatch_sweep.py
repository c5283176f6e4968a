"""A hatch that is cancelled at every single step of the scheduler."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
import trio
import trio.testing

from actors.artifacts import ArtifactStore, StoredPicture
from actors.hatch import Hatch, open_hatch
from actors.llm.backend import Chunk, LlmBackend, LlmRequest
from actors.llm.sim import SimWriter, WriterScript
from actors.mflux.engine import ImageEngine, RenderJob, Tell
from actors.mflux.sim import SimImage, SimImageEngine
from protocol.commands import ImageOptions
from protocol.forecast import Range
from protocol.mail import RenderMail, StepFinished
from protocol.maker import Maker
from tests.helpers.fakes import (
    record_of,
    seeded_scheduler,
    states,
)
from tests.helpers.house import CRASH, AtStep, House, SlowLog, epochs


class CountedWriter:
    """Another backend, and how many of its streams were opened and are open."""

    def __init__(self, inner: LlmBackend) -> None:
        self.name = inner.name
        self.maker = inner.maker
        self._inner = inner
        self.opened = self.open = 0

    def open_stream(self, request: LlmRequest) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """See LlmBackend."""
        return self._open(request)

    @asynccontextmanager
    async def _open(self, request: LlmRequest) -> AsyncIterator[AsyncIterator[Chunk]]:
        self.opened += 1
        self.open += 1
        try:
            async with self._inner.open_stream(request) as chunks:
                yield chunks
        finally:
            self.open -= 1


class CountedPainter:
    """Another engine, whose first drawing for `s2` crashes, and the last steps of all drawings by session."""

    def __init__(self, inner: ImageEngine) -> None:
        self.name, self.choices = inner.name, inner.choices
        self._inner = inner
        self.steps: dict[str, list[int]] = {"s1": [], "s2": []}
        self.drawing = 0

    def planned_steps(self, image: ImageOptions) -> int:
        """See ImageEngine."""
        return self._inner.planned_steps(image)

    def maker(self, image: ImageOptions) -> Maker:
        """See ImageEngine."""
        return self._inner.maker(image)

    async def check(self, image: ImageOptions) -> None:
        """See ImageEngine."""

    async def confirm(self, image: ImageOptions) -> None:
        """See ImageEngine."""

    async def expected(self, image: ImageOptions) -> Range | None:
        """See ImageEngine."""
        return await self._inner.expected(image)

    async def prewarm(self, image: ImageOptions) -> None:
        """See ImageEngine."""

    def hurry(self) -> None:
        """See ImageEngine."""

    async def draw(self, job: RenderJob, tell: Tell) -> StoredPicture:
        """See ImageEngine."""

        async def count(letter: RenderMail) -> None:
            if isinstance(letter, StepFinished):
                self.steps[job.session][-1] = letter.step
            await tell(letter)

        self.steps[job.session].append(0)
        self.drawing += 1
        try:
            stored = await self._inner.draw(job, count)
            if job.session == "s2" and len(self.steps["s2"]) == 1:
                raise CRASH
            return stored
        finally:
            self.drawing -= 1


Means = Literal["cancel", "twice", "outside"]


class Sweep:
    """Two sim hatches of one owner, who share one slot of each kind; the second is cancelled at one step."""

    def __init__(self, image: SimImageEngine, means: Means, *, slow: bool) -> None:
        self._image = image
        self._means = means
        self._slow = slow

    def at(self, number: int) -> bool:
        """Cancel before step `number` and check everything; False when all was over before that step."""
        script = WriterScript(tokens=80, tokens_per_piece=4, tokens_per_s=400.0)
        self.writer, self.painter = CountedWriter(SimWriter(script)), CountedPainter(self._image)
        with seeded_scheduler(7):
            acted = trio.run(self._play, number, clock=trio.testing.MockClock(autojump_threshold=0))
        self._check(acted)
        return acted

    async def _play(self, number: int) -> bool:
        self.house = House(self.writer, self.painter, log=SlowLog if self._slow else lambda log: log)
        scope: trio.CancelScope
        hatch: Hatch

        def act() -> None:
            if self._means == "outside":
                scope.cancel()
            for _ in range({"outside": 0, "cancel": 1, "twice": 2}[self._means]):
                cancellers.start_soon(hatch.cancel, "swept away")

        instrument = AtStep(number, act)
        async with trio.open_nursery() as cancellers:
            async with trio.open_nursery() as hatches:
                await hatches.start(self.house.hatch, "s1")
                scope, hatch = await hatches.start(self._second)
                trio.lowlevel.add_instrument(instrument)
            trio.lowlevel.remove_instrument(instrument)
        return instrument.acted

    async def _second(self, task_status: trio.TaskStatus[tuple[trio.CancelScope, Hatch]]) -> None:
        with trio.CancelScope() as scope:
            record = record_of("s2")
            await self.house.log.create(record)
            async with open_hatch(record, 43, self.house.workshop) as hatch:
                task_status.started((scope, hatch))
                await hatch.run()

    def _check(self, acted: bool) -> None:
        assert self.house.check("s1").outcome == "done", "a cancel hurts nobody else"
        end = self.house.check("s2")
        assert end.outcome in (("done", "cancelled") if acted else ("done",))
        assert self.writer.open == self.painter.drawing == 0
        receipt = end.receipt
        assert (receipt.llm == "closed") == (self.writer.opened == 2)
        assert (receipt.worker == "idle") == bool(self.painter.steps["s2"])
        entries = self.house.recorder.of("s2")
        drawings = self.painter.steps["s2"][len(epochs(entries)) :]
        assert receipt.steps_done == (drawings[0] if drawings else 0), "of the attempt that counts"
        assert (receipt.cancel_latency_ms is None) == ("cancelling" not in states(entries))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> SimImageEngine:
    store: Path = tmp_path_factory.mktemp("artifacts")
    return SimImageEngine(SimImage(steps=2), ArtifactStore(store))


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("means", ["cancel", "twice", "outside"])
def test_a_cancellation_at_every_step(image: SimImageEngine, means: Means, slow: bool) -> None:
    sweep = Sweep(image, means, slow=slow)
    number, outcomes = 0, set[str]()
    while sweep.at(number):
        outcomes.add(sweep.house.recorder.end("s2").outcome)
        number += 1
    assert number > 50, "the whole hatch was swept"
    assert outcomes == {"cancelled", "done"}
