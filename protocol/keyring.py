"""Idempotency keys: which session a key started, and cancels that came before their start. Pure; `now` in seconds."""

from collections import OrderedDict

import msgspec

from protocol.errors import KeyConflict


class _Claim(msgspec.Struct, frozen=True):
    session: str
    digest: bytes
    expires: float


class _Tombstone(msgspec.Struct, frozen=True):
    reason: str
    expires: float


Owned = tuple[str, str]  # owner and key


class Keyring:
    """Keys of all owners; at most `capacity` claims and as many tombstones, the oldest give way."""

    def __init__(self, *, kept_s: float, tombstone_s: float, capacity: int) -> None:
        self._kept_s = kept_s
        self._tombstone_s = tombstone_s
        self._capacity = capacity
        self._claims: OrderedDict[Owned, _Claim] = OrderedDict()
        self._tombstones: OrderedDict[Owned, _Tombstone] = OrderedDict()

    def find(self, owner: str, key: str, now: float) -> str | None:
        """The session that this key started, or None."""
        claim = self._claims.get((owner, key))
        return claim.session if claim and claim.expires > now else None

    def repeat(self, owner: str, key: str, digest: bytes, now: float) -> str | None:
        """The session to answer a repeated start with, or None for a new one. Raises KeyConflict for another hatch."""
        session = self.find(owner, key, now)
        if session is not None and self._claims[owner, key].digest != digest:
            raise KeyConflict(
                "this key has started another hatch: use a new key, or repeat the same hatch", field="key"
            )
        return session

    def claim(self, owner: str, key: str, session: str, digest: bytes, now: float) -> None:
        """Remember which session the key has started."""
        self._claims.pop((owner, key), None)
        self._claims[owner, key] = _Claim(session, digest, now + self._kept_s)
        _trim(self._claims, self._capacity)

    def bury(self, owner: str, key: str, reason: str, now: float) -> None:
        """Remember a cancel whose start has not come yet."""
        self._tombstones.pop((owner, key), None)
        self._tombstones[owner, key] = _Tombstone(reason, now + self._tombstone_s)
        _trim(self._tombstones, self._capacity)

    def exhume(self, owner: str, key: str, now: float) -> str | None:
        """The reason of a cancel that came before this start, once; or None."""
        tombstone = self._tombstones.pop((owner, key), None)
        return tombstone.reason if tombstone and tombstone.expires > now else None


def _trim(entries: OrderedDict[Owned, _Claim] | OrderedDict[Owned, _Tombstone], capacity: int) -> None:
    while len(entries) > capacity:
        entries.popitem(last=False)
