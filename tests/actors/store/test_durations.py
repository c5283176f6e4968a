from pathlib import Path

import msgspec

from actors.store.database import StoreLimits
from actors.store.durations import Work
from actors.store.store import Store, StoreSettings
from tests.actors.store.stores import opened

WORK = Work(engine="z-image-turbo", width=1024, height=512, steps=9, quantization=8)


async def written(store: Store) -> None:
    """What was offered before is in the database when this returns."""
    await store.log.bury("nobody", "k", "a write")


async def test_the_latest_durations_come_first_and_outlast_the_process(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for seconds in (1.0, 2.5, 2.0):
            store.durations.note(WORK, "steps", seconds)
    async with opened(tmp_path) as store:
        assert await store.durations.recent(WORK, "steps") == [2.0, 2.5, 1.0]


async def test_only_the_same_work_and_stage_count(tmp_path: Path) -> None:
    others = [
        msgspec.structs.replace(WORK, **change)
        for change in ({"engine": "x"}, {"width": 1}, {"height": 1}, {"steps": 1}, {"quantization": None})
    ]
    async with opened(tmp_path) as store:
        for work in others:
            store.durations.note(work, "steps", 1.0)
        store.durations.note(WORK, "loading", 2.0)
        await written(store)
        assert await store.durations.recent(WORK, "steps") == []
        assert await store.durations.recent(WORK, "loading") == [2.0]
        assert [await store.durations.recent(work, "steps") for work in others] == [[1.0]] * 5


async def test_the_rows_of_the_same_work_are_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=StoreSettings(durations=3)) as store:
        for number in range(10):
            store.durations.note(WORK, "steps", float(number))
            store.durations.note(WORK, "loading", float(number))
        await written(store)
        assert await store.durations.recent(WORK, "steps") == [9.0, 8.0, 7.0]
        assert await store.durations.recent(WORK, "loading") == [9.0, 8.0, 7.0]


async def test_what_nobody_waits_for_is_bounded_too(tmp_path: Path) -> None:
    settings = StoreSettings(writes=StoreLimits(queue=10), durations=100)
    async with opened(tmp_path, settings=settings) as store:
        for _ in range(50):
            store.durations.note(WORK, "steps", 1.0)
    async with opened(tmp_path) as store:
        assert len(await store.durations.recent(WORK, "steps")) == 10
