"""What the types of messages do not say: which answers which, how each is delivered, why connections close."""

from typing import Final, get_args

import msgspec

from protocol.commands import AnyCommand, Cancel, Command, Hello, List, Ping, Start, Unwatch, Watch
from protocol.envelope import Kind
from protocol.events import (
    Accepted,
    Answer,
    Event,
    GoingAway,
    Ok,
    Pong,
    Preview,
    Progress,
    Reliable,
    ServerMessage,
    Sessions,
    Snapshot,
    Text,
    Thinking,
    Welcome,
)

COMMANDS: Final[tuple[type[Command], ...]] = get_args(AnyCommand)
EVENTS: Final[tuple[type[Event], ...]] = get_args(ServerMessage)
MESSAGES: Final[tuple[type[Command | Event], ...]] = (*COMMANDS, *EVENTS)

ANSWERS: Final[dict[type[Command], tuple[type[Event], ...]]] = {  # `error` may answer anything
    Hello: (Welcome,),
    Start: (Accepted,),
    Cancel: (Ok,),
    Watch: (Snapshot, Ok),
    Unwatch: (Ok,),
    List: (Sessions,),
    Ping: (Pong,),
}

KINDS: Final[dict[type[Event], Kind]] = {
    **dict.fromkeys(get_args(Answer), Kind.ANSWER),
    **dict.fromkeys(get_args(Reliable), Kind.RELIABLE),
    Snapshot: Kind.RELIABLE,
    Text: Kind.TEXT,
    Thinking: Kind.THINKING,
    Progress: Kind.PROGRESS,
    Preview: Kind.PREVIEW,
    GoingAway: Kind.NOTICE,
}

PROMISES: Final = {
    Kind.ANSWER: "exactly one per request while the connection lives",
    Kind.NOTICE: "at most once",
    Kind.RELIABLE: "in order, without gaps, exactly once on one attachment",
    Kind.TEXT: "no character lost within an epoch; deltas may be merged",
    Kind.THINKING: "may be lost",
    Kind.PROGRESS: "the latest wins",
    Kind.PREVIEW: "the latest wins",
}


class CloseCode(msgspec.Struct, frozen=True, kw_only=True):
    """Why the gateway closes a connection, and whether the client should connect again, with backoff."""

    code: int
    meaning: str
    again: bool


CLOSE_CODES: Final = tuple(
    CloseCode(code=code, meaning=meaning, again=again)
    for again, codes in {
        True: {
            1001: "the gateway goes away",
            1009: "a message was too big",
            1012: "the gateway restarts",
            1013: "the gateway is overloaded",
            4000: "the client reads too slowly",
            4001: "no sign of life for two heartbeats",
            4003: "too many messages",
        },
        False: {
            4500: "too many messages that cannot be read",
            4501: "the token is missing, wrong or has expired",
            4502: "no `hello` in time",
            4503: "this version of the protocol is not spoken here",
            4504: "this is not allowed",
            4505: "too many connections",
        },
    }.items()
    for code, meaning in codes.items()
)


def name_of(message: type[Command | Event]) -> str:
    """The `type` of a message on the wire."""
    return str(message.__struct_config__.tag)


def meaning_of(documented: type) -> str:
    """The first line of a type's docstring."""
    return (documented.__doc__ or "").splitlines()[0]
