"""What is said of one operation over HTTP: who may ask what, and what may be answered."""

from typing import Any, Final, Literal

import msgspec

from protocol.errors import HatcheryError

JSON: Final = "application/json"
Refusals = tuple[type[HatcheryError], ...]


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a request besides its body; `type` is its msgspec type."""

    name: str
    where: Literal["path", "query", "header"]
    what: str
    type: Any = str
    required: bool = False
    listed: bool = False  # comma-separated


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """A body: its media types, and its msgspec type if it is JSON, or bytes or text in `media`."""

    type: Any
    media: tuple[str, ...] = (JSON,)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is no refusal; `headers` are their names with what they say."""

    status: int
    what: str
    content: Content | None = None
    headers: dict[str, str] = {}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path; `entry` says who may ask: those with a token, with a signed URL, or everybody."""

    method: Literal["get", "post", "delete"]
    path: str
    name: str
    what: str
    replies: tuple[Reply, ...]
    parameters: tuple[Parameter, ...] = ()
    body: Content | None = None
    refusals: Refusals = ()
    entry: Literal["token", "token or signature", "signature", "everybody"] = "token"
