"""How fast plain HTTP may be asked: by each user as fast as one of their WebSockets may talk, by strangers as fast."""

import math
from collections.abc import Callable

import trio

from gateway.access.buckets import Buckets, household
from gateway.access.quota import Share, Shares
from protocol.errors import RateLimited


class RequestPace:
    """The latest users and addresses that have asked for something; `clock` tells seconds."""

    def __init__(self, shares: Shares, *, clock: Callable[[], float] = trio.current_time) -> None:
        self._shares = shares
        self._clock = clock
        self._users = Buckets()
        self._strangers = Buckets()

    def user(self, name: str) -> None:
        """One request of this user. Raises RateLimited."""
        self._take(self._users, name, self._shares.of(name))

    def stranger(self, address: str | None) -> None:
        """One request of somebody unknown at this address. Raises RateLimited."""
        self._take(self._strangers, household(address or ""), self._shares.default)

    def _take(self, buckets: Buckets, name: str, share: Share) -> None:
        wait_s = buckets.take(name, share.messages_per_s, share.messages_burst, self._clock())
        if wait_s:
            raise RateLimited("too many requests: send fewer", retry_after_ms=math.ceil(wait_s * 1000))
