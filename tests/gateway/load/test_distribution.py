"""Durations in buckets: quantiles against the sorted truth."""

import math
from random import Random

import pytest

from gateway.load.distribution import BUCKETS, Distribution, Quantiles


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.99, 1.0])
def test_a_quantile_is_at_most_two_percent_above_the_nearest_rank(share: float) -> None:
    random, distribution = Random(1), Distribution()
    values = sorted(random.lognormvariate(-4, 2) for _ in range(5000))
    for value in values:
        distribution.add(value)
    truth = values[max(math.ceil(share * 5000), 1) - 1]
    assert truth * (1 - 1e-9) <= distribution.quantile_s(share) <= truth * 1.0201


def test_the_largest_is_exact_and_extremes_are_kept() -> None:
    distribution = Distribution()
    for value in (0.0, 1e-9, 123.456, 1e9):
        distribution.add(value)
    assert (distribution.count, distribution.max_s) == (4, 1e9)
    assert distribution.quantile_s(0.5) == pytest.approx(1e-5)


def test_nothing_is_zero() -> None:
    assert Distribution().quantiles() == Quantiles(0, 0.0, 0.0, 0.0, 0.0)


def test_memory_does_not_grow() -> None:
    distribution = Distribution()
    for number in range(10_000):
        distribution.add(number / 7)
    assert len(distribution._counts) == BUCKETS
    assert distribution.count == 10_000
