"""The bodies of answers over HTTP that no message of the protocol has already; a field that is null is left out."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocol.events import CurrentState, Engines, Epoch, Pixels, Seq, SessionId, SessionItem

NextPage = Annotated[str, Meta(description="The cursor of the next page; absent on the last.")]


class HatchStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A hatch that was started, or found by its key."""

    session: SessionId
    epoch: Epoch
    existing: Annotated[bool, Meta(description="Whether the key had started it before.")]
    state: CurrentState


class SessionPage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page of sessions."""

    items: Annotated[list[SessionItem], Meta(description="Newest first.")]
    before: NextPage | None = None


class HatchCancelled(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was asked to stop, as it then is."""

    session: SessionId
    epoch: Epoch
    seq: Seq
    state: CurrentState


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A link that shows one session to whoever has it."""

    watch_token: Annotated[str, Meta(description="For `hello.watch_token`.")]
    expires_at_ms: Annotated[int, Meta(description="Milliseconds since 1970.")]
    url: Annotated[str, Meta(description="A path of the gateway's page.")]


class LoggedIn(msgspec.Struct, frozen=True, kw_only=True):
    """Who was recognised."""

    user: Annotated[str, Meta(description="The user's name.")]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway is alive."""

    status: Annotated[Literal["ok"], Meta(description="Nothing else is ever said.")]


class Readiness(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether new hatches are taken."""

    status: Annotated[
        Literal["ok", "draining", "cannot write", "no writer"], Meta(description="Anything but `ok` is a refusal.")
    ]
    engines: Annotated[Engines, Meta(description="What is at work.")]
    running: Annotated[int, Meta(description="Hatches that run or wait.")]
    reason: Annotated[str, Meta(description="Why there is no writer.")] | None = None


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """An input picture that was taken; sides are pixels."""

    id: Annotated[str, Meta(description="For `image.input` of a hatch.")]
    width: Pixels
    height: Pixels
    sha256: Annotated[str, Meta(description="Of the picture as it is kept, in hex.")]
