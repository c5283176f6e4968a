"""A workshop of scripted engines in virtual time, for tests of one hatch from end to end."""

from collections.abc import Callable, Sequence

import trio
import trio.testing

from actors.eventlog import EventLog, MemoryLog
from actors.hatch import Hatch, HatchLimits, Workshop, open_hatch
from actors.llm.actor import WritingLimits
from actors.llm.backend import LlmBackend
from actors.llm.estimate import LengthHistory
from actors.mflux.engine import ImageEngine
from actors.slots import Slots
from protocol.errors import ImageFailed
from protocol.events import End, Text
from protocol.journal import Entry, EpochBegun
from protocol.persona import Persona
from protocol.restart import RestartPolicy
from tests.helpers.fakes import (
    Recorder,
    ScriptedPainter,
    ScriptedWriter,
    assert_truthful,
    record_of,
)

CRASH = ImageFailed("toy was killed by signal 9", retryable=True)


class House:
    """A workshop of scripted engines, one slot each, and all that was published."""

    def __init__(
        self,
        writer: LlmBackend | None = None,
        painter: ImageEngine | None = None,
        *,
        whole_s: float = 1000.0,
        restarts: int = 2,
        log: Callable[[EventLog], EventLog] = lambda log: log,
    ) -> None:
        self.recorder = Recorder()
        self.log = log(MemoryLog(self.recorder.publish, retained=100))
        self.workshop = Workshop(
            llm=writer or ScriptedWriter(),
            llm_slots=Slots(1),
            lengths=LengthHistory(),
            image=painter or ScriptedPainter(),
            render_slots=Slots(1),
            eventlog=self.log,
            limits=HatchLimits(
                whole_s=whole_s,
                writing=WritingLimits(first_byte_s=60.0, gap_s=20.0, whole_s=300.0),
                restarts=RestartPolicy(intensity=restarts, backoff_s=2.0),
            ),
        )

    async def hatch(
        self,
        session: str = "s1",
        persona: Persona | None = None,
        *,
        task_status: trio.TaskStatus[Hatch] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run one session to its end, as the gateway does."""
        record = record_of(session, persona=persona)
        await self.log.create(record)
        async with open_hatch(record, 42, self.workshop) as hatch:
            task_status.started(hatch)
            await hatch.run()

    async def end_of(self, persona: Persona | None = None) -> End:
        """The end of a session that nobody disturbs."""
        await self.hatch(persona=persona)
        return self.check(redraw=persona is not None)

    def check(self, session: str = "s1", *, redraw: bool = False) -> End:
        """The one end of a session that kept all promises and left nothing behind."""
        assert_truthful(self.recorder.of(session), redraw=redraw)
        slots = (self.workshop.llm_slots, self.workshop.render_slots)
        assert [(line.held, line.waiting, line.quarantined) for line in slots] == [(0, 0, 0)] * 2
        return self.recorder.end(session)


def epochs(entries: Sequence[Entry]) -> list[EpochBegun]:
    return [entry for entry in entries if isinstance(entry, EpochBegun)]


def shown_text(entries: Sequence[Entry]) -> dict[str, str]:
    """What the text of the last epoch adds up to."""
    shown: dict[str, str] = {}
    for entry in entries:
        match entry:
            case EpochBegun(keeps_persona=False):
                shown.clear()
            case Text(path=path, delta=delta):
                shown[path] = shown.get(path, "") + delta
            case _:
                pass
    return shown


class SlowLog:
    """An EventLog as a disk makes it: every append takes a while, and is carried out even when it is cancelled."""

    def __init__(self, inner: EventLog) -> None:
        self.create, self.claimed, self.bury, self.hurry = inner.create, inner.claimed, inner.bury, inner.hurry
        self.view, self.tail, self.list, self.epitaph = inner.view, inner.tail, inner.list, inner.epitaph
        self._inner = inner
        self._turn = trio.Lock()

    async def append(self, session: str, entries: Sequence[Entry]) -> None:
        """See EventLog."""
        with trio.CancelScope(shield=True):
            async with self._turn:
                await trio.sleep(0.001)
                await self._inner.append(session, entries)
        await trio.lowlevel.checkpoint()


class AtStep(trio.abc.Instrument):
    """Does something just before the n-th step that any task takes from now on."""

    def __init__(self, number: int, act: Callable[[], None]) -> None:
        self._left = number
        self._act = act
        self.acted = False

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """See Instrument."""
        if self._left == 0 and not self.acted:
            self.acted = True
            self._act()
        self._left -= 1
