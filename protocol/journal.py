"""What is kept of a session: the record it begins with, and the entries that follow in one order."""

import msgspec

from protocol.commands import HatchRequest, StateName
from protocol.events import Reliable, SessionEvent


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a session began; `created_at_ms` is wall-clock time since 1970."""

    session: str
    owner: str
    hatch: HatchRequest
    created_at_ms: int


class EpochBegun(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something shown was taken back: text starts over at offset 0; a complete persona is kept or dropped."""

    session: str
    epoch: int
    attempt: int
    state: StateName
    keeps_persona: bool


Entry = EpochBegun | SessionEvent
Kept = EpochBegun | Reliable
