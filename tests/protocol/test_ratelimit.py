import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.ratelimit import TokenBucket


def test_a_burst_passes_and_then_the_rate() -> None:
    bucket = TokenBucket(2.0, 3, 100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.take(100.25) == pytest.approx(0.25)
    assert bucket.take(100.5) == 0
    assert bucket.take(100.5) == pytest.approx(0.5)


def test_an_idle_bucket_holds_no_more_than_its_burst() -> None:
    bucket = TokenBucket(1000.0, 2, 0.0)
    assert [bucket.take(1e6) > 0 for _ in range(3)] == [False, False, True]


@given(
    rate=st.floats(0.1, 100),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 5), max_size=200),
)
def test_never_more_than_burst_and_rate_allow(rate: float, burst: int, gaps: list[float]) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now, passed = 0.0, 0
    for gap in gaps:
        now += gap
        passed += bucket.take(now) == 0
        assert passed <= burst + rate * now + 1e-6


@given(rate=st.floats(0.1, 100), burst=st.integers(1, 5))
def test_the_wait_it_names_is_enough(rate: float, burst: int) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    while not (wait_s := bucket.take(0.0)):
        pass
    assert bucket.take(wait_s + 1e-6) == 0
