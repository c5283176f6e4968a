"""How much of the gateway one user and one address may have: connections, hatches, messages a second, room on disk."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

from actors.store.usage import NO_BOUND, Room
from gateway.config import AccessConfig, UserQuota
from protocol.errors import QuotaExceeded
from protocol.ratelimit import TokenBucket


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What one user may have; None is no bound.

    Connections, hatches that run or wait, and hatches that wait, each at a time; messages of one connection, a second
    and at once; and what is kept on disk.
    """

    connections: int | None = None
    hatches: int | None = None
    queued: int | None = None
    messages_per_s: float
    messages_burst: int
    room: Room = NO_BOUND


class Shares:
    """The share of every user: the same for all but those with one of their own."""

    def __init__(self, default: Share, own: Mapping[str, Share] | None = None) -> None:
        self.default = default
        self._own = own or {}

    def of(self, user: str) -> Share:
        """This user's share."""
        return self._own.get(user, self.default)


def open_shares(access: AccessConfig) -> Shares:
    """The shares that the settings ask for; without tokens one person on one machine has all of it."""
    if not access.tokens:
        return Shares(Share(messages_per_s=access.messages_per_s, messages_burst=access.messages_burst))
    return Shares(_share(access, UserQuota()), {user: _share(access, own) for user, own in access.quotas.items()})


def _share(access: AccessConfig, own: UserQuota) -> Share:
    return Share(
        connections=own.connections or access.connections_per_user,
        hatches=own.hatches or access.hatches_per_user,
        queued=own.queued or access.queued_per_user,
        messages_per_s=own.messages_per_s or access.messages_per_s,
        messages_burst=own.messages_burst or access.messages_burst,
        room=Room(
            bytes=own.disk_bytes or access.disk_bytes_per_user,
            uploads=own.uploads or access.uploads_per_user,
            upload_bytes=own.upload_bytes or access.upload_bytes_per_user,
        ),
    )


class Turnstile:
    """Counts who is in, by user and by address."""

    def __init__(self, shares: Shares, per_address: int | None) -> None:
        self._shares = shares
        self._per_address = per_address
        self._inside: Counter[tuple[str, str]] = Counter()

    def user(self, name: str) -> contextlib.AbstractContextManager[None]:
        """A connection of this user, until the block ends. Raises QuotaExceeded."""
        return self._enter("user", name, self._shares.of(name).connections)

    def address(self, host: str) -> contextlib.AbstractContextManager[None]:
        """A connection from this address, until the block ends. Raises QuotaExceeded."""
        return self._enter("address", host, self._per_address)

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

    def __init__(self, share: Share, now: float) -> None:
        self._allowed = TokenBucket(share.messages_per_s, share.messages_burst, now)
        self._forgiven = TokenBucket(share.messages_per_s, share.messages_burst, now)

    def take(self, now: float) -> float | None:
        """One message: 0 if it may pass, the seconds to wait if it is refused, None when refusing did not help."""
        wait_s = self._allowed.take(now)
        if wait_s and self._forgiven.take(now):
            return None
        return wait_s
