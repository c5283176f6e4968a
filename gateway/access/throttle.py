"""Wrong tokens, counted by the address that shows them: too many, and it is told to wait instead of being answered.

A right token is never delayed: whoever shares an address with a guesser, behind a proxy that is not trusted or a NAT,
goes on working. That gives nothing away, since no token of 256 random bits is ever guessed.
"""

import contextlib
import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import structlog
import trio

from gateway.access.auth import WrongSecret
from protocol.errors import RateLimited
from protocol.ratelimit import TokenBucket

log = structlog.get_logger(__name__)

REMEMBERED: Final = 10_000  # addresses
IPV6_PREFIX: Final = 64  # what one customer has at least: https://www.rfc-editor.org/rfc/rfc6177


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How many wrong tokens one address may show at once, and how many a minute for long."""

    burst: int
    per_minute: float


class Throttle:
    """Buckets of the latest addresses that have shown something wrong; `clock` tells seconds."""

    def __init__(
        self, patience: Patience, *, remembered: int = REMEMBERED, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._patience = patience
        self._remembered = remembered
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    @contextlib.contextmanager
    def watch(self, address: str | None) -> Iterator[None]:
        """Let the block find out who it is. Turns a WrongSecret of an address that had too many into RateLimited."""
        try:
            yield
        except WrongSecret:
            wait_s = 0.0 if address is None else self._count(_household(address))
            if not wait_s:
                raise
            raise RateLimited(
                "too many wrong tokens came from this address: try again later, with one that is right",
                retry_after_ms=math.ceil(wait_s * 1000),
            ) from None

    def _count(self, household: str) -> float:
        """Note a wrong token; returns the seconds until the next one will be looked at, 0 while there is patience."""
        now = self._clock()
        bucket = self._buckets.get(household)
        if bucket is None:
            log.info("wrong_token", address=household)
            bucket = TokenBucket(self._patience.per_minute / 60, self._patience.burst, now)
            self._buckets[household] = bucket
        self._buckets.move_to_end(household)
        if len(self._buckets) > self._remembered:
            self._buckets.popitem(last=False)
        return bucket.take(now)


def _household(address: str) -> str:
    """Whoever has one address of IPv6 has all of its network."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False)) if parsed.version == 6 else address
