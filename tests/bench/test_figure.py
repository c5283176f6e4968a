"""What the benchmarks make of their numbers."""

import os

import pytest

from tests.bench import cost
from tests.bench.figure import Figure


@pytest.mark.parametrize(("bar", "holds"), [(None, True), (10.0, True), (9.9, False)])
def test_a_bar_is_the_highest_value_that_is_good_enough(bar: float | None, holds: bool) -> None:
    assert Figure("age", 10.0, "ms", bar).holds is holds


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 51.0), (0.99, 100.0), (1.0, 100.0)])
def test_quantiles(share: float, value: float) -> None:
    assert cost.quantile([float(number) for number in range(100, 0, -1)], share) == value


def test_the_cost_of_this_process() -> None:
    before = cost.cpu_s(os.getpid())
    sum(range(3_000_000))
    assert cost.cpu_s(os.getpid()) > before
    assert 1 << 20 < cost.resident_bytes(os.getpid()) < 1 << 32
