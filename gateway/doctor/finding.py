"""What the doctor says of one thing that it has looked at, and what to do where it is not well."""

from typing import Literal

import msgspec

Status = Literal["ok", "notice", "problem"]


class Finding(msgspec.Struct, frozen=True, tag="finding"):
    """`found` is what was seen; `remedy` an exact command or setting. Raises ValueError where a remedy is missing.

    A notice is worth knowing, a problem keeps something from working.
    """

    subject: str
    status: Status
    found: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.status != "ok" and not self.remedy:
            raise ValueError(f"{self.subject}: a {self.status} needs a remedy")


def ok(subject: str, found: str) -> Finding:
    """All is well."""
    return Finding(subject, "ok", found)


def notice(subject: str, found: str, remedy: str) -> Finding:
    """Something works less well than it could."""
    return Finding(subject, "notice", found, remedy)


def problem(subject: str, found: str, remedy: str) -> Finding:
    """Something does not work."""
    return Finding(subject, "problem", found, remedy)
