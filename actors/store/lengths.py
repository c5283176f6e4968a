"""How long the fields of a writer's personas were: what the progress of its next one is reckoned from."""

from collections.abc import Mapping
from functools import partial
from typing import Final

import apsw
import msgspec

from actors.store.database import Database
from actors.store.sql import select

MAX_ROWS: Final = 2_000  # personas of all writers; the oldest give way

_FIELDS: Final = msgspec.json.Decoder(dict[str, int])


class Lengths:
    """The latest personas' lengths in code points by field, at most `per_writer` of each."""

    def __init__(self, database: Database, *, per_writer: int) -> None:
        self._database = database
        self._per_writer = per_writer

    def note(self, writer: str, fields: Mapping[str, int]) -> None:
        """Remember one persona's; lost if it cannot be written, since no hatch should wait for it."""
        text = msgspec.json.encode(fields).decode()
        self._database.offer(partial(_note, writer=writer, fields=text, per_writer=self._per_writer))

    async def recent(self, writer: str) -> list[dict[str, int]]:
        """A writer's, oldest first."""
        rows = await self._database.read(
            lambda connection: select(
                connection, "SELECT fields FROM lengths WHERE writer = ? ORDER BY number", (writer,)
            )
        )
        return [_FIELDS.decode(fields) for (fields,) in rows]


def _note(connection: apsw.Connection, writer: str, fields: str, per_writer: int) -> None:
    connection.execute("INSERT INTO lengths (writer, fields) VALUES (?, ?)", (writer, fields))
    connection.execute("DELETE FROM lengths WHERE number <= last_insert_rowid() - ?", (MAX_ROWS,))
    connection.execute(
        "DELETE FROM lengths WHERE number IN"
        " (SELECT number FROM lengths WHERE writer = ? ORDER BY number DESC LIMIT -1 OFFSET ?)",
        (writer, per_writer),
    )
