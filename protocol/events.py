"""What the gateway says to a client: one tagged union, discriminated by `type`, and how each kind is delivered."""

from typing import Any, Literal

import msgspec

from protocol.commands import Id, StateName
from protocol.maker import Maker
from protocol.persona import Persona

Outcome = Literal["done", "failed", "cancelled"]
Stage = Literal["queued", "persona", "waiting", "downloading", "loading", "encoding", "steps", "decoding", "saving"]
Basis = Literal["measured", "estimated", "indeterminate"]
WorkerFate = Literal["none", "exited", "idle", "stuck"]
LlmFate = Literal["none", "closed"]


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag=_snake):
    """The base of all messages from the server; a field that is null is left out."""


# --- answers: exactly one per request


class Engines(msgspec.Struct, frozen=True, kw_only=True):
    """The names of the engines that are at work."""

    llm: str
    image: str


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may ask for: bytes per message, code points per prompt, pixels, steps."""

    message_bytes: int
    prompt_chars: int
    pixels: int
    steps: int


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one cursor of `hello.resume`."""

    session: str
    result: Literal["current", "snapshot", "gone"]


class Welcome(Event, frozen=True, kw_only=True):
    """The answer to `hello`."""

    id: Id
    connection: str
    server: str
    version: int
    engines: Engines
    heartbeat_ms: int
    limits: Limits
    resumed: list[Resumed]


class Accepted(Event, frozen=True, kw_only=True, omit_defaults=False):
    """The answer to `start`."""

    id: Id
    session: str
    epoch: int
    existing: bool
    state: StateName


class Ok(Event, frozen=True, kw_only=True):
    """The answer to `cancel` and `unwatch`, and to a `watch` whose cursor is current."""

    id: Id
    session: str | None = None
    epoch: int | None = None
    seq: int | None = None
    offset: int | None = None
    state: StateName | None = None


class SessionItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One session in a listing."""

    session: str
    state: StateName
    percent: float
    created_at_ms: int
    prompt: str
    agent: str | None = None


class Sessions(Event, frozen=True, kw_only=True):
    """The answer to `list`; `before` is the cursor of the next page, absent on the last."""

    id: Id
    items: list[SessionItem]
    before: str | None = None


class Error(Event, frozen=True, kw_only=True, omit_defaults=False):
    """A request that failed, or, without `id`, a frame that could not be read."""

    code: str
    message: str
    retryable: bool
    id: Id | msgspec.UnsetType = msgspec.UNSET
    session: str | msgspec.UnsetType = msgspec.UNSET
    retry_after_ms: int | msgspec.UnsetType = msgspec.UNSET
    field: str | msgspec.UnsetType = msgspec.UNSET


class Pong(Event, frozen=True, kw_only=True):
    """The answer to `ping`."""

    id: Id


# --- events of one session


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a hatch failed: a stable code, words for people, and whether trying again may help."""

    code: str
    message: str
    retryable: bool


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done, how long it took, and the promise that nothing of it still runs."""

    queued_ms: int
    writing_ms: int
    waiting_ms: int
    drawing_ms: int
    total_ms: int
    steps_done: int
    steps: int
    worker: WorkerFate
    llm: LlmFate
    engines: Engines
    cancel_latency_ms: int | None = None
    exit_code: int | None = None


class State(Event, frozen=True, kw_only=True):
    """The session entered a state; terminal states are announced by `end` alone."""

    session: str
    seq: int
    state: StateName
    reason: str | None = None


class PersonaReady(Event, frozen=True, kw_only=True, tag="persona"):
    """The complete, validated persona; it supersedes all text of its epoch. `writer` is missing if it was given."""

    session: str
    seq: int
    persona: Persona
    writer: Maker | None = None


class Artifact(Event, frozen=True, kw_only=True):
    """A finished file; `url` answers already when this is said. Sides are pixels.

    `seed` and `steps` are what its `painter` was asked for.
    """

    session: str
    seq: int
    kind: Literal["avatar", "card"]
    url: str
    sha256: str
    bytes: int
    mime: str
    width: int
    height: int
    painter: Maker | None = None
    seed: int | None = None
    steps: int | None = None


class End(Event, frozen=True, kw_only=True):
    """The last word on a session, said exactly once."""

    session: str
    seq: int
    outcome: Outcome
    receipt: Receipt
    error: Failure | None = None
    agent: str | None = None


class Text(Event, frozen=True, kw_only=True, omit_defaults=False):
    """`delta` extends the string at `path` (JSON Pointer); `offset` counts code points before it in this epoch."""

    session: str
    offset: int
    path: str
    delta: str


class Thinking(Event, frozen=True, kw_only=True):
    """Reasoning of the LLM, never part of the persona."""

    session: str
    delta: str


class Progress(Event, frozen=True, kw_only=True):
    """How far the whole hatch is, and how that is known. `eta_s` is [p50, p90]."""

    session: str
    percent: float
    stage: Stage
    basis: Basis
    message: str
    step: int | None = None
    steps: int | None = None
    step_s: float | None = None
    eta_s: tuple[float, float] | None = None
    queue_position: int | None = None


class Preview(Event, frozen=True, kw_only=True):
    """An unfinished picture; `data` is bin in MessagePack and base64 in JSON."""

    session: str
    step: int
    mime: str
    width: int
    height: int
    data: bytes


class Snapshot(Event, frozen=True, kw_only=True, omit_defaults=False):
    """A whole session: stands for all reliable messages up to `seq` and all text up to `offset`."""

    session: str
    epoch: int
    seq: int
    offset: int
    state: StateName
    attempt: int
    prompt: str
    persona: dict[str, Any]
    artifacts: list[Artifact]
    writer: Maker | msgspec.UnsetType = msgspec.UNSET
    id: Id | msgspec.UnsetType = msgspec.UNSET
    progress: Progress | msgspec.UnsetType = msgspec.UNSET
    preview: Preview | msgspec.UnsetType = msgspec.UNSET
    end: End | msgspec.UnsetType = msgspec.UNSET


class GoingAway(Event, frozen=True, kw_only=True):
    """The gateway stops within `deadline_ms`; reconnect after a time drawn from the range."""

    deadline_ms: int
    reconnect_after_ms: tuple[int, int]


Reliable = State | PersonaReady | Artifact | End
SessionEvent = Reliable | Text | Thinking | Progress | Preview
Answer = Welcome | Accepted | Ok | Sessions | Error | Pong
ServerMessage = Answer | Snapshot | SessionEvent | GoingAway
