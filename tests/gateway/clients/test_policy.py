"""When a client comes again, and when never."""

from random import Random

import pytest

from gateway.clients.policy import Disconnected, Reconnect
from protocol.events import GoingAway

AGAIN = (1000, 1001, 1006, 1009, 1012, 1013, 4000, 4001, 4003)
NEVER = (4500, 4501, 4502, 4503, 4504, 4505)


def reconnect(patience_s: float = 1e9) -> Reconnect:
    return Reconnect(Random(1), patience_s)


@pytest.mark.parametrize("code", AGAIN)
def test_waits_double_up_to_half_a_minute_and_hold_chance(code: int) -> None:
    waits = reconnect()
    drawn = [waits.delay_s(0.0, Disconnected(code, "")) for _ in range(12)]
    for attempt, delay_s in enumerate(drawn):
        longest = min(30.0, 0.5 * 2**attempt)
        assert longest / 2 <= delay_s <= longest
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("code", NEVER)
def test_some_codes_mean_never(code: int) -> None:
    with pytest.raises(Disconnected) as raised:
        reconnect().delay_s(0.0, Disconnected(code, "why"))
    assert (raised.value.code, raised.value.reason) == (code, "why")


def test_the_gateways_hint_counts_once() -> None:
    waits = reconnect()
    waits.go_away(GoingAway(deadline_ms=1, reconnect_after_ms=(60_000, 70_000)))
    lost = Disconnected(1001, "")
    assert 60 <= waits.delay_s(0.0, lost) <= 70
    assert waits.delay_s(0.0, lost) <= 1


def test_a_welcome_that_lasted_begins_the_waits_anew_and_a_short_one_does_not() -> None:
    waits, lost = reconnect(), Disconnected(1006, "")
    for _ in range(5):
        waits.delay_s(0.0, lost)
    waits.welcome(100.0)
    assert waits.delay_s(101.0, lost) > 4
    waits.welcome(200.0)
    assert waits.delay_s(211.0, lost) <= 0.5


def test_patience_ends_counted_from_the_first_loss() -> None:
    waits, lost = reconnect(patience_s=10.0), Disconnected(1006, "")
    waits.welcome(0.0)
    waits.delay_s(100.0, lost)
    waits.delay_s(105.0, lost)
    with pytest.raises(Disconnected):
        waits.delay_s(109.9, lost)
    waits.welcome(200.0)
    waits.delay_s(300.0, lost)
