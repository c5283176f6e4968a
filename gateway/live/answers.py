"""What a client is answered, put together from what was found: states, refusals, and how a cursor stands."""

from typing import TypeVar

import msgspec

from protocol.commands import ResumeCursor
from protocol.errors import HatcheryError
from protocol.events import Error, Ok, Resumed
from protocol.journal import Epitaph
from protocol.view import SessionView

T = TypeVar("T")


def ok_of(id_: str | int, view: SessionView | Epitaph) -> Ok:
    """Done; and how the session now stands."""
    return Ok(id=id_, session=view.session, epoch=view.epoch, seq=view.seq, offset=view.offset, state=view.state)


def error_of(error: HatcheryError, id_: str | int | None, session: str | None = None) -> Error:
    """Refused, with the code and what to do."""
    return Error(
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        id=_or_unset(id_),
        session=_or_unset(session),
        field=_or_unset(error.field),
        retry_after_ms=_or_unset(error.retry_after_ms),
    )


def resumed_of(cursor: ResumeCursor, view: SessionView | None) -> Resumed:
    """Whether a client at this cursor needs a snapshot, or asks for what is no longer known."""
    if view is None:
        return Resumed(session=cursor.session, result="gone")
    return Resumed(session=cursor.session, result="current" if view.is_current(cursor) else "snapshot")


def _or_unset(value: T | None) -> T | msgspec.UnsetType:
    return msgspec.UNSET if value is None else value
