"""Pictures that people have sent as input for a hatch."""

from collections.abc import Callable
from functools import partial

import apsw
import msgspec

from actors.artifacts import StoredPicture
from actors.store.database import Database
from actors.store.rows import insert_file
from actors.store.sql import select
from actors.store.usage import NO_BOUND, Room, check_disk, check_uploads
from protocol.errors import NotFound


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """One upload and the file it is, which lies in the artifact store."""

    upload: str
    owner: str
    picture: StoredPicture
    created_at_ms: int


class Uploads:
    """The uploads of a store; owners see only their own."""

    def __init__(self, database: Database, now_ms: Callable[[], int], disk_bytes: int) -> None:
        self._database = database
        self._now_ms = now_ms
        self._disk_bytes = disk_bytes

    async def check(self, owner: str, room: Room) -> None:
        """Raise QuotaExceeded if there is no room for another one."""
        await self._database.read(partial(_check, owner=owner, room=room, disk_bytes=self._disk_bytes))

    async def add(self, owner: str, upload: str, picture: StoredPicture, room: Room = NO_BOUND) -> None:
        """Keep a picture that is in the artifact store, under an id that is new. Raises QuotaExceeded and Overloaded.

        Whoever sends several at once has room for the last of them only as if they had come one after the other.
        """
        kept = Upload(upload=upload, owner=owner, picture=picture, created_at_ms=self._now_ms())
        await self._database.write(partial(_add, upload=kept, room=room, disk_bytes=self._disk_bytes))

    async def get(self, owner: str, upload: str) -> Upload:
        """One upload. Raises NotFound."""
        return await self._database.read(partial(_get, owner=owner, upload=upload))


def _check(connection: apsw.Connection, owner: str, room: Room, disk_bytes: int) -> None:
    check_disk(connection, owner, room, disk_bytes)
    check_uploads(connection, owner, room)


def _add(connection: apsw.Connection, upload: Upload, room: Room, disk_bytes: int) -> None:
    _check(connection, upload.owner, room, disk_bytes)
    picture = upload.picture
    insert_file(connection, picture.sha256, picture.bytes, picture.mime, picture.width, picture.height)
    connection.execute(
        "INSERT INTO uploads (upload, owner, sha256, created_at_ms) VALUES (?, ?, ?, ?)",
        (upload.upload, upload.owner, picture.sha256, upload.created_at_ms),
    )


def _get(connection: apsw.Connection, owner: str, upload: str) -> Upload:
    rows = select(
        connection,
        "SELECT sha256, bytes, mime, width, height, created_at_ms FROM uploads JOIN artifacts USING (sha256)"
        " WHERE upload = ? AND owner = ?",
        (upload, owner),
    )
    if not rows:
        raise NotFound("no such upload")
    *file, created_at_ms = rows[0]
    return Upload(upload=upload, owner=owner, picture=StoredPicture(*file), created_at_ms=created_at_ms)


def prune_uploads(connection: apsw.Connection, before_ms: int) -> int:
    """Forget uploads from before a time that no unfinished session needs; returns how many."""
    connection.execute(
        """
        DELETE FROM uploads WHERE created_at_ms < ? AND NOT EXISTS (
            SELECT 1 FROM sessions WHERE ended IS NULL AND record ->> '$.hatch.image.input' = upload
        )
        """,
        (before_ms,),
    )
    return connection.changes()
