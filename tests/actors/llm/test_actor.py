import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from itertools import pairwise

import msgspec
import pytest
import trio
import trio.testing

from actors.llm.actor import WritingJob, WritingLimits, run_llm_actor
from actors.llm.backend import Chunk, Finished, LlmRequest, Prefill, TextChunk, ThinkingChunk, Waiting
from actors.llm.demo import DemoWriter
from actors.llm.estimate import LengthHistory
from actors.llm.tale.compose import compose_persona
from actors.slots import Slots
from protocol.errors import DeadlineExceeded, HatcheryError, LlmFailed, LlmUnavailable, PersonaInvalid
from protocol.mail import (
    EngineAwaited,
    LlmLeft,
    LlmMail,
    LlmQueued,
    PersonaRejected,
    PersonaWritten,
    PromptAdvanced,
    TextGrew,
    ThoughtGrew,
    WritingAdvanced,
    WritingBegan,
)
from protocol.maker import Maker
from protocol.persona import persona_strings

WRITER = Maker(engine="scripted", model="owl-7b")
JOB = WritingJob(prompt="a fox", owner="ann", seed=1)
PERSONA = compose_persona("a fox", 1)
ANSWER = json.dumps(msgspec.to_builtins(PERSONA))
STOP = Finished("stop")

Item = Chunk | float | Exception


def whole(text: str = ANSWER, size: int = 40) -> list[Item]:
    return [*(TextChunk(text[at : at + size]) for at in range(0, len(text), size)), STOP]


class Scripted:
    """Answers request after request from scripts: a chunk is yielded, a number slept, an exception raised.

    `opening` is played each time before the stream is open.
    """

    name = "scripted"
    maker = WRITER

    def __init__(self, *scripts: list[Item], opening: list[Item] | None = None) -> None:
        self.scripts = list(scripts)
        self.opening = opening or []
        self.requests: list[LlmRequest] = []
        self.open = 0

    def open_stream(self, request: LlmRequest) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        return self._open(request)

    @asynccontextmanager
    async def _open(self, request: LlmRequest) -> AsyncIterator[AsyncIterator[Chunk]]:
        self.requests.append(request)
        self.open += 1
        try:
            async for _ in self._play(self.opening):
                raise AssertionError("no chunks while opening")
            async with aclosing(self._play(self.scripts.pop(0))) as chunks:
                yield chunks
        finally:
            self.open -= 1

    async def _play(self, script: list[Item]) -> AsyncGenerator[Chunk, None]:
        for item in script:
            match item:
                case Exception():
                    raise item
                case float() | int():
                    await trio.sleep(item)
                case chunk:
                    await trio.lowlevel.checkpoint()
                    yield chunk


class Room:
    """What surrounds the actor: records what is told, and checks the farewell's promises as it is said."""

    def __init__(self, backend: Scripted, slots: Slots | None = None) -> None:
        self.backend = backend
        self.slots = slots or Slots(1)
        self.mail: list[LlmMail] = []
        self.delivered: list[PersonaWritten] = []
        self.held_at_farewell: int | None = None

    async def tell(self, mail: LlmMail) -> None:
        if isinstance(mail, LlmLeft):
            assert self.backend.open == 0
            self.held_at_farewell = self.slots.held
        self.mail.append(mail)
        await trio.lowlevel.checkpoint()

    async def run(
        self, job: WritingJob = JOB, limits: WritingLimits | None = None, lengths: LengthHistory | None = None
    ) -> None:
        await run_llm_actor(
            job,
            backend=self.backend,
            slots=self.slots,
            tell=self.tell,
            deliver=self.delivered.append,
            limits=limits or WritingLimits(),
            lengths=lengths,
        )

    def said(self, kind: type[LlmMail]) -> list[LlmMail]:
        return [mail for mail in self.mail if isinstance(mail, kind)]


