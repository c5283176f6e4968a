"""How much room pictures take, of one owner and in all, and whether there is room for more."""

from typing import Final

import apsw
import msgspec

from actors.store.sql import select_one
from protocol.errors import QuotaExceeded


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What may be kept for one owner; None is no bound.

    `bytes` of the pictures of their agents and uploads, each counted once; `uploads` and their bytes. What only ended
    sessions still show is bounded by how many of those are remembered.
    """

    bytes: int | None = None
    uploads: int | None = None
    upload_bytes: int | None = None


NO_BOUND: Final = Room()

_KEPT: Final = """
    SELECT coalesce(sum(bytes), 0) FROM artifacts WHERE sha256 IN (
        SELECT avatar FROM agents WHERE owner = ?1 UNION SELECT sha256 FROM uploads WHERE owner = ?1
    )
"""
_ALL: Final = "SELECT coalesce(sum(bytes), 0) FROM artifacts"
_UPLOADS: Final = "SELECT count(*) FROM uploads WHERE owner = ?"
_UPLOAD_BYTES: Final = "SELECT coalesce(sum(bytes), 0) FROM uploads JOIN artifacts USING (sha256) WHERE owner = ?"


def check_disk(connection: apsw.Connection, owner: str, room: Room, whole: int) -> int:
    """How many of the store's `whole` bytes are left.

    Raises QuotaExceeded when there, or in the owner's share, is no room for another picture.
    """
    taken: int = select_one(connection, _ALL)
    if taken >= whole:
        raise QuotaExceeded(
            f"the pictures here take {_size(whole)}, which is all the room there is: whoever runs the gateway can raise"
            " hatch.disk_bytes, or keep less (hatch.session_days, hatch.upload_days)"
        )
    if room.bytes is not None and select_one(connection, _KEPT, (owner,)) >= room.bytes:
        raise QuotaExceeded(
            f"your pictures take {_size(room.bytes)}, which is all your room: delete agents that you do not need"
        )
    return whole - taken


def check_uploads(connection: apsw.Connection, owner: str, room: Room) -> None:
    """Raise QuotaExceeded when the owner may not send another input picture."""
    if room.uploads is not None and select_one(connection, _UPLOADS, (owner,)) >= room.uploads:
        raise QuotaExceeded(f"you have {room.uploads} uploads, which is the most: old ones go by themselves in time")
    if room.upload_bytes is not None and select_one(connection, _UPLOAD_BYTES, (owner,)) >= room.upload_bytes:
        raise QuotaExceeded(
            f"your uploads take {_size(room.upload_bytes)}, which is all their room: old ones go by themselves in time"
        )


def _size(count: int) -> str:
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 else f"{count} bytes"
