"""Idempotency keys in tables: what `protocol/keyring.py` does in memory, to be run within a transaction."""

from collections.abc import Callable

import apsw
import msgspec

from actors.eventlog import Claim
from actors.store.sql import select, select_one
from protocol.errors import KeyConflict


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long keys and early cancels are remembered, in seconds, and how many of each."""

    kept_s: float = 86_400.0
    tombstone_s: float = 60.0
    capacity: int = 10_000


class KeyClock:
    """Time for keys, in seconds: the wall clock, read once, then a monotonic one, so that no jump shortens a promise.

    After a restart it begins no earlier than `latest`, the last time at which the store knows that somebody was here.
    """

    def __init__(self, wall_s: float, latest: float, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._offset = max(wall_s, latest) - monotonic()

    def __call__(self) -> float:
        """Now."""
        return self._offset + self._monotonic()


def latest_time(connection: apsw.Connection) -> float:
    """When a key was last used, in seconds since 1970, or 0."""
    latest: float | None = select_one(
        connection, "SELECT max(at_s) FROM (SELECT at_s FROM claims UNION ALL SELECT at_s FROM tombstones)"
    )
    return latest or 0.0


def forget_expired(connection: apsw.Connection, now: float, limits: KeyLimits) -> None:
    """Forget keys and early cancels whose time is over."""
    connection.execute("DELETE FROM claims WHERE at_s <= ?", (now - limits.kept_s,))
    connection.execute("DELETE FROM tombstones WHERE at_s <= ?", (now - limits.tombstone_s,))


def find(connection: apsw.Connection, owner: str, key: str, now: float, limits: KeyLimits) -> str | None:
    """The session that this key started, or None."""
    found = _find(connection, owner, key, now, limits)
    return found[0] if found else None


def repeat(connection: apsw.Connection, owner: str, claim: Claim, now: float, limits: KeyLimits) -> str | None:
    """The session to answer a repeated start with, or None for a new one. Raises KeyConflict for another hatch."""
    found = _find(connection, owner, claim.key, now, limits)
    if found is None:
        return None
    session, digest = found
    if digest != claim.digest:
        raise KeyConflict("this key has started another hatch: use a new key, or repeat the same hatch", field="key")
    return session


def _find(connection: apsw.Connection, owner: str, key: str, now: float, limits: KeyLimits) -> tuple[str, bytes] | None:
    rows = select(
        connection,
        "SELECT session, digest FROM claims WHERE owner = ? AND key = ? AND at_s > ?",
        (owner, key, now - limits.kept_s),
    )
    return rows[0] if rows else None


def claim_key(
    connection: apsw.Connection, owner: str, claim: Claim, session: str, now: float, limits: KeyLimits
) -> str | None:
    """Remember which session the key has started; the reason of a cancel that came before it, once, or None."""
    connection.execute(
        "REPLACE INTO claims (owner, key, session, digest, at_s) VALUES (?, ?, ?, ?, ?)",
        (owner, claim.key, session, claim.digest, now),
    )
    connection.execute("DELETE FROM claims WHERE number <= last_insert_rowid() - ?", (limits.capacity,))
    buried = select(
        connection,
        "DELETE FROM tombstones WHERE owner = ? AND key = ? RETURNING reason, at_s",
        (owner, claim.key),
    )
    return buried[0][0] if buried and buried[0][1] > now - limits.tombstone_s else None


def bury(connection: apsw.Connection, owner: str, key: str, reason: str, now: float, limits: KeyLimits) -> str | None:
    """The session that the key has started; if None, the cancel is remembered for a start that has not come yet."""
    session = find(connection, owner, key, now, limits)
    if session is None:
        connection.execute(
            "REPLACE INTO tombstones (owner, key, reason, at_s) VALUES (?, ?, ?, ?)", (owner, key, reason, now)
        )
        connection.execute("DELETE FROM tombstones WHERE number <= last_insert_rowid() - ?", (limits.capacity,))
    return session
