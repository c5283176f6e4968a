"""A calm garbage collector: it leaves what start-up made alone, seldom looks at everything, and still finds garbage."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from gateway.collector import calm_collector


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def full_collections() -> Iterator[list[int]]:
    found: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            found.append(gc.get_count()[2])

    thresholds = gc.get_threshold()
    calm_collector()
    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_half_a_million_objects_that_stay_are_not_looked_at_again(full_collections: list[int]) -> None:
    assert gc.get_freeze_count() > 10_000
    kept: list[list[int]] = [[] for _ in range(500_000)]
    assert len(kept) == 500_000
    assert full_collections == []


def test_young_garbage_is_found(full_collections: list[int]) -> None:
    ring = weakref.ref(Ring())
    kept: list[list[int]] = [[] for _ in range(50_000)]
    assert kept
    assert ring() is None
