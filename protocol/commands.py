"""What a client may say to the gateway: one tagged union, discriminated by `type`."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocol.persona import Persona

Id = str | int
Count = Annotated[int, Meta(ge=0, lt=2**53)]
RequestId = Annotated[
    Annotated[str, Meta(max_length=200)] | Annotated[int, Meta(gt=-(2**53), lt=2**53)],
    Meta(description="Of the client's choosing; echoed in exactly one answer."),
]
SessionId = Annotated[str, Meta(min_length=1, max_length=64, description="The session's id.")]
Key = Annotated[
    str, Meta(min_length=1, max_length=200, description="Makes a start safe to repeat: the same key, the same session.")
]
MaxHz = Annotated[float, Meta(gt=0, le=1000, description="The most progress events a second.")]
Previews = Annotated[bool, Meta(description="Whether unfinished pictures are shown.")]
Side = Annotated[int, Meta(ge=16, le=4096, description="In pixels.")]
StateName = Literal["queued", "writing", "waiting", "drawing", "cancelling", "done", "failed", "cancelled"]


class Command(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag=lambda name: name.lower()
):
    """The base of all commands; `id` is echoed in exactly one answer."""

    id: RequestId


class Lora(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the LoRAs that the gateway offers, by its name there; without a scale, at the gateway's own."""

    name: Annotated[str, Meta(min_length=1, max_length=200, description="Its name here.")]
    scale: Annotated[float, Meta(ge=-10, le=10, description="How much of it.")] | None = None


class ImageOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a hatch asks of its picture; what is left out is the engine's choice. Sides are pixels.

    Models and LoRAs go by the names that the gateway gives them; `input` is an upload's id.
    """

    model: Annotated[str, Meta(min_length=1, max_length=200, description="The model to draw with.")] | None = None
    steps: Annotated[int, Meta(ge=1, le=200, description="Steps of the picture.")] | None = None
    width: Side | None = None
    height: Side | None = None
    seed: Annotated[int, Meta(ge=0, lt=2**32, description="The same seed gives the same picture.")] | None = None
    guidance: Annotated[float, Meta(ge=0, le=100, description="How closely the prompt is followed.")] | None = None
    lora: (
        Annotated[
            list[Annotated[str, Meta(min_length=1, max_length=200)] | Lora],
            Meta(max_length=8, description="LoRAs to draw with; a name alone takes the gateway's own scale."),
        ]
        | None
    ) = None
    negative_prompt: Annotated[str, Meta(max_length=4000, description="What the picture must not show.")] | None = None
    input: Annotated[str, Meta(min_length=1, max_length=64, description="An upload's id.")] | None = None


class HatchRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be hatched; a given `persona` skips the writing (redraw). Its limits are the gateway's settings."""

    prompt: Annotated[str, Meta(description="One sentence about the agent.")]
    persona: Annotated[Persona | None, Meta(description="A finished persona, to draw it anew.")] = None
    image: Annotated[ImageOptions, Meta(description="What is asked of its picture.")] = ImageOptions()


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """How far a client has come in one session: last `seq` seen, and text offset within `epoch`."""

    epoch: Annotated[Count, Meta(description="Of the latest snapshot.")]
    seq: Annotated[Count, Meta(description="The last one seen.")]
    offset: Annotated[Count, Meta(description="Code points of text seen in this epoch.")]


class ResumeCursor(Cursor, frozen=True, kw_only=True):
    """A cursor with the session it belongs to."""

    session: SessionId


class WatchOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much a watcher wants: at most `max_hz` progress events a second, previews or none."""

    max_hz: MaxHz | None = None
    previews: Previews = False


class Hello(Command, frozen=True, kw_only=True):
    """Opens the dialogue; answered by `welcome`."""

    token: Annotated[str, Meta(description="A bearer token, if the handshake carried none.")] | None = None
    watch_token: Annotated[str, Meta(description="A link's token: shows one session.")] | None = None
    client: Annotated[str, Meta(max_length=200, description="The client's name and version.")] | None = None
    follow: Annotated[
        Literal["mine"] | None, Meta(description="Announces and watches what the same user starts elsewhere.")
    ] = None
    resume: Annotated[list[ResumeCursor], Meta(max_length=10_000, description="Sessions to go on with.")] = []


class Start(Command, frozen=True, kw_only=True):
    """Starts a hatch, or finds the one started with the same key; answered by `accepted`."""

    hatch: Annotated[HatchRequest, Meta(description="What is to be hatched.")]
    key: Key | None = None
    watch: Annotated[bool | WatchOptions, Meta(description="Whether the session is watched, and how.")] = True
    on_disconnect: Annotated[
        Literal["keep", "cancel"], Meta(description="What becomes of the hatch when its last watcher is gone.")
    ] = "keep"
    grace_s: Annotated[float, Meta(ge=0, le=86_400, description="Seconds until it does.")] = 30.0


class Cancel(Command, frozen=True, kw_only=True):
    """Cancels by session or by key; never fails because it came late, early or twice; answered by `ok`."""

    session: SessionId | None = None
    key: Key | None = None
    reason: Annotated[str, Meta(max_length=200, description="Why, in words; watchers see it.")] | None = None


class Watch(Command, frozen=True, kw_only=True):
    """Attaches to a session; answered by its `snapshot`, or `ok` when `from` is current."""

    session: SessionId
    from_: Annotated[Cursor | None, Meta(description="Where the client is.")] = msgspec.field(name="from", default=None)
    max_hz: MaxHz | None = None
    previews: Previews = False


class Unwatch(Command, frozen=True, kw_only=True):
    """Detaches from a session; answered by `ok`."""

    session: SessionId


class List(Command, frozen=True, kw_only=True):
    """Lists the caller's sessions, newest first; answered by `sessions`."""

    states: Annotated[list[StateName], Meta(description="Only sessions in these states.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000, description="The most items of a page.")] = 50
    before: Annotated[str, Meta(max_length=200, description="The cursor of the page before.")] | None = None


class Ping(Command, frozen=True, kw_only=True):
    """A sign of life for clients that cannot send protocol pings; answered by `pong`."""


AnyCommand = Hello | Start | Cancel | Watch | Unwatch | List | Ping
