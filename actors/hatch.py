"""One hatch: a nursery that supervises an LLM actor and an mflux actor, and one `end` when both are gone."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Final

import msgspec
import structlog
import trio

from actors.eventlog import EventLog
from actors.llm.actor import WritingJob, WritingLimits, run_llm_actor
from actors.llm.backend import LlmBackend
from actors.llm.estimate import LengthHistory
from actors.mailbox import Mailbox
from actors.mflux.actor import RenderOrder, run_mflux_actor
from actors.mflux.engine import FindInput, ImageEngine
from actors.slots import Slots
from actors.supervisor import ChildSpec, Supervisor, coded
from protocol.errors import DeadlineExceeded, Draining, HatcheryError, ImageFailed, Internal, LlmUnavailable
from protocol.events import Engines
from protocol.journal import Entry, Recovered, SessionRecord
from protocol.lifecycle import Lifecycle
from protocol.mail import AnyMail, PersonaWritten, PictureStored
from protocol.restart import Restart, RestartPolicy

MAX_ATTEMPTS: Final = 5  # of a hatch that is found unfinished again whenever the gateway starts

log = structlog.get_logger(__name__)


class HatchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on one hatch: its whole time in seconds, the writing's own limits, and how often actors are restarted.

    `resumes` says whether a hatch that an earlier process left unfinished is begun again, or ends as failed.
    """

    whole_s: float
    writing: WritingLimits
    restarts: RestartPolicy
    resumes: bool = True


class Workshop(msgspec.Struct, frozen=True, kw_only=True):
    """What all hatches of a gateway share."""

    llm: LlmBackend
    llm_slots: Slots
    lengths: LengthHistory
    image: ImageEngine
    render_slots: Slots
    eventlog: EventLog
    limits: HatchLimits
    find_input: FindInput | None = None  # if uploads are kept

    @property
    def engines(self) -> Engines:
        """The engines at work, by name."""
        return Engines(llm=self.llm.name, image=self.image.name)


