"""Hatches that the gateway did not survive go on when it is started again, with every promise kept."""

from pathlib import Path

import msgspec
import pytest

from actors.eventlog import Claim
from actors.hatch import MAX_ATTEMPTS, HatchLimits, Workshop, open_hatch
from actors.llm.actor import WritingLimits
from actors.llm.estimate import LengthHistory
from actors.slots import Slots
from actors.store.store import Store
from protocol import mail
from protocol.events import Artifact, End, PersonaReady
from protocol.journal import Entry, EpochBegun, Recovered
from protocol.lifecycle import Lifecycle
from protocol.restart import RestartPolicy
from tests.actors.store.stores import opened, say
from tests.helpers.fakes import (
    ENGINES,
    PERSONA,
    PICTURE,
    Recorder,
    ScriptedPainter,
    ScriptedWriter,
    assert_truthful,
    record_of,
    states,
)

WRITTEN = mail.PersonaWritten(persona=PERSONA)


async def left_behind(
    directory: Path, *letters: mail.AnyMail, redraw: bool = False, cancelled: bool = False, begun: bool = True
) -> list[Entry]:
    """A store in which a session has come so far and no further; returns what it has said."""
    persona = PERSONA if redraw else None
    recorder = Recorder()
    async with opened(directory, recorder) as store:
        await store.log.create(record_of(persona=persona))
        lifecycle = Lifecycle("s1", engines=ENGINES, steps=2, persona=persona, now=0.0)
        if begun:
            await say(store.log, "s1", [lifecycle.begin()])
        await say(store.log, "s1", [lifecycle.handle(letter, 1.0) for letter in letters])
        if cancelled:
            await say(store.log, "s1", [lifecycle.cancel("enough", 2.0)])
    return recorder.of()


class Restarted:
    """The gateway started again: its engines, and what it publishes."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.writer = ScriptedWriter()
        self.painter = ScriptedPainter(step_s=0.0)

    async def go_on(self, store: Store, so_far: Recovered) -> list[Entry]:
        """Hatch what was left behind to its end."""
        workshop = Workshop(
            llm=self.writer,
            llm_slots=Slots(1),
            lengths=LengthHistory(),
            image=self.painter,
            render_slots=Slots(1),
            eventlog=store.log,
            limits=HatchLimits(
                whole_s=60.0,
                writing=WritingLimits(first_byte_s=60.0, gap_s=20.0, whole_s=300.0),
                restarts=RestartPolicy(intensity=1),
            ),
        )
        async with open_hatch(so_far.record, 42, workshop, so_far) as hatch:
            await hatch.run()
        return self.recorder.of()


@pytest.mark.parametrize(
    ("letters", "written", "drawn"),
    [
        ((), 1, 1),
        ((mail.WritingBegan(), mail.TextGrew(path="/name", delta="A")), 1, 1),
        ((mail.WritingBegan(), mail.PersonaRejected(reason="no")), 1, 1),
        ((mail.WritingBegan(), WRITTEN), 0, 1),
        ((WRITTEN, mail.DrawingBegan(steps=2), mail.StepFinished(step=1, steps=2)), 0, 1),
        ((WRITTEN, mail.DrawingBegan(steps=2), PICTURE), 0, 0),
    ],
)
async def test_a_hatch_goes_on_from_what_is_durable(
    tmp_path: Path, letters: tuple[mail.AnyMail, ...], written: int, drawn: int
) -> None:
    before = await left_behind(tmp_path, *letters)
    restarted = Restarted()
    async with opened(tmp_path, restarted.recorder) as store:
        (so_far,) = store.log.unfinished()
        after = await restarted.go_on(store, so_far)
        assert (len(restarted.writer.requests), len(restarted.painter.jobs)) == (written, drawn)
        assert states(after)[-1] == "done"
        if written and before:
            assert isinstance(after[0], EpochBegun), "text is taken back before any of it comes again"
        if not written:
            assert not any(isinstance(entry, PersonaReady) for entry in after)
        durable = await store.log.tail("s1", 0)
        assert [event.seq for event in durable] == list(range(1, len(durable) + 1))
        assert sum(isinstance(event, Artifact) for event in durable) == 1
        assert_truthful([*before, *after])
    async with opened(tmp_path) as store:
        assert store.log.unfinished() == []


@pytest.mark.parametrize("begun", [False, True])
async def test_a_redraw_goes_on(tmp_path: Path, begun: bool) -> None:
    before = await left_behind(tmp_path, redraw=True, begun=begun)
    restarted = Restarted()
    async with opened(tmp_path, restarted.recorder) as store:
        (so_far,) = store.log.unfinished()
        after = await restarted.go_on(store, so_far)
        assert_truthful([*before, *after], redraw=True)
        assert not restarted.writer.requests


async def test_a_cancel_is_kept_over_the_restart(tmp_path: Path) -> None:
    before = await left_behind(tmp_path, WRITTEN, cancelled=True)
    restarted = Restarted()
    async with opened(tmp_path, restarted.recorder) as store:
        (so_far,) = store.log.unfinished()
        begun, end = await restarted.go_on(store, so_far)
        assert isinstance(begun, EpochBegun)
        assert isinstance(end, End)
        assert end.outcome == "cancelled"
        assert not restarted.painter.jobs
        assert_truthful([*before, begun, end])


@pytest.mark.parametrize("redraw", [False, True])
async def test_a_cancel_that_came_before_its_start_survives_a_crash_just_after_it(tmp_path: Path, redraw: bool) -> None:
    """The gateway dies between the commit of the start, which uses the cancel up, and whatever it would do next."""
    record = record_of(persona=PERSONA if redraw else None)
    before = Recorder()
    async with opened(tmp_path, before) as store:
        await store.log.bury("ann", "k", "enough")
        await store.log.create(record, Claim("k", b"1"))
    restarted = Restarted()
    async with opened(tmp_path, restarted.recorder) as store:
        (so_far,) = store.log.unfinished()
        after = await restarted.go_on(store, so_far)
        assert not restarted.writer.requests
        assert not restarted.painter.jobs
        assert states([*before.of(), *after]) == ["cancelling", "cancelled"]
        durable = await store.log.tail("s1", 0)
        assert [event.seq for event in durable] == [1, 2]


async def test_a_hatch_that_the_gateway_never_survives_is_given_up(tmp_path: Path) -> None:
    await left_behind(tmp_path, mail.WritingBegan())
    restarted = Restarted()
    async with opened(tmp_path, restarted.recorder) as store:
        (so_far,) = store.log.unfinished()
        begun, end = await restarted.go_on(store, msgspec.structs.replace(so_far, attempt=MAX_ATTEMPTS))
        assert isinstance(begun, EpochBegun)
        assert begun.attempt == MAX_ATTEMPTS
        assert isinstance(end, End)
        assert (end.outcome, end.error and end.error.code) == ("failed", "internal")
