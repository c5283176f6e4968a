"""One session's state machine: mail from its actors in, entries for its journal out; one `end`, first outcome wins.

Pure: `now` is any monotone clock in seconds. The diagram is section 4 of the wire contract.
"""

from collections import defaultdict
from typing import Final, Literal

from protocol import mail
from protocol.commands import StateName
from protocol.errors import HatcheryError, Internal
from protocol.events import (
    Artifact,
    End,
    Engines,
    Failure,
    LlmFate,
    Outcome,
    PersonaReady,
    Preview,
    Receipt,
    State,
    Text,
    Thinking,
    WorkerFate,
)
from protocol.forecast import Range
from protocol.journal import Entry, EpochBegun, Recovered
from protocol.persona import Persona
from protocol.progress import PERSONA_DONE, Details, ProgressModel

TERMINAL: Final = frozenset({"done", "failed", "cancelled"})


class Lifecycle:
    """The state of one hatch, from `queued` (or `waiting`, when a persona is given) to its end."""

    def __init__(self, session: str, *, engines: Engines, steps: int, persona: Persona | None, now: float) -> None:
        self.session = session
        self.state: StateName = "queued" if persona is None else "waiting"
        self.epoch = 1
        self.attempt = 1
        self.persona = persona
        self.cancel_reason: str | None = None
        self._engines = engines
        self._seq = 0
        self._offset = 0
        self._progress = ProgressModel(session)
        self._picture_shown = False
        self._steps_done = 0
        self._steps = steps
        self._worker: WorkerFate = "none"
        self._exit_code: int | None = None
        self._llm: LlmFate = "none"
        self._born = self._entered = now
        self._cancelled_at: float | None = None
        self._spent: defaultdict[StateName, float] = defaultdict(float)
        self._drawing_s: Range | None = None

    def expect_drawing(self, seconds: Range | None) -> None:
        """How long the drawing will take, p50 and p90, so that the writer's time left tells that of the whole hatch."""
        self._drawing_s = seconds

    def begin(self) -> list[Entry]:
        """What there is to say at once: of a redraw, the given persona."""
        if self.persona is None:
            return []
        self._progress.begin_epoch(PERSONA_DONE)
        shown = self._progress.persona_complete()
        return [PersonaReady(session=self.session, seq=self._next_seq(), persona=self.persona), *_said(shown)]

    def restore(self, so_far: Recovered) -> None:
        """Stand where an earlier process of the gateway has left the session."""
        self.epoch, self.attempt, self._seq, self.state = so_far.epoch, so_far.attempt, so_far.seq, so_far.state
        if so_far.state == "cancelling":
            self.cancel_reason = "it was being cancelled when the gateway stopped"
        self._picture_shown = bool(so_far.artifacts)

    def resume(self, now: float, *, again: bool = True) -> list[Entry]:
        """Go on from what was restored: in a new attempt, or if `decided`, or not `again`, towards its end.

        Either way in a new epoch, since text that was shown is taken back: only a complete persona was kept.
        """
        if again and not self.decided:
            return self.retry("the gateway was started again", now)
        shown = self._picture_shown
        begun = self._begin_epoch(self.state, now)
        self._picture_shown = shown
        return begun

    @property
    def decided(self) -> bool:
        """Whether only the end is missing."""
        return self._picture_shown or self.state == "cancelling"

    @property
    def ended(self) -> bool:
        """Whether `end` has been given out."""
        return self.state in TERMINAL

    # --- what actors report

    def handle(self, letter: mail.AnyMail, now: float) -> list[Entry]:
        """What the session says about a piece of mail; once it is being cancelled, only facts for the receipt count."""
        if self.ended:
            return []
        match letter:
            case mail.StepFinished():
                self._steps_done, self._steps = letter.step, letter.steps
            case mail.LlmLeft():
                self._llm = letter.fate
            case mail.WorkerLeft():
                self._worker, self._exit_code = letter.fate, letter.exit_code
            case _:
                pass
        if self.state == "cancelling":
            return []
        if isinstance(letter, mail.OfLlm):  # first the persona, then the picture
            return self._on_writing(letter, now) if self.persona is None else []
        return [] if self.persona is None else self._on_drawing(letter, now)

    def _on_writing(self, letter: mail.LlmMail, now: float) -> list[Entry]:
        reach = self._progress.reach
        match letter:
            case mail.LlmQueued(position=position):
                message = f"Waiting for the writer, number {position} in line"
                said = _said(reach("queued", "measured", message, queue_position=position))
                return [*self._enter("queued", now), *said]
            case mail.WritingBegan():
                message = "The writer reads the prompt"
                return [*self._enter("writing", now), *_said(reach("persona", "indeterminate", message))]
            case mail.EngineAwaited(reason=reason):
                return _said(reach("persona", "indeterminate", reason))
            case mail.PromptAdvanced(fraction=fraction):
                return _said(reach("persona", "measured", f"The writer reads the prompt, {fraction:.0%}"))
            case mail.TextGrew(path=path, delta=delta):
                text = Text(session=self.session, offset=self._offset, path=path, delta=delta)
                self._offset += len(delta)
                return [text]
            case mail.ThoughtGrew(delta=delta):
                return [Thinking(session=self.session, delta=delta)]
            case mail.WritingAdvanced(fraction=fraction, basis=basis, eta_s=eta_s):
                whole_s = _both(eta_s, self._drawing_s)
                return _said(reach("persona", basis, "Writing the persona", fraction, eta_s=whole_s))
            case mail.PersonaWritten(persona=persona, writer=writer):
                self.persona = persona
                ready = PersonaReady(session=self.session, seq=self._next_seq(), persona=persona, writer=writer)
                return [ready, *_said(self._progress.persona_complete()), *self._enter("waiting", now)]
            case mail.PersonaRejected(reason=reason):
                return [*self._begin_epoch("writing", now), *_said(reach("persona", "indeterminate", reason))]
            case mail.LlmLeft():
                return []

    def _on_drawing(self, letter: mail.RenderMail, now: float) -> list[Entry]:
        reach = self._progress.reach
        match letter:
            case mail.StepFinished(step=step, steps=steps, step_s=step_s, eta_s=eta_s):
                fraction = step / steps if steps else None
                message = f"Step {step} of {steps}"
                counts = Details(step=step, steps=steps, step_s=step_s, eta_s=eta_s)
                return _said(reach("steps", "measured", message, fraction, **counts))
            case mail.RenderQueued(position=position, eta_s=eta_s):
                message = f"Waiting for the painter, number {position} in line"
                return _said(reach("waiting", "measured", message, queue_position=position, eta_s=eta_s))
            case mail.DrawingBegan(steps=steps):
                self._steps = steps
                said = _said(reach("loading", "indeterminate", "The painter gets ready"))
                return [*self._enter("drawing", now), *said]
            case mail.RenderStaged(stage=stage, basis=basis, message=message, fraction=fraction, eta_s=eta_s):
                details = Details(eta_s=eta_s)
                if self._steps_done:
                    details |= Details(step=self._steps_done, steps=self._steps)
                return _said(reach(stage, basis, message, fraction, **details))
            case mail.PreviewTaken(step=step, mime=mime, width=width, height=height, data=data):
                return [Preview(session=self.session, step=step, mime=mime, width=width, height=height, data=data)]
            case mail.PictureStored():
                self._picture_shown = True
                return [self._artifact(letter)]
            case mail.WorkerLeft():
                return []

    def _artifact(self, picture: mail.PictureStored) -> Artifact:
        return Artifact(
            session=self.session,
            seq=self._next_seq(),
            kind="avatar",
            url="",  # a URL expires: whoever shows the artifact signs one
            sha256=picture.sha256,
            bytes=picture.bytes,
            mime=picture.mime,
            width=picture.width,
            height=picture.height,
            painter=picture.painter,
            seed=picture.seed,
            steps=picture.steps,
        )

    def picture_unkept(self) -> None:
        """The picture could not be kept before it was shown: without one, the hatch has failed."""
        self._picture_shown = False

    # --- what the supervisor and people decide

    def cancel(self, reason: str, now: float) -> list[Entry]:
        """Somebody wants it stopped; late and repeated wishes change nothing."""
        if self.ended or self.state == "cancelling":
            return []
        self.cancel_reason, self._cancelled_at = reason, now
        return self._enter("cancelling", now, reason)

    def retry(self, reason: str, now: float) -> list[Entry]:
        """An actor is run again, as a new attempt in a new epoch; a complete persona is kept."""
        if self.ended or self.state == "cancelling":
            return []
        self.attempt += 1
        state: Literal["queued", "waiting"] = "queued" if self.persona is None else "waiting"
        begun = self._begin_epoch(state, now, reason)
        return [*begun, *_said(self._progress.reach(state, "indeterminate", reason))]

    def finish(self, error: HatcheryError | None, now: float) -> list[Entry]:
        """All actors are gone: the one `end`. A picture that was shown means done, whatever came after it."""
        if self.ended:
            return []
        self._spent[self.state] += now - self._entered
        if self._picture_shown:
            return [self._progress.done(), self._end("done", None, now)]
        if self.cancel_reason is not None:
            return [self._end("cancelled", None, now)]
        error = error or Internal("the hatch ended without a picture and without a reason")
        failure = Failure(code=error.code, message=error.message, retryable=error.retryable)
        return [self._end("failed", failure, now)]

    def _end(self, outcome: Outcome, failure: Failure | None, now: float) -> End:
        self.state = outcome
        agent = self.session if outcome == "done" else None  # an agent has the id of the session that hatched it
        latency = None if self._cancelled_at is None else _ms(now - self._cancelled_at)
        receipt = Receipt(
            queued_ms=_ms(self._spent["queued"]),
            writing_ms=_ms(self._spent["writing"]),
            waiting_ms=_ms(self._spent["waiting"]),
            drawing_ms=_ms(self._spent["drawing"]),
            total_ms=_ms(now - self._born),
            cancel_latency_ms=latency,
            steps_done=self._steps_done,
            steps=self._steps,
            worker=self._worker,
            llm=self._llm,
            exit_code=self._exit_code,
            engines=self._engines,
        )
        return End(
            session=self.session, seq=self._next_seq(), outcome=outcome, receipt=receipt, error=failure, agent=agent
        )

    # --- steps of the machine

    def _enter(self, state: StateName, now: float, reason: str | None = None) -> list[Entry]:
        if state == self.state:
            return []
        self._spent[self.state] += now - self._entered
        self.state, self._entered = state, now
        return [State(session=self.session, seq=self._next_seq(), state=state, reason=reason)]

    def _begin_epoch(self, state: StateName, now: float, reason: str | None = None) -> list[Entry]:
        keeps = self.persona is not None
        self.epoch += 1
        self._offset = self._steps_done = 0
        self._picture_shown = False
        self._progress.begin_epoch(PERSONA_DONE if keeps else 0.0)
        begun = EpochBegun(
            session=self.session, epoch=self.epoch, attempt=self.attempt, state=state, keeps_persona=keeps
        )
        return [begun, *self._enter(state, now, reason)]

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq


def _said(progress: Entry | None) -> list[Entry]:
    return [] if progress is None else [progress]


def _both(first: Range | None, second: Range | None) -> Range | None:
    """One after the other; None while either is unknown."""
    if first is None or second is None:
        return None
    return round(first[0] + second[0], 1), round(first[1] + second[1], 1)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
