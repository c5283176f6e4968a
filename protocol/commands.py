"""What a client may say to the gateway: one tagged union, discriminated by `type`."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocol.persona import Persona

Id = str | int
Seq = Annotated[int, Meta(ge=0, lt=2**53)]
RequestId = Annotated[str, Meta(max_length=200)] | Annotated[int, Meta(gt=-(2**53), lt=2**53)]
SessionId = Annotated[str, Meta(min_length=1, max_length=64)]
Key = Annotated[str, Meta(min_length=1, max_length=200)]
StateName = Literal["queued", "writing", "waiting", "drawing", "cancelling", "done", "failed", "cancelled"]


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=lambda name: name.lower()):
    """The base of all commands; `id` is echoed in exactly one answer."""

    id: RequestId


class Lora(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the LoRAs that the gateway offers, by its name there; None: at the scale that the gateway gives it."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    scale: Annotated[float, Meta(ge=-10, le=10)] | None = None


class ImageOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a hatch asks of its picture; None leaves the choice to the engine. Sides are pixels.

    Models and LoRAs go by the names that the gateway gives them; `input` is an upload's id.
    """

    model: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    steps: Annotated[int, Meta(ge=1, le=200)] | None = None
    width: Annotated[int, Meta(ge=16, le=4096)] | None = None
    height: Annotated[int, Meta(ge=16, le=4096)] | None = None
    seed: Annotated[int, Meta(ge=0, lt=2**32)] | None = None
    guidance: Annotated[float, Meta(ge=0, le=100)] | None = None
    lora: Annotated[list[Annotated[str, Meta(min_length=1, max_length=200)] | Lora], Meta(max_length=8)] | None = None
    negative_prompt: Annotated[str, Meta(max_length=4000)] | None = None
    input: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class HatchRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be hatched; a given `persona` skips the writing (redraw). Its limits are the gateway's settings."""

    prompt: str
    persona: Persona | None = None
    image: ImageOptions = ImageOptions()


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """How far a client has come in one session: last `seq` seen, and text offset within `epoch`."""

    epoch: Seq
    seq: Seq
    offset: Seq


class ResumeCursor(Cursor, frozen=True, kw_only=True):
    """A cursor with the session it belongs to."""

    session: SessionId


class WatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How much a watcher wants: at most `max_hz` progress events a second, previews or none."""

    max_hz: Annotated[float, Meta(gt=0, le=1000)] | None = None
    previews: bool = False


class Hello(Command, frozen=True, kw_only=True):
    """Opens the dialogue; answered by `welcome`."""

    token: str | None = None
    watch_token: str | None = None
    client: Annotated[str, Meta(max_length=200)] | None = None
    follow: Literal["mine"] | None = None
    resume: Annotated[list[ResumeCursor], Meta(max_length=10_000)] = []


class Start(Command, frozen=True, kw_only=True):
    """Starts a hatch, or finds the one started with the same key; answered by `accepted`."""

    hatch: HatchRequest
    key: Key | None = None
    watch: bool | WatchOptions = True
    on_disconnect: Literal["keep", "cancel"] = "keep"
    grace_s: Annotated[float, Meta(ge=0, le=86_400)] = 30.0


class Cancel(Command, frozen=True, kw_only=True):
    """Cancels by session or by key; never fails because it came late, early or twice; answered by `ok`."""

    session: SessionId | None = None
    key: Key | None = None
    reason: Annotated[str, Meta(max_length=200)] | None = None


class Watch(Command, frozen=True, kw_only=True):
    """Attaches to a session; answered by its `snapshot`, or `ok` when `from_` is current."""

    session: SessionId
    from_: Cursor | None = msgspec.field(name="from", default=None)
    max_hz: Annotated[float, Meta(gt=0, le=1000)] | None = None
    previews: bool = False


class Unwatch(Command, frozen=True, kw_only=True):
    """Detaches from a session; answered by `ok`."""

    session: SessionId


class List(Command, frozen=True, kw_only=True):
    """Lists the caller's sessions, newest first; answered by `sessions`."""

    states: list[StateName] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    before: Annotated[str, Meta(max_length=200)] | None = None


class Ping(Command, frozen=True, kw_only=True):
    """A sign of life for clients that cannot send protocol pings; answered by `pong`."""


AnyCommand = Hello | Start | Cancel | Watch | Unwatch | List | Ping
