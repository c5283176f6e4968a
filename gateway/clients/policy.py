"""When a client connects again after a connection has ended, and when never; pure, `now` in seconds."""

from math import inf
from random import Random
from typing import Final

from protocol.events import GoingAway

FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 30.0
PATIENCE_S: Final = 300.0  # without a connection, unless told otherwise
WELCOME_S: Final = 15.0  # from a connection to its `welcome`
STABLE_S: Final = 10.0  # welcome for so long, a connection counts as good: the next delay is the first again
ABNORMAL: Final = 1006  # RFC 6455, 7.1.5: the connection ended without a word
NO_HEARTBEAT: Final = 4001


class Disconnected(Exception):
    """The connection has ended, with the close code of RFC 6455, or 1006 for none, and the reason in words."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the connection has ended: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


def is_final(code: int) -> bool:
    """Whether a close code means: do not come again."""
    return 4500 <= code < 4600


class Reconnect:
    """The waits between one client's connections: exponential, half of them chance, and the gateway's hint first.

    Without a welcome for `patience_s` seconds it gives up.
    """

    def __init__(self, random: Random, patience_s: float) -> None:
        self._random = random
        self._patience_s = patience_s
        self._attempt = 0
        self._welcomed_at = inf
        self._lost_at: float | None = None
        self._hint: GoingAway | None = None

    def welcome(self, now: float) -> None:
        """A connection is good."""
        self._welcomed_at = now
        self._lost_at = self._hint = None

    def go_away(self, hint: GoingAway) -> None:
        """The gateway has said when to come again."""
        self._hint = hint

    def delay_s(self, now: float, lost: Disconnected) -> float:
        """Seconds to wait after a connection has ended, or could not be had. Raises `lost` when there is no use."""
        if is_final(lost.code):
            raise lost
        if now - self._welcomed_at > STABLE_S:
            self._attempt = 0
        self._welcomed_at = inf
        self._attempt += 1
        delay_s = self._draw()
        self._lost_at = now if self._lost_at is None else self._lost_at
        if now + delay_s - self._lost_at > self._patience_s:
            raise lost
        return delay_s

    def _draw(self) -> float:
        if self._hint is not None:
            earliest, latest = self._hint.reconnect_after_ms
            self._hint = None
            return self._random.uniform(earliest, latest) / 1000
        longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self._attempt - 1, 16))
        return longest * self._random.uniform(0.5, 1.0)
