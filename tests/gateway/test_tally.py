"""A cheap histogram says what prometheus_client's own would say of the same values."""

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from gateway.tally import TallyHistogram

BOUNDS = (0.05, 1.0, 80.0)


@pytest.mark.parametrize("values", [(), (0.05,), (0.0, 0.051, 1.0, 1.5, 80.0, 80.1, 1e9)])
def test_it_says_what_a_histogram_of_prometheus_says(values: tuple[float, ...]) -> None:
    tallied, counted = CollectorRegistry(), CollectorRegistry()
    tally = TallyHistogram("step_seconds", "Time of a step", BOUNDS)
    tallied.register(tally)
    histogram = Histogram("step_seconds", "Time of a step", buckets=BOUNDS, registry=counted)
    for value in values:
        tally.observe(value)
        histogram.observe(value)
    assert lines(tallied) == lines(counted)


def test_its_name_is_taken() -> None:
    registry = CollectorRegistry()
    registry.register(TallyHistogram("step_seconds", "Time of a step", BOUNDS))
    with pytest.raises(ValueError, match="step_seconds"):
        Histogram("step_seconds", "Another", registry=registry)


def lines(registry: CollectorRegistry) -> list[str]:
    """The exposition, without the time at which a histogram was made, which a tally does not know."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]