class Hatch:
    """One session at work; `cancel` may come at any time, from anywhere."""

    def __init__(
        self,
        record: SessionRecord,
        seed: int,
        workshop: Workshop,
        nursery: trio.Nursery,
        so_far: Recovered | None,
        doom: str | None,
    ) -> None:
        self.session = record.session
        self.begun = trio.Event()  # its first words are published, or it has failed
        self._record = record
        self._seed = seed
        self._workshop = workshop
        self._nursery = nursery
        self._so_far = so_far
        self._lifecycle = Lifecycle(
            record.session,
            engines=workshop.engines,
            steps=workshop.image.planned_steps(record.hatch.image),
            persona=record.hatch.persona if so_far is None else so_far.persona or record.hatch.persona,
            now=trio.current_time(),
        )
        self._mail_for_mflux: Mailbox[PersonaWritten] = Mailbox(1)
        self._failure: HatcheryError | None = None
        if doom is not None:
            self._lifecycle.cancel(doom, trio.current_time())  # which the log has published already: see `doomed`

    async def cancel(self, reason: str) -> None:
        """Stop the work; returns when `cancelling` is published. Late and repeated calls change nothing."""
        entries = self._lifecycle.cancel(reason, trio.current_time())
        if entries:
            log.info("hatch_cancelling", session=self.session, reason=reason)
            self._nursery.cancel_scope.cancel()
            await self._say_at_last(entries)

    def fail(self, error: HatcheryError) -> None:
        """Stop the work, which has become impossible; of several errors the first one counts."""
        if self._failure is None:
            self._failure = error
            self._nursery.cancel_scope.cancel()

    async def run(self) -> None:
        """Run the actors until both have ended well. Raises the error that stands in the way."""
        try:
            await self._begin()
        finally:
            self.begun.set()
        if self._lifecycle.decided:
            return
        if self._lifecycle.persona is None:
            image, asked = self._workshop.image, self._record.hatch.image
            await image.prewarm(asked)
            self._lifecycle.expect_drawing(await image.expected(asked))
        children = [ChildSpec("mflux", self._run_mflux, Restart.TRANSIENT, _crashed)]
        if self._lifecycle.persona is None:
            children.insert(0, ChildSpec("llm", self._run_llm, Restart.TRANSIENT, _llm_may_return))
        else:
            self._mail_for_mflux.post(PersonaWritten(persona=self._lifecycle.persona))
        await Supervisor(
            self._nursery,
            children,
            policy=self._workshop.limits.restarts,
            random=Random(self._seed),
            on_restart=self._on_restart,
        ).run()

    async def _begin(self) -> None:
        if self._lifecycle.decided:
            return
        resumes = self._workshop.limits.resumes
        so_far = self._so_far
        if so_far is None or (so_far.untold and resumes):
            await self._say(self._lifecycle.begin())
            return
        self._lifecycle.restore(so_far)
        error: HatcheryError | None = None
        if not self._lifecycle.decided:
            if not resumes:
                error = Draining("the gateway was stopped while this hatch ran: start it again")
            elif so_far.attempt >= MAX_ATTEMPTS:
                error = Internal(f"given up after {so_far.attempt} attempts, which the gateway did not survive")
        await self._say(self._lifecycle.resume(trio.current_time(), again=error is None))
        if error is not None:
            raise error

    async def _run_llm(self) -> None:
        job = WritingJob(prompt=self._record.hatch.prompt, owner=self._record.owner, seed=self._seed)
        await run_llm_actor(
            job,
            backend=self._workshop.llm,
            slots=self._workshop.llm_slots,
            tell=self._tell,
            deliver=self._mail_for_mflux.post,
            limits=self._workshop.limits.writing,
            lengths=self._workshop.lengths,
        )

    async def _run_mflux(self) -> None:
        order = RenderOrder(
            session=self.session, owner=self._record.owner, image=self._record.hatch.image, seed=self._seed
        )
        await run_mflux_actor(
            order,
            mailbox=self._mail_for_mflux,
            engine=self._workshop.image,
            slots=self._workshop.render_slots,
            tell=self._tell,
            find_input=self._workshop.find_input,
        )

    async def _on_restart(self, child: ChildSpec, error: HatcheryError | None) -> None:
        log.warning("actor_restarted", session=self.session, actor=child.name, code=error.code if error else None)
        reason = error.message if error else f"the {child.name} actor is run again"
        await self._say(self._lifecycle.retry(reason, trio.current_time()))
        if child.name == "mflux" and self._lifecycle.persona is not None:
            self._mail_for_mflux.post(PersonaWritten(persona=self._lifecycle.persona))

    async def _finish(self, error: HatcheryError | None, *, stopped: bool) -> None:
        now = trio.current_time()
        if stopped:
            await self._say_at_last(self._lifecycle.cancel("the gateway stops", now))
        await self._say_at_last(self._lifecycle.finish(self._failure or error, now))

    async def _tell(self, letter: AnyMail) -> None:
        try:
            await self._say(self._lifecycle.handle(letter, trio.current_time()))
        except HatcheryError:
            if self._failure is not None and isinstance(letter, PictureStored):
                self._lifecycle.picture_unkept()
            raise

    async def _say_at_last(self, entries: Sequence[Entry]) -> None:
        """Say what is settled whether it can be kept or not: a log that cannot write now does so as soon as it can."""
        try:
            await self._say(entries)
        except HatcheryError as error:
            log.error("hatch_unkept", session=self.session, code=error.code, reason=error.message)

    async def _say(self, entries: Sequence[Entry]) -> None:
        if entries:
            await self._workshop.eventlog.append(self.session, entries)


def _llm_may_return(error: HatcheryError) -> bool:
    return isinstance(error, LlmUnavailable)


def _crashed(error: HatcheryError) -> bool:
    return isinstance(error, ImageFailed) and error.retryable


@asynccontextmanager
async def open_hatch(
    record: SessionRecord,
    seed: int,
    workshop: Workshop,
    so_far: Recovered | None = None,
    *,
    doom: str | None = None,
) -> AsyncIterator[Hatch]:
    """The nursery of one session whose record is in the log; the block is to `run` the hatch, on from `so_far`.

    With a `doom`, the reason of a cancel that came before its start, there is only its end to be said.
    However the block is left, both actors are gone and the one `end` is published when this returns; an error of the
    hatch ends with it, a cancellation from outside goes on.
    """
    hatch: Hatch | None = None
    error: HatcheryError | None = None
    ran = False
    try:
        with trio.move_on_after(workshop.limits.whole_s) as whole:  # noqa: ASYNC100 - the nursery waits
            async with trio.open_nursery() as nursery:
                hatch = Hatch(record, seed, workshop, nursery, so_far, doom)
                yield hatch
            ran = True
        if whole.cancelled_caught:
            error = DeadlineExceeded(f"the hatch was not done within {workshop.limits.whole_s:g} s")
    except (Exception, BaseExceptionGroup) as raised:
        error = coded(raised)
        if isinstance(error, Internal):  # a bug of ours; the others say all that there is to say
            log.error("hatch_failed", session=record.session, code=error.code, exc_info=raised)
    finally:
        if hatch is not None:
            with trio.CancelScope(shield=True):
                await hatch._finish(error, stopped=not ran and error is None)
