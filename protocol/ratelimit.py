"""How often somebody may do something: a token bucket. Pure; `now` in seconds, of any clock that never goes back."""


class TokenBucket:
    """Holds at most `burst` tokens, full at first, and gains `rate` a second; each act takes one.

    Tokens are counted when somebody asks, as RFC 2697 does it, so that an idle bucket costs nothing.
    """

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._updated = now

    def take(self, now: float) -> float:
        """Take a token and return 0, or return the seconds until there will be one; then nothing was taken."""
        self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0
