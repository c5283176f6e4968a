"""Trio's scheduler with its dice loaded, so that a run in virtual time can be repeated."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import trio._core._run


@contextmanager
def seeded_scheduling(seed: int) -> Iterator[None]:
    """Tasks that become runnable together run in an order that depends on `seed` alone (trio's own test hook)."""
    scheduler: Any = trio._core._run
    dice, allowed = scheduler._r, scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._r, scheduler._ALLOW_DETERMINISTIC_SCHEDULING = Random(seed), True
    try:
        yield
    finally:
        scheduler._r, scheduler._ALLOW_DETERMINISTIC_SCHEDULING = dice, allowed
