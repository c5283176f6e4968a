"""What the past says of a drawing: quantiles, fractions that never reach the next measured point, and times left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.forecast import KEPT_STEPS, Forecast, Past, Span, quantiles

PAST: Past = {Span.LOAD: [10.0], Span.FIRST_STEP: [4.0], Span.STEP: [2.0], Span.DECODE: [3.0]}
SECONDS = st.floats(0, 1e4)


def drawing(past: Past = PAST, steps: int = 4, *, at_step: int | None = None, now: float = 0.0) -> Forecast:
    """A forecast of a drawing that began at 0, or of one whose step was finished at `now`."""
    forecast = Forecast(past, steps)
    forecast.begin(0.0)
    for step in range(0 if at_step is None else at_step + 1):
        forecast.stepped(step, steps, now)
    return forecast


def test_quantiles_are_the_median_and_the_nearest_rank() -> None:
    assert quantiles([]) is None
    assert quantiles([3.0]) == (3.0, 3.0)
    assert quantiles([4.0, 2.0]) == (3.0, 4.0)
    assert quantiles([float(number) for number in range(1, 12)]) == (6.0, 10.0)


def test_a_whole_drawing_is_the_sum_of_its_spans() -> None:
    assert drawing().whole == (10 + 4 + 3 * 2 + 3,) * 2
    assert drawing(steps=1).whole == (17.0, 17.0)
    assert drawing(steps=0).whole is None, "nobody knows how many steps it has"
    assert drawing({Span.LOAD: [10.0]}).whole is None


def test_what_is_left_falls_with_the_clock_and_with_each_step() -> None:
    forecast = drawing()
    assert forecast.eta(0.0) == (23.0, 23.0)
    assert forecast.eta(9.0) == (14.0, 14.0)
    forecast.stepped(0, 4, 10.0)
    assert forecast.eta(10.0) == (13.0, 13.0)
    forecast.stepped(1, 4, 14.0)
    assert forecast.eta(15.0) == (8.0, 8.0)
    for step, now in ((2, 16.0), (3, 18.0), (4, 20.0)):
        forecast.stepped(step, 4, now)
    assert forecast.eta(21.0) == (2.0, 2.0)


def test_its_own_steps_count_more_than_the_past() -> None:
    forecast = drawing(at_step=1, now=10.0)
    forecast.stepped(2, 4, 18.0)
    assert forecast.eta(18.0) == (2 * 8 + 3.0,) * 2


def test_a_first_drawing_has_an_eta_from_its_own_steps_but_nothing_is_estimated() -> None:
    forecast = drawing({}, at_step=0)
    assert forecast.eta(0.0) is None
    forecast.stepped(1, 4, 5.0)
    assert forecast.eta(5.0) == (15.0, 15.0)
    assert forecast.fraction(6.0) is None


def test_a_span_that_takes_longer_than_ever_is_not_foretold_any_more() -> None:
    forecast = drawing({**PAST, Span.LOAD: [10.0, 20.0]})
    assert forecast.fraction(16.0) == 0.95
    assert forecast.fraction(20.1) is None
    assert forecast.eta(20.1) is None
    forecast.stepped(0, 4, 30.0)
    assert forecast.fraction(31.0) is not None


def test_a_download_is_neither_foretold_nor_learned() -> None:
    forecast = drawing()
    forecast.downloading()
    assert (forecast.fraction(1.0), forecast.eta(1.0)) == (None, None)
    for step, now in ((0, 100.0), (1, 104.0), (2, 106.0), (3, 108.0), (4, 110.0)):
        forecast.stepped(step, 4, now)
        assert forecast.eta(now) is not None
    assert forecast.lessons(113.0) == {Span.FIRST_STEP: 4.0, Span.STEP: 2.0, Span.DECODE: 3.0}


def test_the_lessons_of_a_drawing() -> None:
    forecast = drawing({})
    for step, now in ((0, 10.0), (1, 14.0), (2, 15.0), (3, 18.0)):
        forecast.stepped(step, 3, now)
    assert forecast.lessons(21.0) == {Span.LOAD: 10.0, Span.FIRST_STEP: 4.0, Span.STEP: 2.0, Span.DECODE: 3.0}


def test_a_bar_that_counts_bytes_costs_no_more_than_one_that_counts_steps() -> None:
    forecast = drawing({})
    for step, now in ((0, 1.0), (1, 5.0), (10**17, 6.0), (10**18 - 1, 16.0), (10**18, 18.0)):
        forecast.stepped(step, 10**18, now)
    assert forecast.lessons(21.0)[Span.FIRST_STEP] == 4.0
    assert forecast.step_s == 2.0


def test_the_latest_steps_speak_for_the_next_ones() -> None:
    forecast = drawing({}, steps=1000)
    for step in range(1, 501):
        forecast.stepped(step, 1000, 100.0 * step)
    for step in range(501, 501 + KEPT_STEPS):
        forecast.stepped(step, 1000, 50_000.0 + step - 500)
    assert forecast.eta(50_000.0 + KEPT_STEPS) == (500.0 - KEPT_STEPS, 500.0 - KEPT_STEPS)


@pytest.mark.parametrize("told", [[], [(0, 3), (1, 3)], [(0, 2), (1, 2), (2, 2), (0, 2), (1, 2), (2, 2)]])
def test_an_unusual_drawing_teaches_nothing(told: list[tuple[int, int]]) -> None:
    forecast = drawing()
    for now, (step, steps) in enumerate(told, start=1):
        forecast.stepped(step, steps, float(now))
    assert forecast.lessons(99.0) == {}


@given(
    past=st.fixed_dictionaries({span: st.lists(SECONDS, max_size=5) for span in Span}),
    steps=st.integers(1, 5),
    waits=st.lists(st.lists(SECONDS, max_size=4), min_size=1, max_size=6),
)
def test_an_estimate_moves_towards_the_next_measured_point_and_never_reaches_it(
    past: Past, steps: int, waits: list[list[float]]
) -> None:
    forecast, now = drawing(past, steps), 0.0
    for step, looks in enumerate(waits[: steps + 1]):
        before = 0.0
        for wait in looks:
            now += wait
            fraction, eta = forecast.fraction(now), forecast.eta(now)
            if fraction is not None:
                assert before <= fraction < 1
                before = fraction
            if eta is not None:
                assert 0 <= eta[0] <= eta[1]
        forecast.stepped(step, steps, now)
