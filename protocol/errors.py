"""The error tree: every failure a client can see is one leaf with a stable code."""

from typing import ClassVar


class HatcheryError(Exception):
    """A coded failure; the message says what went wrong and what to do, in words fit for a client.

    `field` names the offending field of a message, if there is one; `retryable` says whether the same may work later,
    and `retry_after_ms` when.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500  # over HTTP
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        retryable: bool | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        if retryable is not None:
            self.retryable = retryable
        self.message = message
        self.field = field
        self.retry_after_ms = retry_after_ms


class BadMessage(HatcheryError):
    """A frame or a field that cannot be read."""

    code, status = "bad_message", 400


class UnknownType(HatcheryError):
    """A message whose `type` this version does not know."""

    code, status = "unknown_type", 400


class UnsupportedVersion(HatcheryError):
    """A protocol version that is not spoken here."""

    code, status = "unsupported_version", 400


class Unauthenticated(HatcheryError):
    """No token, or a wrong one."""

    code, status = "unauthenticated", 401


class Forbidden(HatcheryError):
    """A known caller who may not do this."""

    code, status = "forbidden", 403


class NotFound(HatcheryError):
    """No such session, agent or file, or none that the caller may see."""

    code, status = "not_found", 404


class Gone(HatcheryError):
    """It existed and has been pruned or has expired."""

    code, status = "gone", 410


class KeyConflict(HatcheryError):
    """The same idempotency key with another hatch."""

    code, status = "key_conflict", 409


class Invalid(HatcheryError):
    """A well-formed message that asks for what cannot be."""

    code, status = "invalid", 422


class TooLarge(HatcheryError):
    """Over a bound in bytes, characters or pixels."""

    code, status = "too_large", 413


class RateLimited(HatcheryError):
    """Too many messages in too short a time."""

    code, status, retryable = "rate_limited", 429, True


class QuotaExceeded(HatcheryError):
    """The caller's own share is used up."""

    code, status, retryable = "quota_exceeded", 429, True


class Overloaded(HatcheryError):
    """The gateway as a whole is full."""

    code, status, retryable = "overloaded", 503, True


class Draining(HatcheryError):
    """The gateway is stopping and takes no new work."""

    code, status, retryable = "draining", 503, True


class LlmUnavailable(HatcheryError):
    """The LLM server cannot be reached or refuses work for now."""

    code, status, retryable = "llm_unavailable", 503, True


class LlmFailed(HatcheryError):
    """The LLM server answered, and failed."""

    code, status = "llm_failed", 502


class PersonaInvalid(HatcheryError):
    """The LLM did not write a valid persona, not even when asked to repair it."""

    code, status = "persona_invalid", 502


class ImageUnavailable(HatcheryError):
    """The image command, its model or its terminal cannot be had."""

    code, status = "image_unavailable", 503


class ImageFailed(HatcheryError):
    """The image command ran and left no valid picture."""

    code, status = "image_failed", 502


class DeadlineExceeded(HatcheryError):
    """A bound in time was passed."""

    code, status, retryable = "deadline_exceeded", 504, True


class Internal(HatcheryError):
    """A bug of ours; the log has the cause."""


def error_classes() -> dict[str, type[HatcheryError]]:
    """Every leaf by its code."""
    return {leaf.code: leaf for leaf in HatcheryError.__subclasses__()}
