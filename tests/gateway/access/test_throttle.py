from collections.abc import Iterable

import pytest

from gateway.access.auth import WrongSecret
from gateway.access.throttle import Patience, Throttle
from protocol.errors import RateLimited, Unauthenticated

PATIENCE = Patience(burst=2, per_minute=6.0)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _throttle(clock: Clock | None = None, remembered: int = 100) -> Throttle:
    return Throttle(PATIENCE, remembered=remembered, clock=clock or Clock())


def _guess(throttle: Throttle, address: str | None) -> int | None:
    """The milliseconds to wait, or None for a guess that was answered."""
    with pytest.raises((WrongSecret, RateLimited)) as caught, throttle.watch(address):
        raise WrongSecret("no")
    return caught.value.retry_after_ms


def _guesses(throttle: Throttle, addresses: Iterable[str | None]) -> list[int | None]:
    return [_guess(throttle, address) for address in addresses]


def test_an_address_has_so_many_guesses_and_then_one_in_a_while() -> None:
    clock = Clock()
    throttle = _throttle(clock)
    assert _guesses(throttle, ["192.0.2.7"] * 4) == [None, None, 10_000, 10_000]
    clock.now = 9.0
    assert _guess(throttle, "192.0.2.7") == 1000
    clock.now = 10.5
    assert _guesses(throttle, ["192.0.2.7"] * 2) == [None, 9500]


def test_others_are_not_kept_waiting() -> None:
    throttle = _throttle()
    _guesses(throttle, ["192.0.2.7"] * 3)
    assert _guess(throttle, "192.0.2.8") is None


def test_what_is_right_or_merely_old_is_never_held_up() -> None:
    throttle = _throttle()
    _guesses(throttle, ["192.0.2.7"] * 3)
    with throttle.watch("192.0.2.7"):
        pass
    with pytest.raises(Unauthenticated, match="expired"), throttle.watch("192.0.2.7"):
        raise Unauthenticated("expired")


def test_a_network_of_ipv6_is_one_address() -> None:
    throttle = _throttle()
    assert _guesses(throttle, [f"2001:db8::{n}" for n in range(1, 4)]) == [None, None, 10_000]


def test_only_the_latest_addresses_are_remembered() -> None:
    throttle = _throttle(remembered=10)
    _guesses(throttle, ["192.0.2.7"] * 3)
    for n in range(10):
        assert _guess(throttle, f"198.51.100.{n}") is None
    assert _guess(throttle, "192.0.2.7") is None
    assert _guess(throttle, None) is None
