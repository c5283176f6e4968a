"""What is kept of a session: the record it begins with, and the entries that follow in one order."""

import msgspec

from protocol.commands import HatchRequest, StateName
from protocol.events import Artifact, Reliable, SessionEvent, State
from protocol.persona import Persona


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a session began; `created_at_ms` is wall-clock time since 1970.

    `grace_s` is for how long it goes on when nobody watches it, or None: as long as it takes.
    """

    session: str
    owner: str
    hatch: HatchRequest
    created_at_ms: int
    grace_s: float | None = None


def doomed(session: str, reason: str) -> State:
    """The first word of a session whose cancel came before its start; it is kept together with the session's record."""
    return State(session=session, seq=1, state="cancelling", reason=reason)


class EpochBegun(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something shown was taken back: text starts over at offset 0; a complete persona is kept or dropped."""

    session: str
    epoch: int
    attempt: int
    state: StateName
    keeps_persona: bool


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """How far a session had come that an earlier process of the gateway has left without an end."""

    record: SessionRecord
    state: StateName
    epoch: int
    attempt: int
    seq: int
    persona: Persona | None
    artifacts: list[Artifact]

    @property
    def untold(self) -> bool:
        """Whether nothing reliable was said of it: then it can begin like any other."""
        return self.epoch == 1 and self.seq == 0


class Epitaph(msgspec.Struct, frozen=True, kw_only=True):
    """What stays known of a session that is no longer kept: whose it was, and where it ended."""

    session: str
    owner: str
    epoch: int
    seq: int
    offset: int
    state: StateName


Entry = EpochBegun | SessionEvent
Kept = EpochBegun | Reliable
