from pathlib import Path

import pytest

from actors.store import lengths
from actors.store.store import Store, StoreSettings
from tests.actors.store.stores import opened


async def written(store: Store) -> None:
    """What was offered before is in the database when this returns."""
    await store.log.bury("nobody", "k", "a write")


async def test_lengths_outlast_the_process_in_their_order_by_writer(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for length in (3, 1, 2):
            store.lengths.note("ollama owl:7b", {"name": length, "backstory": 100 * length})
        store.lengths.note("ollama other", {"name": 9})
    async with opened(tmp_path) as store:
        assert await store.lengths.recent("ollama owl:7b") == [
            {"name": length, "backstory": 100 * length} for length in (3, 1, 2)
        ]
        assert await store.lengths.recent("ollama") == []


async def test_only_the_latest_are_kept_of_a_writer_and_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "MAX_ROWS", 5)
    async with opened(tmp_path, settings=StoreSettings(lengths=3)) as store:
        for length in range(5):
            store.lengths.note("a", {"name": length})
        await written(store)
        assert await store.lengths.recent("a") == [{"name": 2}, {"name": 3}, {"name": 4}]
        for writer in "bcde":
            store.lengths.note(writer, {"name": 0})
        await written(store)
        assert await store.lengths.recent("a") == [{"name": 4}]
