"""Wrong tokens, counted by the address that shows them: too many, and it is told to wait instead of being answered.

A right token is never delayed: whoever shares an address with a guesser, behind a proxy that is not trusted or a NAT,
goes on working. That gives nothing away, since no token of 256 random bits is ever guessed.
"""

import contextlib
import math
from collections.abc import Callable, Iterator

import msgspec
import structlog
import trio

from gateway.access.auth import WrongSecret
from gateway.access.buckets import REMEMBERED, Buckets, household
from protocol.errors import RateLimited

log = structlog.get_logger(__name__)


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
        self._clock = clock
        self._buckets = Buckets(remembered)

    @contextlib.contextmanager
    def watch(self, address: str | None) -> Iterator[None]:
        """Let the block find out who it is. Turns a WrongSecret of an address that had too many into RateLimited."""
        try:
            yield
        except WrongSecret:
            wait_s = 0.0 if address is None else self._count(household(address))
            if not wait_s:
                raise
            raise RateLimited(
                "too many wrong tokens came from this address: try again later, with one that is right",
                retry_after_ms=math.ceil(wait_s * 1000),
            ) from None

    def _count(self, name: str) -> float:
        """Note a wrong token; returns the seconds until the next one will be looked at, 0 while there is patience."""
        if name not in self._buckets:
            log.info("wrong_token", address=name)
        return self._buckets.take(name, self._patience.per_minute / 60, self._patience.burst, self._clock())
