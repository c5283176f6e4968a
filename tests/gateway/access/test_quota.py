from contextlib import ExitStack

import pytest

from gateway.access.auth import new_token
from gateway.access.quota import Pace, Share, Shares, Turnstile, open_shares
from gateway.config import AccessConfig, UserQuota
from protocol.errors import QuotaExceeded


def _share(connections: int | None = 2, burst: int = 2) -> Share:
    return Share(connections=connections, messages_per_s=1.0, messages_burst=burst)


def test_a_user_and_an_address_have_their_shares_and_no_one_else_s() -> None:
    turnstile = Turnstile(Shares(_share()), 3)
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
    turnstile = Turnstile(Shares(_share(connections=1)), 3)
    with turnstile.user("ada"), pytest.raises(QuotaExceeded), turnstile.user("ada"):
        pass
    with turnstile.user("ada"):
        pass


def test_none_is_no_bound() -> None:
    turnstile = Turnstile(Shares(_share(connections=None)), None)
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(turnstile.user("ada"))


def test_too_many_messages_are_refused_and_far_too_many_are_too_many() -> None:
    pace = Pace(_share(burst=2), 0.0)
    assert [pace.take(0.0) for _ in range(5)] == [0, 0, 1.0, 1.0, None]
    assert pace.take(10.0) == 0  # it is a matter of time


def test_a_user_s_own_quota_goes_before_what_everybody_has() -> None:
    lines = [new_token(user)[1] for user in ("ada", "bob")]
    own = {"bob": UserQuota(hatches=2, connections=1, messages_per_s=3.0, uploads=4)}
    shares = open_shares(AccessConfig(tokens=lines, hatches_per_user=7, queued_per_user=5, quotas=own))
    ada, bob = shares.of("ada"), shares.of("bob")
    assert (ada.hatches, ada.queued, ada.room.uploads) == (7, 5, AccessConfig().uploads_per_user)
    assert (bob.hatches, bob.queued, bob.messages_per_s, bob.room.uploads) == (2, 5, 3.0, 4)
    assert bob.room.bytes == AccessConfig().disk_bytes_per_user
    turnstile = Turnstile(shares, None)
    with ExitStack() as stack:
        for user in ("ada", "ada", "bob"):
            stack.enter_context(turnstile.user(user))
        with pytest.raises(QuotaExceeded):
            stack.enter_context(turnstile.user("bob"))


def test_without_tokens_nobody_is_bounded_but_in_how_fast_they_talk() -> None:
    share = open_shares(AccessConfig(messages_burst=9)).of("local")
    assert share == Share(messages_per_s=AccessConfig().messages_per_s, messages_burst=9)
