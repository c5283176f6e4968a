"""How much of the gateway one user and one address may have: connections at a time, and messages a second."""

import contextlib
from collections import Counter
from collections.abc import Iterator

import msgspec

from protocol.errors import QuotaExceeded
from protocol.ratelimit import TokenBucket


class Quotas(msgspec.Struct, frozen=True, kw_only=True):
    """The shares: connections at a time (None: no bound), messages of one connection a second and at once."""

    connections: int | None
    address_connections: int | None
    messages_per_s: float
    messages_burst: int


class Turnstile:
    """Counts who is in, by user and by address."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._inside: Counter[tuple[str, str]] = Counter()

    def user(self, name: str) -> contextlib.AbstractContextManager[None]:
        """A connection of this user, until the block ends. Raises QuotaExceeded."""
        return self._enter("user", name, self._quotas.connections)

    def address(self, host: str) -> contextlib.AbstractContextManager[None]:
        """A connection from this address, until the block ends. Raises QuotaExceeded."""
        return self._enter("address", host, self._quotas.address_connections)

    @contextlib.contextmanager
    def _enter(self, kind: str, name: str, most: int | None) -> Iterator[None]:
        key = kind, name
        if most is not None and self._inside[key] >= most:
            raise QuotaExceeded(f"this {kind} has {most} connections, which is the most: close one of them first")
        self._inside[key] += 1
        try:
            yield
        finally:
            self._inside[key] -= 1
            if not self._inside[key]:
                del self._inside[key]


class Pace:
    """How fast one connection talks: over the rate its messages are refused, and in the end it is to be closed."""

    def __init__(self, quotas: Quotas, now: float) -> None:
        self._allowed = TokenBucket(quotas.messages_per_s, quotas.messages_burst, now)
        self._forgiven = TokenBucket(quotas.messages_per_s, quotas.messages_burst, now)

    def take(self, now: float) -> float | None:
        """One message: 0 if it may pass, the seconds to wait if it is refused, None when refusing did not help."""
        wait_s = self._allowed.take(now)
        if wait_s and self._forgiven.take(now):
            return None
        return wait_s