def joined(mail: list[LlmMail]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in mail:
        if isinstance(one, TextGrew):
            found[one.path] = found.get(one.path, "") + one.delta
    return found


async def test_a_persona_is_told_as_it_grows_and_delivered_once(autojump_clock: trio.testing.MockClock) -> None:
    room = Room(Scripted([Prefill(1, 2), ThinkingChunk("Hm."), *whole()]))
    await room.run()
    assert room.mail[0] == WritingBegan()
    assert ThoughtGrew(delta="Hm.") in room.mail
    assert joined(room.mail) == dict(persona_strings(PERSONA))
    assert room.mail[-2:] == [PersonaWritten(persona=PERSONA, writer=WRITER), LlmLeft(fate="closed")]
    assert room.delivered == [PersonaWritten(persona=PERSONA, writer=WRITER)]
    assert room.held_at_farewell == 1
    assert room.slots.held == 0
    (request,) = room.backend.requests
    assert (request.prompt, request.seed) == ("a fox", 1)


async def test_progress_rises_in_steps_worth_telling(autojump_clock: trio.testing.MockClock) -> None:
    script: list[Item] = []
    for item in whole(size=2):
        script += [0.01, item]
    room = Room(Scripted(script))
    await room.run()
    advances = [mail for mail in room.mail if isinstance(mail, WritingAdvanced)]
    fractions = [mail.fraction for mail in advances]
    assert len(fractions) > 50
    assert all(later - earlier >= 0.003 for earlier, later in pairwise(fractions))
    assert 0 < fractions[0] < 0.05
    assert 0.9 < fractions[-1] < 1
    assert {mail.basis for mail in advances} == {"estimated"}
    assert advances[-1].eta_s is not None


async def test_the_prompt_is_told_as_it_is_read_and_never_after_text(autojump_clock: trio.testing.MockClock) -> None:
    reading: list[Item] = [Prefill(0, 2000), *(Prefill(done, 2000) for done in range(0, 2100, 10)), Prefill(5, 0)]
    room = Room(Scripted([*reading, *whole()[:-1], Prefill(1, 2), STOP]))
    await room.run()
    read = [mail.fraction for mail in room.mail if isinstance(mail, PromptAdvanced)]
    assert read == pytest.approx([percent / 100 for percent in range(1, 101)])
    assert room.mail[1 : 1 + len(read)] == room.said(PromptAdvanced)


async def test_a_repair_reads_its_prompt_anew(autojump_clock: trio.testing.MockClock) -> None:
    room = Room(Scripted([Prefill(2, 2), *whole("no")], [Prefill(1, 2), *whole()]))
    await room.run()
    assert room.said(PromptAdvanced) == [PromptAdvanced(fraction=1.0), PromptAdvanced(fraction=0.5)]


async def test_lengths_of_accepted_personas_make_the_next_estimate_truer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def last_fraction(lengths: LengthHistory) -> float:
        room = Room(Scripted(whole("no"), whole()))
        await room.run(lengths=lengths)
        return [mail.fraction for mail in room.mail if isinstance(mail, WritingAdvanced)][len(ANSWER) // 80]

    lengths = LengthHistory()
    true = 0.5
    errors = [abs(await last_fraction(lengths) - true) for _ in range(4)]
    assert errors[0] == errors[1] == errors[2] > errors[3] + 0.02


async def test_the_queue_is_told_only_while_waiting(autojump_clock: trio.testing.MockClock) -> None:
    slots = Slots(1)
    first = Room(Scripted([5.0, *whole()]), slots)
    second = Room(Scripted(whole()), slots)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(second.run)
    assert first.said(LlmQueued) == []
    assert second.mail[:2] == [LlmQueued(position=1), WritingBegan()]


async def test_an_invalid_persona_costs_one_repair(autojump_clock: trio.testing.MockClock) -> None:
    broken = ANSWER.replace('"traits": [', '"traits": ["' + "x" * 61 + '", ')
    room = Room(Scripted(whole(broken), whole()))
    await room.run()
    (rejected,) = room.said(PersonaRejected)
    at = room.mail.index(rejected)
    assert isinstance(rejected, PersonaRejected)
    assert "/traits/0" in rejected.reason
    assert "60" in rejected.reason
    assert joined(room.mail[at:]) == dict(persona_strings(PERSONA))
    first, second = room.backend.requests
    assert second.messages[: len(first.messages)] == first.messages
    assert '"name"' in second.messages[-2].content
    assert rejected.reason in second.messages[-1].content
    fractions = [mail.fraction for mail in room.mail[at:] if isinstance(mail, WritingAdvanced)]
    assert fractions[0] < 0.1
    assert len(room.said(WritingBegan)) == len(room.said(LlmLeft)) == len(room.delivered) == 1


async def test_an_engine_that_starts_is_waited_for_longer_than_for_words(
    autojump_clock: trio.testing.MockClock,
) -> None:
    room = Room(Scripted([Waiting("owl-server is starting"), 300.0, Waiting(None), 100.0, *whole()]))
    await room.run(limits=WritingLimits(first_byte_s=120.0, gap_s=60.0, whole_s=600.0))
    assert room.mail[:3] == [WritingBegan(), EngineAwaited(reason="owl-server is starting"), WritingBegan()]
    assert room.delivered


async def test_what_was_still_thinking_is_taken_back_and_the_answer_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    first_try = ANSWER.replace(PERSONA.name, "Nobody")
    room = Room(Scripted(whole(f"{first_try} No, better:</think>{ANSWER}")))
    await room.run()
    (rejected,) = room.said(PersonaRejected)
    at = room.mail.index(rejected)
    assert "Nobody" in joined(room.mail[:at])["/name"]
    assert room.mail[at + 1] == ThoughtGrew(delta=f"{first_try} No, better:")
    assert joined(room.mail[at:]) == dict(persona_strings(PERSONA))
    assert len(room.backend.requests) == len(room.delivered) == 1
    fractions = [mail.fraction for mail in room.mail[at:] if isinstance(mail, WritingAdvanced)]
    assert fractions[0] < 0.1
    assert fractions == sorted(fractions)


@pytest.mark.parametrize(
    ("opening", "scripts", "error", "words"),
    [
        ([LlmUnavailable("busy")], [[]], LlmUnavailable, "busy"),
        ([], [[LlmFailed("boom")]], LlmFailed, "boom"),
        ([], [whole()[:-1]], LlmFailed, "hung up"),
        ([], [whole()[:5]], LlmFailed, "hung up"),
        ([], [[]], LlmFailed, "hung up"),
        ([], [whole("no"), whole('{"name": "' + "x" * 61)], PersonaInvalid, "/name is longer than 60"),
        ([], [[STOP], [STOP]], PersonaInvalid, "no JSON object"),
        ([500.0], [[]], DeadlineExceeded, "first_byte_s"),
        ([], [[500.0]], DeadlineExceeded, "first_byte_s"),
        ([100.0], [[100.0, *whole()]], DeadlineExceeded, "first_byte_s"),
        ([], [[*whole()[:3], 61.0, *whole()[3:]]], DeadlineExceeded, "gap_s"),
        ([], [[item for _ in range(40) for item in (50.0, Prefill(1, 2))]], DeadlineExceeded, "whole_s"),
        ([], [[*([50.0, Prefill(1, 2)] * 11), *whole("no")], [100.0, *whole()]], DeadlineExceeded, "whole_s"),
    ],
)
async def test_failures_are_named_and_leave_nothing_behind(
    opening: list[Item],
    scripts: list[list[Item]],
    error: type[HatcheryError],
    words: str,
    autojump_clock: trio.testing.MockClock,
) -> None:
    room = Room(Scripted(*scripts, opening=opening))
    with pytest.raises(error, match=words):
        await room.run()
    assert room.said(LlmLeft) == [LlmLeft(fate="closed")] == room.mail[-1:]
    assert room.held_at_farewell == 1
    assert room.slots.held == room.backend.open == 0
    assert room.delivered == []


async def test_slow_listeners_are_not_held_against_the_engine(autojump_clock: trio.testing.MockClock) -> None:
    class Slow(Room):
        async def tell(self, mail: LlmMail) -> None:
            await super().tell(mail)
            if isinstance(mail, ThoughtGrew):
                await trio.sleep(200)

    room = Slow(Scripted([ThinkingChunk("Hm."), *whole()]))
    await room.run()
    assert room.delivered


async def test_cancelled_while_waiting_nothing_was_opened(autojump_clock: trio.testing.MockClock) -> None:
    slots = Slots(1)
    first = Room(Scripted([5.0, *whole()]), slots)
    second = Room(Scripted(), slots)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await second.run()
    assert second.mail == [LlmQueued(position=1), LlmLeft(fate="none")]
    assert slots.held == slots.waiting == 0
    assert first.delivered


async def test_cancelled_before_the_engine_answers_it_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    room = Room(Scripted([], opening=[50.0]))
    with trio.move_on_after(1):
        await room.run()
    assert room.mail[-1] == LlmLeft(fate="closed")


async def test_a_listener_that_is_stuck_cannot_hold_the_farewell(autojump_clock: trio.testing.MockClock) -> None:
    class Stuck(Room):
        async def tell(self, mail: LlmMail) -> None:
            await super().tell(mail)
            if isinstance(mail, LlmLeft):
                await trio.sleep_forever()

    room = Stuck(Scripted([500.0]))
    with trio.move_on_after(1):
        await room.run(limits=WritingLimits(farewell_s=2))
    assert trio.current_time() == pytest.approx(3, abs=0.01)
    assert room.slots.held == 0


class CancelAt(trio.abc.Instrument):
    """Cancels a scope just before a task's `at`-th step: each step is one await that could be the last."""

    def __init__(self, scope: trio.CancelScope, at: int) -> None:
        self.scope = scope
        self.left = at

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


async def test_cancelled_at_any_await_it_says_one_farewell_before_its_slot_is_free(
    autojump_clock: trio.testing.MockClock,
) -> None:
    broken: list[Item] = [TextChunk('{"name": 5'), STOP]
    finished = cancelled = 0
    for at in range(1, 400):
        room = Room(Scripted(broken, [0.1, *whole(size=400)], opening=[0.1]))
        with trio.CancelScope() as scope:
            instrument = CancelAt(scope, at)
            trio.lowlevel.add_instrument(instrument)
            try:
                await room.run()
            finally:
                trio.lowlevel.remove_instrument(instrument)
        assert len(room.said(LlmLeft)) == 1
        assert isinstance(room.mail[-1], LlmLeft)
        assert room.slots.held == room.slots.waiting == room.backend.open == 0
        assert len(room.delivered) <= 1
        assert room.held_at_farewell == 1 or room.mail == [LlmLeft(fate="none")]
        cancelled += scope.cancelled_caught
        finished += not scope.cancel_called
        if finished:
            break
    assert finished
    assert cancelled > 20


async def test_the_demo_writer_is_a_backend_like_any_other(autojump_clock: trio.testing.MockClock) -> None:
    delivered: list[PersonaWritten] = []
    mail: list[LlmMail] = []

    async def tell(one: LlmMail) -> None:
        mail.append(one)
        await trio.lowlevel.checkpoint()

    await run_llm_actor(JOB, backend=DemoWriter(), slots=Slots(1), tell=tell, deliver=delivered.append)
    assert delivered == [PersonaWritten(persona=PERSONA, writer=DemoWriter().maker)]
    assert joined(mail) == dict(persona_strings(PERSONA))
