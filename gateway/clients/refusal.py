"""What the gateway refuses, over the socket or over HTTP, as the exception that its code names."""

from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from protocol.errors import HatcheryError, error_classes
from protocol.events import Error

T = TypeVar("T")


class _Problem(msgspec.Struct):
    """The members of a problem (RFC 9457) that matter here."""

    code: str
    detail: str = ""
    retryable: bool = False
    field: str | None = None


def refusal(error: Error) -> HatcheryError:
    """The exception for an `error` message."""
    kind = error_classes().get(error.code, HatcheryError)  # a code of a later version has no class here
    return kind(
        error.message,
        field=_or_none(error.field),
        retryable=error.retryable,
        retry_after_ms=_or_none(error.retry_after_ms),
    )


def problem(body: bytes, status: int) -> HatcheryError:
    """The exception for an answer over HTTP that is no success."""
    try:
        said = msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        return HatcheryError(f"HTTP status {status}")
    return error_classes().get(said.code, HatcheryError)(said.detail, field=said.field, retryable=said.retryable)


def _or_none(value: T | UnsetType) -> T | None:
    return None if value is UNSET else value
