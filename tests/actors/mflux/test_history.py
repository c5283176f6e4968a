"""What is remembered of drawings, in memory and in the store, and the forecasts that come of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from actors.mflux.history import KEPT, WORKS, History, MemoryHistory, Pace, StoredHistory
from actors.store.durations import Work
from protocol.forecast import Forecast, Span
from tests.actors.store.stores import opened

WORK = Work(engine="toy", width=64, height=32, steps=2)


@asynccontextmanager
async def history_of(kind: str, directory: Path) -> AsyncIterator[History]:
    if kind == "memory":
        yield MemoryHistory()
    else:
        async with opened(directory) as store:
            yield StoredHistory(store.durations)


def drawn(pace: Pace, forecast: Forecast) -> None:
    """A drawing of 5 s for loading, 3 and 1 for its steps, and 2 to its end."""
    forecast.begin(100.0)
    for step, now in ((0, 105.0), (1, 108.0), (2, 109.0)):
        forecast.stepped(step, 2, now)
    pace.learn(WORK, forecast, 111.0)


@pytest.mark.parametrize("kind", ["memory", "store"])
async def test_a_drawing_teaches_what_the_next_will_take(kind: str, tmp_path: Path) -> None:
    async with history_of(kind, tmp_path) as history:
        pace = Pace(history)
        assert await pace.whole(WORK) is None
        drawn(pace, await pace.forecast(WORK))
    if kind == "store":  # which is written when it is closed
        async with history_of(kind, tmp_path) as history:
            assert await Pace(history).whole(WORK) == (11.0, 11.0)
        return
    assert await pace.whole(WORK) == (11.0, 11.0)
    assert {span: list(known) for span, known in (await pace.past(WORK)).items()} == {
        Span.LOAD: [5.0],
        Span.FIRST_STEP: [3.0],
        Span.STEP: [1.0],
        Span.DECODE: [2.0],
    }
    assert await pace.whole(msgspec.structs.replace(WORK, width=128)) is None


async def test_memory_is_bounded() -> None:
    history = MemoryHistory()
    for number in range(KEPT + 5):
        history.note(WORK, Span.STEP, float(number))
    assert list(await history.recent(WORK, Span.STEP)) == [float(number) for number in range(5, KEPT + 5)]
    for width in range(1000, 1000 + WORKS):
        history.note(msgspec.structs.replace(WORK, width=width), Span.STEP, 1.0)
    assert await history.recent(WORK, Span.STEP) == []
