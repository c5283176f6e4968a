from contextlib import ExitStack

import pytest

from gateway.access.quota import Pace, Quotas, Turnstile
from protocol.errors import QuotaExceeded


def _quotas(connections: int | None = 2, address_connections: int | None = 3, burst: int = 2) -> Quotas:
    return Quotas(
        connections=connections, address_connections=address_connections, messages_per_s=1.0, messages_burst=burst
    )


def test_a_user_and_an_address_have_their_shares_and_no_one_else_s() -> None:
    turnstile = Turnstile(_quotas())
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(turnstile.user("ada"))
        for _ in range(3):
            stack.enter_context(turnstile.address("ada"))
        with pytest.raises(QuotaExceeded, match="user has 2 connections"):
            stack.enter_context(turnstile.user("ada"))
        with pytest.raises(QuotaExceeded, match="address has 3 connections"):
            stack.enter_context(turnstile.address("ada"))
        stack.enter_context(turnstile.user("bob"))
    with turnstile.user("ada"), turnstile.user("ada"):
        pass


def test_who_was_refused_holds_no_place() -> None:
    turnstile = Turnstile(_quotas(connections=1))
    with turnstile.user("ada"), pytest.raises(QuotaExceeded), turnstile.user("ada"):
        pass
    with turnstile.user("ada"):
        pass


def test_none_is_no_bound() -> None:
    turnstile = Turnstile(_quotas(connections=None))
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(turnstile.user("ada"))


def test_too_many_messages_are_refused_and_far_too_many_are_too_many() -> None:
    pace = Pace(_quotas(burst=2), 0.0)
    assert [pace.take(0.0) for _ in range(5)] == [0, 0, 1.0, 1.0, None]
    assert pace.take(10.0) == 0  # it is a matter of time
