"""What the gateway says to a client: one tagged union, discriminated by `type`, and how each kind is delivered."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from protocol.commands import Id, StateName
from protocol.maker import Maker
from protocol.persona import Persona

Outcome = Literal["done", "failed", "cancelled"]
Stage = Literal["queued", "persona", "waiting", "downloading", "loading", "encoding", "steps", "decoding", "saving"]
Basis = Literal["measured", "estimated", "indeterminate"]
WorkerFate = Literal["none", "exited", "idle", "stuck"]
LlmFate = Literal["none", "closed"]

RequestId = Annotated[Id, Meta(description="The `id` of the request that this answers.")]
SessionId = Annotated[str, Meta(description="The session's id.")]
Seq = Annotated[int, Meta(description="Rises by one with each reliable message of a session, and never resets.")]
Epoch = Annotated[int, Meta(description="Rises whenever something shown is taken back.")]
Offset = Annotated[int, Meta(description="Unicode code points of all text before it in this epoch.")]
Prompt = Annotated[str, Meta(description="What was asked for.")]
Percent = Annotated[float, Meta(description="Of the whole hatch: 0-33 the persona, 33-100 the avatar.")]
Pixels = Annotated[int, Meta(description="In pixels.")]
Mime = Annotated[str, Meta(description="The picture's media type.")]
AgentId = Annotated[str, Meta(description="The finished agent's id in the gallery.")]
Code = Annotated[str, Meta(description="A stable code: see the list of errors.")]
Words = Annotated[str, Meta(description="Words for people.")]
Retryable = Annotated[bool, Meta(description="Whether the same may work later.")]
CurrentState = Annotated[StateName, Meta(description="The session's state.")]
Reason = Annotated[str, Meta(description="Why the latest `state` came about, in words.")]


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag=_snake):
    """The base of all messages from the server; a field that is null is left out."""


# --- answers: exactly one per request


class Engines(msgspec.Struct, frozen=True, kw_only=True):
    """The names of the engines that are at work."""

    llm: Annotated[str, Meta(description="Writes personas.")]
    image: Annotated[str, Meta(description="Draws avatars.")]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may ask for: bytes per message, code points per prompt, pixels, steps."""

    message_bytes: Annotated[int, Meta(description="Bytes of a message.")]
    prompt_chars: Annotated[int, Meta(description="Code points of a prompt.")]
    pixels: Annotated[int, Meta(description="Pixels of a picture.")]
    steps: Annotated[int, Meta(description="Steps of a picture.")]


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What a hatch may name for its picture, besides what draws where it names nothing."""

    models: Annotated[list[str], Meta(description="For `hatch.image.model`.")]
    loras: Annotated[list[str], Meta(description="For `hatch.image.lora`.")]


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one cursor of `hello.resume`."""

    session: SessionId
    result: Annotated[
        Literal["current", "snapshot", "gone"],
        Meta(description="Nothing missed; a snapshot comes; or not there any more."),
    ]


class Welcome(Event, frozen=True, kw_only=True):
    """The answer to `hello`."""

    id: RequestId
    connection: Annotated[str, Meta(description="This connection's id, as in the gateway's log.")]
    server: Annotated[str, Meta(description="The gateway's name and version.")]
    version: Annotated[int, Meta(description="Of the protocol.")]
    engines: Annotated[Engines, Meta(description="What is at work.")]
    heartbeat_ms: Annotated[int, Meta(description="Milliseconds between the gateway's pings.")]
    limits: Annotated[Limits, Meta(description="What a client may ask for.")]
    resumed: Annotated[list[Resumed], Meta(description="One for each cursor of `hello.resume`.")]
    choices: Annotated[Choices | None, Meta(description="Models and LoRAs, if there are any to choose from.")] = None


class Accepted(Event, frozen=True, kw_only=True, omit_defaults=False):
    """The answer to `start`."""

    id: RequestId
    session: SessionId
    epoch: Epoch
    existing: Annotated[bool, Meta(description="Whether the key had started it before.")]
    state: CurrentState


