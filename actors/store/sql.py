"""SQLite's rows as Python's: typed loosely, since the tables say what is in them."""

from collections.abc import Sequence
from typing import Any

import apsw

Value = str | int | float | bytes | None


def select(connection: apsw.Connection, statement: str, values: Sequence[Value] = ()) -> list[Any]:
    """All rows that a statement returns, each a tuple."""
    return connection.execute(statement, tuple(values)).fetchall()


def select_one(connection: apsw.Connection, statement: str, values: Sequence[Value] = ()) -> Any:
    """The first column of the first row, or None."""
    rows = select(connection, statement, values)
    return rows[0][0] if rows else None
