"""What actors say to each other and to their session: one union; `PersonaWritten` is also the mflux actor's job."""

import msgspec

from protocol.events import Basis, LlmFate, Stage, WorkerFate
from protocol.maker import Maker
from protocol.persona import Persona


class Mail(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The base of all mail."""


class OfLlm(Mail, frozen=True, kw_only=True):
    """The base of all mail from the LLM actor: one look tells it from a painter's, which comes at each step."""


class LlmQueued(OfLlm, frozen=True, kw_only=True):
    """The LLM actor waits for a slot; `position` counts from 1."""

    position: int


class WritingBegan(OfLlm, frozen=True, kw_only=True):
    """The LLM actor holds a slot and has asked its engine."""


class EngineAwaited(OfLlm, frozen=True, kw_only=True):
    """The engine that writes is not ready, for this reason; WritingBegan follows once it is."""

    reason: str


class PromptAdvanced(OfLlm, frozen=True, kw_only=True):
    """The share of the prompt that the engine says it has read, 0 to 1; nothing of the persona is written yet."""

    fraction: float


class TextGrew(OfLlm, frozen=True, kw_only=True):
    """The string at `path` (JSON Pointer into the persona) grew by `delta`."""

    path: str
    delta: str


class ThoughtGrew(OfLlm, frozen=True, kw_only=True):
    """The model reasons aloud, outside the persona."""

    delta: str


class WritingAdvanced(OfLlm, frozen=True, kw_only=True):
    """The share of the persona that is written, 0 to 1; `eta_s` is [p50, p90] seconds."""

    fraction: float
    basis: Basis
    eta_s: tuple[float, float] | None = None


class PersonaWritten(OfLlm, frozen=True, kw_only=True):
    """The persona is complete and valid: the last word of the LLM actor, and the mflux actor's job."""

    persona: Persona
    writer: Maker | None = None


class PersonaRejected(OfLlm, frozen=True, kw_only=True):
    """What was written is taken back: the model is asked to repair it, or was still thinking and goes on."""

    reason: str


class LlmLeft(OfLlm, frozen=True, kw_only=True):
    """The LLM connection is closed (or there was none): said before the LLM actor ends, however it ends."""

    fate: LlmFate


class RenderQueued(Mail, frozen=True, kw_only=True):
    """The mflux actor waits for a slot; `position` counts from 1, `eta_s` is [p50, p90] seconds to the picture."""

    position: int
    eta_s: tuple[float, float] | None = None


class DrawingBegan(Mail, frozen=True, kw_only=True):
    """The mflux actor holds a slot and starts its engine, which was asked for `steps`."""

    steps: int


class RenderStaged(Mail, frozen=True, kw_only=True):
    """The engine entered or advanced in a stage; `fraction` (0 to 1) of that stage if known.

    Of the steps only what is estimated between two that are finished. `eta_s` is [p50, p90] seconds to the picture.
    """

    stage: Stage
    basis: Basis
    message: str
    fraction: float | None = None
    eta_s: tuple[float, float] | None = None


class StepFinished(Mail, frozen=True, kw_only=True):
    """The engine said that `step` of `steps` is done; `step_s` is the latest duration of one step in seconds.

    `eta_s` is [p50, p90] seconds to the picture.
    """

    step: int
    steps: int
    step_s: float | None = None
    eta_s: tuple[float, float] | None = None


class PreviewTaken(Mail, frozen=True, kw_only=True):
    """An unfinished picture, encoded as `mime`."""

    step: int
    mime: str
    width: int
    height: int
    data: bytes


class PictureStored(Mail, frozen=True, kw_only=True):
    """The finished picture decodes, has the right size and lies in the artifact store under its SHA-256.

    `painter` was asked for it with this seed and so many steps.
    """

    sha256: str
    bytes: int
    mime: str
    width: int
    height: int
    painter: Maker | None = None
    seed: int | None = None
    steps: int | None = None


class WorkerLeft(Mail, frozen=True, kw_only=True):
    """What became of the image engine's process: said before its slot is free."""

    fate: WorkerFate
    exit_code: int | None = None


LlmMail = (
    LlmQueued
    | WritingBegan
    | EngineAwaited
    | PromptAdvanced
    | TextGrew
    | ThoughtGrew
    | WritingAdvanced
    | PersonaWritten
    | PersonaRejected
    | LlmLeft
)
RenderMail = RenderQueued | DrawingBegan | RenderStaged | StepFinished | PreviewTaken | PictureStored | WorkerLeft
AnyMail = LlmMail | RenderMail
