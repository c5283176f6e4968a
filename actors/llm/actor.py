"""The LLM actor: takes a turn, has the persona written, says what grows, and leaves nothing open behind it."""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog
import trio

from actors.llm.backend import Finished, LlmBackend, LlmRequest, Message, Prefill, TextChunk, ThinkingChunk, Waiting
from actors.llm.draft import Draft
from actors.llm.estimate import LengthHistory, WritingEstimate
from actors.llm.prompt import ask, ask_again
from actors.slots import Slots
from protocol.errors import DeadlineExceeded, LlmFailed, PersonaInvalid
from protocol.events import LlmFate
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
from protocol.persona import Persona

log = structlog.get_logger(__name__)

Tell = Callable[[LlmMail], Awaitable[None]]

MIN_ADVANCE: Final = 0.003  # of the writing: a tenth of a percent of the whole hatch


class WritingJob(msgspec.Struct, frozen=True, kw_only=True):
    """One persona to write: the person's sentence, whose turn it takes, and a seed for engines that honour one."""

    prompt: str
    owner: str
    seed: int | None = None


class WritingLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds in seconds: to the engine's first sign of life, between two, for all the writing, for the farewell."""

    first_byte_s: float = 120.0
    gap_s: float = 60.0
    whole_s: float = 600.0
    farewell_s: float = 5.0


async def run_llm_actor(
    job: WritingJob,
    *,
    backend: LlmBackend,
    slots: Slots,
    tell: Tell,
    deliver: Callable[[PersonaWritten], None],
    limits: WritingLimits = WritingLimits(),  # noqa: B008 - frozen
    lengths: LengthHistory | None = None,
) -> None:
    """Write the job's persona: tell everything on the way, then `deliver` the result to whoever draws it.

    `lengths` are those of the personas that this backend has written before; the new one's are added.
    However it ends, the connection is closed and LlmLeft is told exactly once, before the slot is free again.
    Raises LlmUnavailable, LlmFailed, PersonaInvalid (after one repair) or DeadlineExceeded.
    """

    async def queued(position: int) -> None:
        await tell(LlmQueued(position=position))

    writer = _Writer(job, backend, tell, limits, lengths or LengthHistory())
    try:
        async with slots.hold(job.owner, queued):
            try:
                await tell(WritingBegan())
                written = PersonaWritten(persona=await writer.write(), writer=backend.maker)
                await tell(written)
                deliver(written)
            finally:
                with trio.move_on_after(limits.farewell_s, shield=True):
                    await writer.say_farewell()
    finally:
        with trio.move_on_after(limits.farewell_s, shield=True):
            await writer.say_farewell()  # said already, unless it never got a slot


class _Writer:
    def __init__(
        self, job: WritingJob, backend: LlmBackend, tell: Tell, limits: WritingLimits, lengths: LengthHistory
    ) -> None:
        self._job = job
        self._backend = backend
        self._tell = tell
        self._limits = limits
        self._lengths = lengths
        self._fate: LlmFate = "none"
        self._parted = False

    async def say_farewell(self) -> None:
        """Tell LlmLeft, the first time only."""
        if not self._parted:
            self._parted = True
            await self._tell(LlmLeft(fate=self._fate))

    async def write(self) -> Persona:
        """The persona, after at most one repair."""
        whole = trio.current_time() + self._limits.whole_s
        chat, draft = ask(self._job.prompt), Draft()
        try:
            return await self._answer(chat, draft, whole)
        except PersonaInvalid as error:
            reason = error.message
        await self._tell(PersonaRejected(reason=reason))
        return await self._answer(ask_again(chat, draft.answer, reason), Draft(), whole)

    async def _answer(self, chat: tuple[Message, ...], draft: Draft, whole: float) -> Persona:
        """One answer of the engine, streamed into `draft`; `whole` is the deadline of all the writing."""
        request = LlmRequest(messages=chat, prompt=self._job.prompt, seed=self._job.seed)
        patience = _Patience(whole, self._limits)
        with patience.scope:
            await self._stream(request, draft, patience)
        if patience.scope.cancelled_caught:
            raise DeadlineExceeded(patience.reproach)
        persona = draft.finish()
        self._lengths.add(persona)
        return persona

    async def _stream(self, request: LlmRequest, draft: Draft, patience: "_Patience") -> None:
        """Read until the engine says that it has finished. Raises LlmFailed when it hangs up instead."""
        progress = _Progress(self._tell, self._lengths)
        patience.expect_first()
        self._fate = "closed"  # a connection may be open from here on, until the context is left
        async with self._backend.open_stream(request) as chunks:
            async for chunk in chunks:
                patience.suspend()
                match chunk:
                    case TextChunk(text):
                        for grown in draft.feed(text):
                            await self._tell(grown)
                            match grown:
                                case TextGrew():
                                    progress.grew(grown)
                                case PersonaRejected():
                                    progress = _Progress(self._tell, self._lengths)
                        await progress.tell()
                    case ThinkingChunk(text):
                        await self._tell(ThoughtGrew(delta=text))
                    case Waiting(str(reason)):
                        await self._tell(EngineAwaited(reason=reason))
                        continue  # for as long as the writing may take
                    case Waiting():
                        await self._tell(WritingBegan())
                        patience.expect_first()
                        continue
                    case Prefill(done, total):
                        await progress.tell_prompt(done, total)
                    case Finished(reason, load_s, prompt_s):
                        log.debug("llm_finished", reason=reason, load_s=load_s, prompt_s=prompt_s)
                        return
                patience.expect_next()
        raise LlmFailed("The LLM server hung up before its answer was finished.")


class _Progress:
    """How far one answer is, told in steps worth telling: first the prompt that is read, then the text."""

    def __init__(self, tell: Tell, lengths: LengthHistory) -> None:
        self._tell = tell
        self._estimate = WritingEstimate(lengths.typical())
        self._prompt_percent = 0
        self._told = 0.0

    def grew(self, grown: TextGrew) -> None:
        self._estimate.grew(grown.path, len(grown.delta), trio.current_time())

    async def tell(self) -> None:
        if (fraction := self._estimate.fraction) - self._told >= MIN_ADVANCE:
            self._told = fraction
            await self._tell(WritingAdvanced(fraction=fraction, basis="estimated", eta_s=self._estimate.eta_s))

    async def tell_prompt(self, done: int, total: int) -> None:
        percent = min(100 * done // total, 100) if total > 0 else 0
        if not self._told and percent > self._prompt_percent:
            self._prompt_percent = percent
            await self._tell(PromptAdvanced(fraction=percent / 100))


class _Patience:
    """A cancel scope around one answer whose deadline follows what is expected next, never past the whole's."""

    def __init__(self, whole: float, limits: WritingLimits) -> None:
        self.scope = trio.CancelScope(deadline=whole)
        self.reproach = ""
        self._whole = whole
        self._limits = limits

    def expect_first(self) -> None:
        self._expect("first_byte_s", self._limits.first_byte_s)

    def expect_next(self) -> None:
        self._expect("gap_s", self._limits.gap_s)

    def suspend(self) -> None:
        """While a chunk is handled the engine owes nothing; only the whole counts."""
        self.scope.deadline = self._whole
        self.reproach = f"The persona was not written within {self._limits.whole_s:g} s (whole_s)."

    def _expect(self, name: str, seconds: float) -> None:
        self.suspend()
        deadline = trio.current_time() + seconds
        if deadline < self._whole:
            self.scope.deadline = deadline
            self.reproach = f"The LLM server was silent for {seconds:g} s ({name})."