class Ok(Event, frozen=True, kw_only=True):
    """The answer to `cancel` and `unwatch`, and to a `watch` whose cursor is current."""

    id: RequestId
    session: SessionId | None = None
    epoch: Epoch | None = None
    seq: Seq | None = None
    offset: Offset | None = None
    state: CurrentState | None = None


class SessionItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One session in a listing."""

    session: SessionId
    state: CurrentState
    percent: Percent
    created_at_ms: Annotated[int, Meta(description="Milliseconds since 1970.")]
    prompt: Prompt
    agent: AgentId | None = None


class Sessions(Event, frozen=True, kw_only=True):
    """The answer to `list`; `before` is the cursor of the next page, absent on the last."""

    id: RequestId
    items: Annotated[list[SessionItem], Meta(description="Newest first.")]
    before: Annotated[str, Meta(description="The cursor of the next page; absent on the last.")] | None = None


class Error(Event, frozen=True, kw_only=True, omit_defaults=False):
    """A request that failed, or, without `id`, a frame that could not be read."""

    code: Code
    message: Words
    retryable: Retryable
    id: RequestId | msgspec.UnsetType = msgspec.UNSET
    session: SessionId | msgspec.UnsetType = msgspec.UNSET
    retry_after_ms: Annotated[int, Meta(description="Milliseconds after which it may work.")] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    field: Annotated[str, Meta(description="The path of the field at fault.")] | msgspec.UnsetType = msgspec.UNSET


class Pong(Event, frozen=True, kw_only=True):
    """The answer to `ping`."""

    id: RequestId


# --- events of one session


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a hatch failed: a stable code, words for people, and whether trying again may help."""

    code: Code
    message: Words
    retryable: Retryable


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done, how long it took, and the promise that nothing of it still runs."""

    queued_ms: Annotated[int, Meta(description="Waited for a writer.")]
    writing_ms: Annotated[int, Meta(description="Wrote the persona.")]
    waiting_ms: Annotated[int, Meta(description="Waited for a painter.")]
    drawing_ms: Annotated[int, Meta(description="Drew the avatar.")]
    total_ms: Annotated[int, Meta(description="All in all.")]
    steps_done: Annotated[int, Meta(description="Steps that were drawn.")]
    steps: Annotated[int, Meta(description="Steps that were to be drawn.")]
    worker: Annotated[
        WorkerFate,
        Meta(
            description="Nothing was started; its process is reaped; it waits, the job dropped; or it cannot be ended."
        ),
    ]
    llm: Annotated[LlmFate, Meta(description="Nothing was asked; or its connection is closed.")]
    engines: Annotated[Engines, Meta(description="What was at work.")]
    cancel_latency_ms: Annotated[int, Meta(description="From the cancel to the end.")] | None = None
    exit_code: Annotated[int, Meta(description="Of the image process.")] | None = None


class State(Event, frozen=True, kw_only=True):
    """The session entered a state; terminal states are announced by `end` alone."""

    session: SessionId
    seq: Seq
    state: CurrentState
    reason: Reason | None = None


class PersonaReady(Event, frozen=True, kw_only=True, tag="persona"):
    """The complete, validated persona; it supersedes all text of its epoch. `writer` is missing if it was given."""

    session: SessionId
    seq: Seq
    persona: Annotated[Persona, Meta(description="All of it.")]
    writer: Annotated[Maker | None, Meta(description="Who wrote it.")] = None


class Artifact(Event, frozen=True, kw_only=True):
    """A finished file; `url` answers already when this is said. Sides are pixels.

    `seed` and `steps` are what its `painter` was asked for.
    """

    session: SessionId
    seq: Seq
    kind: Annotated[Literal["avatar", "card"], Meta(description="What it is.")]
    url: Annotated[
        str, Meta(description="A signed path that works for a while, without headers; each snapshot renews it.")
    ]
    sha256: Annotated[str, Meta(description="Of the file, in hex.")]
    bytes: Annotated[int, Meta(description="The file's length.")]
    mime: Mime
    width: Pixels
    height: Pixels
    painter: Annotated[Maker | None, Meta(description="Who drew it.")] = None
    seed: Annotated[int, Meta(description="The seed asked for.")] | None = None
    steps: Annotated[int, Meta(description="The steps asked for.")] | None = None


class End(Event, frozen=True, kw_only=True):
    """The last word on a session, said exactly once."""

    session: SessionId
    seq: Seq
    outcome: Annotated[Outcome, Meta(description="How it ended.")]
    receipt: Annotated[Receipt, Meta(description="What was done, and that nothing of it still runs.")]
    error: Annotated[Failure | None, Meta(description="Why it failed.")] = None
    agent: AgentId | None = None


class Text(Event, frozen=True, kw_only=True, omit_defaults=False):
    """`delta` extends the string at `path` (JSON Pointer); `offset` counts code points before it in this epoch."""

    session: SessionId
    offset: Offset
    path: Annotated[str, Meta(description="A JSON Pointer into the persona, such as `/traits/0`.")]
    delta: Annotated[str, Meta(description="What is added.")]


class Thinking(Event, frozen=True, kw_only=True):
    """Reasoning of the LLM, never part of the persona."""

    session: SessionId
    delta: Annotated[str, Meta(description="What is added.")]


class Progress(Event, frozen=True, kw_only=True):
    """How far the whole hatch is, and how that is known.

    `eta_s` is [p50, p90] seconds to its picture, from any stage; it is left out while a part of them is unknown.
    """

    session: SessionId
    percent: Percent
    stage: Annotated[Stage, Meta(description="What is being done.")]
    basis: Annotated[Basis, Meta(description="The engine said so; interpolated from history; or nobody knows.")]
    message: Words
    step: Annotated[int, Meta(description="The last step that is done.")] | None = None
    steps: Annotated[int, Meta(description="All steps.")] | None = None
    step_s: Annotated[float, Meta(description="Seconds that a step takes.")] | None = None
    eta_s: Annotated[tuple[float, float] | None, Meta(description="Seconds to the end: p50, p90.")] = None
    queue_position: Annotated[int, Meta(description="1 is next.")] | None = None


class Preview(Event, frozen=True, kw_only=True):
    """An unfinished picture; `data` is bin in MessagePack and base64 in JSON."""

    session: SessionId
    step: Annotated[int, Meta(description="The step that it was taken after.")]
    mime: Mime
    width: Pixels
    height: Pixels
    data: Annotated[bytes, Meta(description="bin in MessagePack, base64 in JSON.")]


class Snapshot(Event, frozen=True, kw_only=True, omit_defaults=False):
    """A whole session: stands for all reliable messages up to `seq` and all text up to `offset`."""

    session: SessionId
    epoch: Epoch
    seq: Seq
    offset: Offset
    state: CurrentState
    attempt: Annotated[int, Meta(description="1, and one more for each retry.")]
    prompt: Prompt
    persona: Annotated[dict[str, Any], Meta(description="As far as it is written.")]
    artifacts: Annotated[list[Artifact], Meta(description="All that are finished.")]
    writer: Annotated[Maker, Meta(description="Who wrote the persona.")] | msgspec.UnsetType = msgspec.UNSET
    id: RequestId | msgspec.UnsetType = msgspec.UNSET
    progress: Annotated[Progress, Meta(description="The latest.")] | msgspec.UnsetType = msgspec.UNSET
    preview: Annotated[Preview, Meta(description="The latest.")] | msgspec.UnsetType = msgspec.UNSET
    end: Annotated[End, Meta(description="How it ended, if it has.")] | msgspec.UnsetType = msgspec.UNSET
    reason: Reason | msgspec.UnsetType = msgspec.UNSET


class GoingAway(Event, frozen=True, kw_only=True):
    """The gateway stops within `deadline_ms`; reconnect after a time drawn from the range."""

    deadline_ms: Annotated[int, Meta(description="Milliseconds until the connection is closed.")]
    reconnect_after_ms: Annotated[tuple[int, int], Meta(description="The range, in milliseconds.")]


Reliable = State | PersonaReady | Artifact | End
SessionEvent = Reliable | Text | Thinking | Progress | Preview
Answer = Welcome | Accepted | Ok | Sessions | Error | Pong
ServerMessage = Answer | Snapshot | SessionEvent | GoingAway
