"""Shared by the tests of LLM servers that are tasks of the test's own process."""

import pytest
from trio.testing import MockClock


@pytest.fixture
def quick_clock(autojump_clock: MockClock) -> MockClock:
    """Nobody waits in earnest: client and server are tasks of one process, and idle only when both are."""
    autojump_clock.autojump_threshold = 0.02
    return autojump_clock
