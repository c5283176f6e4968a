"""The session's state machine: every arrow of the diagram by example, and every promise under any sequence at all."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol import mail
from protocol.errors import ImageFailed, LlmFailed, LlmUnavailable, Overloaded
from protocol.events import Artifact, End, PersonaReady, Preview, Progress, State, Text, Thinking
from protocol.journal import Entry, EpochBegun
from protocol.lifecycle import Lifecycle
from protocol.persona import Persona, persona_strings
from protocol.view import SessionView
from tests.helpers.fakes import ENGINES, PERSONA, PICTURE, Promises, assert_truthful, record_of, states

WRITTEN = mail.PersonaWritten(persona=PERSONA)
DREW = mail.DrawingBegan(steps=4)
UP_TO: dict[str, list[mail.AnyMail]] = {
    "new": [],
    "queued": [mail.LlmQueued(position=1)],
    "writing": [mail.WritingBegan()],
    "waiting": [mail.WritingBegan(), WRITTEN],
    "drawing": [mail.WritingBegan(), WRITTEN, DREW],
}


class Told:
    """A lifecycle whose entries are kept; every call comes one second after the one before."""

    def __init__(self, state: str = "new", *, persona: Persona | None = None) -> None:
        self.now = 100.0
        self.lifecycle = Lifecycle("s1", engines=ENGINES, steps=4, persona=persona, now=self.now)
        self.entries: list[Entry] = self.lifecycle.begin()
        self.handle(*UP_TO[state])

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    def handle(self, *letters: mail.AnyMail) -> list[Entry]:
        said = [entry for letter in letters for entry in self.lifecycle.handle(letter, self.tick())]
        self.entries += said
        return said

    def cancel(self, reason: str = "enough") -> list[Entry]:
        said = self.lifecycle.cancel(reason, self.tick())
        self.entries += said
        return said

    def retry(self, reason: str = "once more") -> list[Entry]:
        said = self.lifecycle.retry(reason, self.tick())
        self.entries += said
        return said

    def finish(self, error: LlmFailed | ImageFailed | None = None) -> End:
        said = self.lifecycle.finish(error, self.tick())
        self.entries += said
        assert isinstance(said[-1], End)
        assert_truthful(self.entries, redraw=self.entries[0:1] == [PersonaReady(session="s1", seq=1, persona=PERSONA)])
        return said[-1]


def percents(entries: Sequence[Entry]) -> list[float]:
    return [entry.percent for entry in entries if isinstance(entry, Progress)]


def last_progress(entries: Sequence[Entry]) -> Progress:
    return [entry for entry in entries if isinstance(entry, Progress)][-1]


# --- the straight way


def test_reading_the_prompt_is_measured_and_is_no_part_of_the_persona() -> None:
    told = Told("writing")
    told.handle(mail.PromptAdvanced(fraction=0.4))
    reading = last_progress(told.entries)
    assert (reading.percent, reading.stage, reading.basis) == (0.0, "persona", "measured")
    assert reading.message == "The writer reads the prompt, 40%"
    told.handle(mail.WritingAdvanced(fraction=0.5, basis="estimated"), mail.PromptAdvanced(fraction=0.6))
    assert last_progress(told.entries).percent == 16.5


def test_from_a_sentence_to_a_picture() -> None:
    told = Told()
    told.handle(
        mail.LlmQueued(position=2),
        mail.WritingBegan(),
        mail.TextGrew(path="/name", delta="A"),
        mail.ThoughtGrew(delta="hm"),
        mail.TextGrew(path="/name", delta="da"),
        mail.WritingAdvanced(fraction=0.5, basis="estimated", eta_s=(1.0, 2.0)),
        WRITTEN,
        mail.LlmLeft(fate="closed"),
        mail.RenderQueued(position=3, eta_s=(9.0, 12.0)),
        DREW,
        mail.RenderStaged(stage="downloading", basis="measured", message="Downloading", fraction=0.5),
        mail.StepFinished(step=2, steps=4, step_s=0.5, eta_s=(1.0, 1.5)),
        mail.PreviewTaken(step=2, mime="image/webp", width=8, height=8, data=b"x"),
        mail.RenderStaged(stage="saving", basis="indeterminate", message="Saving"),
        mail.WorkerLeft(fate="exited", exit_code=0),
        PICTURE,
    )
    end = told.finish()

    assert states(told.entries) == ["writing", "waiting", "drawing", "done"]
    assert [entry.offset for entry in told.entries if isinstance(entry, Text)] == [0, 1]
    assert [entry.delta for entry in told.entries if isinstance(entry, Thinking)] == ["hm"]
    assert [entry.step for entry in told.entries if isinstance(entry, Preview)] == [2]
    assert percents(told.entries) == [0.0, 0.0, 16.5, 33.0, 33.0, 35.0, 35.0, 66.5, 98.0, 100.0]
    artifact = next(entry for entry in told.entries if isinstance(entry, Artifact))
    assert (artifact.kind, artifact.sha256, artifact.bytes) == ("avatar", PICTURE.sha256, PICTURE.bytes)
    assert (artifact.width, artifact.height, artifact.mime) == (64, 32, "image/png")
    assert end.error is None
    assert told.entries.index(artifact) < len(told.entries) - 2
    assert isinstance(told.entries[-2], Progress)


def test_the_receipt_says_what_took_how_long_and_what_became_of_everybody() -> None:
    told = Told()  # born at 100
    told.handle(mail.LlmQueued(position=1))  # 101
    told.handle(mail.WritingBegan())  # 102
    told.now += 10
    told.handle(WRITTEN, mail.LlmLeft(fate="closed"))  # 113, 114
    told.handle(DREW)  # 115
    told.handle(mail.StepFinished(step=3, steps=5))
    told.now += 20
    told.cancel()  # 137
    told.handle(mail.WorkerLeft(fate="exited", exit_code=-15))  # 138
    end = told.finish()  # 139
    receipt = end.receipt
    assert end.outcome == "cancelled"
    assert (receipt.queued_ms, receipt.writing_ms, receipt.waiting_ms) == (2000, 11000, 2000)
    assert (receipt.drawing_ms, receipt.total_ms, receipt.cancel_latency_ms) == (22000, 39000, 2000)
    assert (receipt.steps_done, receipt.steps) == (3, 5)
    assert (receipt.worker, receipt.exit_code, receipt.llm) == ("exited", -15, "closed")
    assert receipt.engines == ENGINES


def test_a_redraw_begins_with_the_given_persona_at_33() -> None:
    told = Told(persona=PERSONA)
    first, second = told.entries
    assert isinstance(first, PersonaReady)
    assert first.seq == 1
    assert isinstance(second, Progress)
    assert second.percent == 33.0
    assert told.lifecycle.state == "waiting"
    told.handle(DREW, PICTURE)
    assert told.finish().outcome == "done"
    assert states(told.entries) == ["drawing", "done"]


def test_every_message_of_waiting_tells_the_place_in_line() -> None:
    told = Told()
    assert last_progress(told.handle(mail.LlmQueued(position=7))).queue_position == 7
    told.handle(mail.WritingBegan(), WRITTEN)
    waiting = last_progress(told.handle(mail.RenderQueued(position=3, eta_s=(4.0, 5.0))))
    assert (waiting.stage, waiting.queue_position, waiting.eta_s) == ("waiting", 3, (4.0, 5.0))


def test_the_time_left_of_the_writing_is_that_of_the_whole_hatch_or_unknown() -> None:
    told = Told("writing")
    writing = mail.WritingAdvanced(fraction=0.5, basis="estimated", eta_s=(1.23, 2.0))
    assert last_progress(told.handle(writing)).eta_s is None
    told.lifecycle.expect_drawing((10.0, 12.5))
    assert last_progress(told.handle(writing)).eta_s == (11.2, 14.5)
    without_a_rate = mail.WritingAdvanced(fraction=0.6, basis="estimated")
    assert last_progress(told.handle(without_a_rate)).eta_s is None


def test_reading_the_prompt_is_measured_and_moves_nothing() -> None:
    said = last_progress(Told("writing").handle(mail.PromptAdvanced(fraction=0.5)))
    assert (said.percent, said.stage, said.basis) == (0.0, "persona", "measured")
    assert "50%" in said.message


# --- the other arrows


@pytest.mark.parametrize("state", UP_TO)
def test_any_state_may_fail(state: str) -> None:
    told = Told(state)
    end = told.finish(LlmFailed("the server had enough"))
    assert end.outcome == "failed"
    assert end.error is not None
    assert (end.error.code, end.error.message, end.error.retryable) == ("llm_failed", "the server had enough", False)


@pytest.mark.parametrize("state", UP_TO)
def test_any_state_may_be_cancelled(state: str) -> None:
    told = Told(state)
    (cancelling,) = told.cancel("enough")
    assert isinstance(cancelling, State)
    assert (cancelling.state, cancelling.reason) == ("cancelling", "enough")
    end = told.finish()
    assert end.outcome == "cancelled"
    assert end.error is None
    assert end.receipt.cancel_latency_ms == 1000


def test_an_error_on_the_way_out_does_not_make_a_cancel_a_failure() -> None:
    told = Told("drawing")
    told.cancel()
    assert told.finish(ImageFailed("the child was killed")).outcome == "cancelled"


def test_a_picture_that_was_shown_means_done_though_it_was_cancelled_after() -> None:
    told = Told("drawing")
    told.handle(PICTURE)
    told.cancel()
    assert told.finish().outcome == "done"
    assert states(told.entries)[-2:] == ["cancelling", "done"]


def test_a_picture_that_was_shown_means_done_though_something_failed_after() -> None:
    told = Told("drawing")
    told.handle(PICTURE)
    assert told.finish(ImageFailed("too late")).outcome == "done"


def test_a_picture_that_could_not_be_kept_is_none() -> None:
    told = Told("drawing")
    told.handle(PICTURE)
    told.lifecycle.picture_unkept()
    (end,) = told.lifecycle.finish(Overloaded("the disk is full"), told.tick())
    assert isinstance(end, End)
    assert end.outcome == "failed"


def test_a_picture_that_comes_after_the_cancel_is_not_shown() -> None:
    told = Told("drawing")
    told.cancel()
    assert told.handle(PICTURE) == []
    assert told.finish().outcome == "cancelled"


def test_an_end_without_picture_and_reason_is_an_internal_failure() -> None:
    end = Told("drawing").finish()
    assert end.outcome == "failed"
    assert end.error is not None
    assert end.error.code == "internal"


def test_writing_is_retried_from_the_queue() -> None:
    told = Told("writing")
    told.handle(mail.TextGrew(path="/name", delta="Adel"))
    said = told.retry("The server is busy")
    begun, state, progress = said
    assert begun == EpochBegun(session="s1", epoch=2, attempt=2, state="queued", keeps_persona=False)
    assert isinstance(state, State)
    assert (state.state, state.reason) == ("queued", "The server is busy")
    assert isinstance(progress, Progress)
    assert (progress.percent, progress.message) == (0.0, "The server is busy")
    told.handle(mail.WritingBegan())
    (text,) = told.handle(mail.TextGrew(path="/name", delta="Ada"))
    assert isinstance(text, Text)
    assert text.offset == 0
    told.finish(LlmFailed("enough"))


def test_a_repair_is_a_new_epoch_but_no_new_attempt() -> None:
    told = Told("writing")
    told.handle(mail.WritingAdvanced(fraction=0.9, basis="estimated"))
    begun, progress = told.handle(mail.PersonaRejected(reason="/name is missing"))
    assert begun == EpochBegun(session="s1", epoch=2, attempt=1, state="writing", keeps_persona=False)
    assert isinstance(progress, Progress)
    assert (progress.percent, progress.message) == (0.0, "/name is missing")
    assert told.lifecycle.state == "writing"
    told.finish(LlmFailed("enough"))


def test_a_render_is_retried_with_the_persona_it_has() -> None:
    told = Told("drawing")
    told.handle(mail.StepFinished(step=3, steps=4))
    begun, state, progress = told.retry("The painter crashed")
    assert begun == EpochBegun(session="s1", epoch=2, attempt=2, state="waiting", keeps_persona=True)
    assert isinstance(state, State)
    assert state.state == "waiting"
    assert isinstance(progress, Progress)
    assert progress.percent == 33.0
    told.handle(DREW, PICTURE)
    end = told.finish()
    assert end.outcome == "done"
    assert end.receipt.steps_done == 0, "of the attempt that counts"


# --- what changes nothing


def test_a_second_cancel_changes_nothing() -> None:
    told = Told("writing")
    told.cancel("first")
    assert told.cancel("second") == []
    assert told.lifecycle.cancel_reason == "first"


def test_there_is_no_retry_after_a_cancel() -> None:
    told = Told("drawing")
    told.cancel()
    assert told.retry() == []
    assert told.lifecycle.attempt == 1


def test_after_the_end_there_is_silence() -> None:
    told = Told("drawing")
    told.finish()
    assert told.handle(PICTURE, mail.StepFinished(step=1, steps=4), mail.WorkerLeft(fate="exited")) == []
    assert told.cancel() == []
    assert told.retry() == []
    assert told.lifecycle.finish(None, told.tick()) == []


def test_while_cancelling_only_the_receipt_goes_on() -> None:
    told = Told("drawing")
    told.cancel()
    said = told.handle(
        mail.StepFinished(step=2, steps=4),
        mail.PreviewTaken(step=2, mime="image/webp", width=8, height=8, data=b"x"),
        mail.WorkerLeft(fate="stuck"),
        mail.LlmLeft(fate="closed"),
    )
    assert said == []
    receipt = told.finish().receipt
    assert (receipt.steps_done, receipt.worker, receipt.llm) == (2, "stuck", "closed")


def test_mail_out_of_turn_says_nothing() -> None:
    told = Told("writing")
    assert told.handle(DREW, mail.StepFinished(step=1, steps=4), PICTURE) == []
    told.handle(WRITTEN)
    assert told.handle(mail.TextGrew(path="/name", delta="x"), mail.PersonaRejected(reason="no"), WRITTEN) == []
    assert told.finish(ImageFailed("enough")).outcome == "failed"


# --- any sequence at all

SHARES = st.floats(min_value=-0.5, max_value=1.5, allow_nan=False)
BASES = st.sampled_from(["measured", "estimated", "indeterminate"])
PATHS = [path for path, _ in persona_strings(PERSONA)]
STAGES = st.sampled_from(["downloading", "loading", "encoding", "steps", "decoding", "saving"])


class AnyHatch(RuleBasedStateMachine):
    """Mail in any order, people at any time; whatever is said keeps the promises, and the view agrees with it."""

    @initialize(redraw=st.booleans())
    def begin(self, redraw: bool) -> None:
        self.now = 0.0
        persona = PERSONA if redraw else None
        self.lifecycle = Lifecycle("s1", engines=ENGINES, steps=4, persona=persona, now=0.0)
        self.view = SessionView(record_of(persona=persona))
        self.promises = Promises()
        self.attempts = 1
        self.texts: dict[str, str] = {}
        self.take(self.lifecycle.begin())

    def take(self, entries: list[Entry]) -> None:
        assert not entries or not self.promises.ended
        for entry in entries:
            if isinstance(entry, State):
                assert entry.state not in ("done", "failed", "cancelled"), "terminal states are announced by end alone"
            self.promises.check(entry)
            self.view.apply(entry)

    def mail(self, letter: mail.AnyMail) -> None:
        self.take(self.lifecycle.handle(letter, self.now))

    @rule(seconds=st.floats(min_value=0, max_value=100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(position=st.integers(1, 9))
    def llm_queued(self, position: int) -> None:
        self.mail(mail.LlmQueued(position=position))

    @rule()
    def writing_began(self) -> None:
        self.mail(mail.WritingBegan())

    @rule(fraction=SHARES)
    def prompt_advanced(self, fraction: float) -> None:
        self.mail(mail.PromptAdvanced(fraction=fraction))

    @rule(path=st.sampled_from(PATHS), delta=st.text(min_size=1, max_size=4))
    def text_grew(self, path: str, delta: str) -> None:
        self.mail(mail.TextGrew(path=path, delta=delta))

    @rule(fraction=SHARES, basis=BASES)
    def writing_advanced(self, fraction: float, basis: Any) -> None:
        self.mail(mail.WritingAdvanced(fraction=fraction, basis=basis))

    @rule()
    def persona_rejected(self) -> None:
        self.mail(mail.PersonaRejected(reason="no"))

    @rule()
    def persona_written(self) -> None:
        self.mail(WRITTEN)

    @rule(position=st.integers(1, 9))
    def render_queued(self, position: int) -> None:
        self.mail(mail.RenderQueued(position=position))

    @rule(steps=st.integers(0, 9))
    def drawing_began(self, steps: int) -> None:
        self.mail(mail.DrawingBegan(steps=steps))

    @rule(stage=STAGES, basis=BASES, fraction=st.none() | SHARES)
    def render_staged(self, stage: Any, basis: Any, fraction: float | None) -> None:
        self.mail(mail.RenderStaged(stage=stage, basis=basis, message="on it", fraction=fraction))

    @rule(step=st.integers(0, 9), steps=st.integers(0, 9))
    def step_finished(self, step: int, steps: int) -> None:
        self.mail(mail.StepFinished(step=step, steps=steps))

    @rule()
    def preview_taken(self) -> None:
        self.mail(mail.PreviewTaken(step=1, mime="image/webp", width=1, height=1, data=b"x"))

    @rule()
    def picture_stored(self) -> None:
        self.mail(PICTURE)

    @rule(fate=st.sampled_from(["exited", "idle", "stuck"]))
    def worker_left(self, fate: Any) -> None:
        self.mail(mail.WorkerLeft(fate=fate))

    @rule()
    def llm_left(self) -> None:
        self.mail(mail.LlmLeft(fate="closed"))

    @rule()
    def cancel(self) -> None:
        self.take(self.lifecycle.cancel("enough", self.now))

    @rule()
    def retry(self) -> None:
        self.take(self.lifecycle.retry("again", self.now))

    @rule(error=st.sampled_from([None, LlmUnavailable("away"), ImageFailed("broken")]))
    def finish(self, error: LlmUnavailable | ImageFailed | None) -> None:
        ended = self.promises.ended
        self.take(self.lifecycle.finish(error, self.now))
        assert self.promises.ended
        assert self.lifecycle.ended
        if not ended:
            self.check_receipt()

    def check_receipt(self) -> None:
        assert self.view.end is not None
        receipt = self.view.end.receipt
        spent = receipt.queued_ms + receipt.writing_ms + receipt.waiting_ms + receipt.drawing_ms
        assert spent + (receipt.cancel_latency_ms or 0) == pytest.approx(receipt.total_ms, abs=5)
        assert (self.view.end.outcome == "failed") == (self.view.end.error is not None)

    @precondition(lambda self: hasattr(self, "view"))
    @invariant()
    def the_view_agrees(self) -> None:
        assert self.view.state == self.lifecycle.state
        assert self.view.epoch == self.lifecycle.epoch
        assert self.view.attempt == self.lifecycle.attempt
        if self.lifecycle.persona is not None and self.view.seq:
            assert self.view.persona == msgspec.to_builtins(self.lifecycle.persona)
        assert (self.view.end is not None) == self.lifecycle.ended


TestAnyHatch = AnyHatch.TestCase
TestAnyHatch.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
