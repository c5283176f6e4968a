"""Restart intensity and backoff."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.restart import RestartPolicy, RestartWindow


class Longest(Random):
    """Draws the upper end of every range."""

    def uniform(self, a: float, b: float) -> float:
        return b


def window(**policy: float) -> RestartWindow:
    return RestartWindow(RestartPolicy(**{"intensity": 3, "period_s": 60.0, **policy}), Longest())  # type: ignore[arg-type]


def test_the_intensity_is_a_bound_within_the_period() -> None:
    restarts = window()
    assert [restarts.next_delay(now) is None for now in (0, 10, 20, 59.9)] == [False, False, False, True]


def test_the_window_moves_on() -> None:
    restarts = window()
    for now in (0, 10, 20):
        restarts.next_delay(now)
    assert restarts.next_delay(60) is not None, "the first is forgotten"
    assert restarts.next_delay(61) is None, "the second is not"


def test_a_refused_restart_does_not_count() -> None:
    restarts = window(intensity=1)
    assert restarts.next_delay(0) is not None
    assert restarts.next_delay(59) is None
    assert restarts.next_delay(60) is not None


def test_no_restarts_at_all() -> None:
    assert window(intensity=0).next_delay(0) is None


def test_waits_double_up_to_the_bound_and_begin_small_again() -> None:
    restarts = window(intensity=9, backoff_s=1.0, backoff_max_s=5.0)
    assert [restarts.next_delay(0) for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert restarts.next_delay(60) == 1.0


def test_a_hint_is_waited_for() -> None:
    restarts = window(backoff_s=1.0)
    assert restarts.next_delay(0, at_least_s=30.0) == 30.0
    assert restarts.next_delay(1, at_least_s=0.5) == 2.0


@given(seed=st.integers(0, 2**32), at_least_s=st.floats(0, 20))
def test_jitter_stays_within_its_range(seed: int, at_least_s: float) -> None:
    restarts = RestartWindow(RestartPolicy(intensity=5, backoff_s=1.0, backoff_max_s=4.0), Random(seed))
    for ceiling in (1.0, 2.0, 4.0, 4.0, 4.0):
        delay = restarts.next_delay(0.0, at_least_s)
        assert delay is not None
        assert at_least_s <= delay <= max(ceiling, at_least_s)


def test_jitter_differs_between_sessions() -> None:
    delays = {RestartWindow(RestartPolicy(), Random(seed)).next_delay(0) for seed in range(20)}
    assert len(delays) == 20


@pytest.mark.parametrize("now", [0.0, 1e9])
def test_any_clock_will_do(now: float) -> None:
    assert window(backoff_s=1.0).next_delay(now) == 1.0


def test_what_failed_before_a_success_is_forgotten() -> None:
    restarts = window(intensity=2, backoff_s=1.0)
    assert [restarts.next_delay(0) for _ in range(3)] == [1.0, 2.0, None]
    restarts.forget()
    assert restarts.next_delay(0) == 1.0
