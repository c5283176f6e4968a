"""Headers that keep browsers from guessing types, framing answers and telling others where they have been."""

from collections.abc import Sequence
from typing import Final

BRIDLE: Final = {  # of every answer there is, whoever writes it
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}
_WORDS: Final = BRIDLE | {"content-security-policy": "default-src 'none'; frame-ancestors 'none'"}


def bridled(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of an answer that shows nothing but words, with those that every answer has."""
    return [*headers, *((name.encode(), value.encode()) for name, value in _WORDS.items())]
