"""How long stages took, by what was asked of which engine: the history that ETAs are made of."""

from collections.abc import Callable
from functools import partial
from typing import Final

import apsw
import msgspec

from actors.store.database import Database
from actors.store.sql import select
from protocol.events import Stage

MAX_ROWS: Final = 20_000  # of all work; the oldest give way

_SAME: Final = "engine = ? AND width = ? AND height = ? AND steps = ? AND quantization IS ? AND stage = ?"


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What takes the same time again: engine with its model, sides in pixels, steps, bits of quantization if any."""

    engine: str
    width: int
    height: int
    steps: int
    quantization: int | None = None


class Durations:
    """The latest durations, at most `per_stage` for each stage of the same work."""

    def __init__(self, database: Database, *, per_stage: int, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._per_stage = per_stage
        self._now_ms = now_ms

    def note(self, work: Work, stage: Stage, seconds: float) -> None:
        """Remember one duration; it is lost if it cannot be written, since no drawing should wait for it."""
        values = (*msgspec.structs.astuple(work), stage)
        self._database.offer(
            partial(_note, values=values, seconds=seconds, at_ms=self._now_ms(), per_stage=self._per_stage)
        )

    async def recent(self, work: Work, stage: Stage) -> list[float]:
        """The durations of a stage in seconds, latest first."""
        values = (*msgspec.structs.astuple(work), stage)
        rows = await self._database.read(
            lambda connection: select(
                connection, f"SELECT seconds FROM durations WHERE {_SAME} ORDER BY number DESC", values
            )
        )
        return [seconds for (seconds,) in rows]


def _note(
    connection: apsw.Connection, values: tuple[str | int | None, ...], seconds: float, at_ms: int, per_stage: int
) -> None:
    connection.execute(
        "INSERT INTO durations (engine, width, height, steps, quantization, stage, seconds, at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, seconds, at_ms),
    )
    connection.execute("DELETE FROM durations WHERE number <= last_insert_rowid() - ?", (MAX_ROWS,))
    connection.execute(
        f"DELETE FROM durations WHERE number IN"
        f" (SELECT number FROM durations WHERE {_SAME} ORDER BY number DESC LIMIT -1 OFFSET ?)",
        (*values, per_stage),
    )
