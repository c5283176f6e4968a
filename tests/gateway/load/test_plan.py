"""What a profile's seed decides: arrivals, cancels, who leaves and who is slow."""

from itertools import islice, pairwise

import msgspec
import pytest

from gateway.load.plan import arrivals, leaves, plan_hatch, plan_members
from gateway.load.profile import Profile
from protocol.codec import Codec


def test_a_burst_is_all_at_once() -> None:
    assert list(arrivals(Profile(connections=3, sessions_per_connection=2, arrival="burst"))) == [0.0] * 6


def test_a_ramp_is_even() -> None:
    ramp = list(arrivals(Profile(connections=2, sessions_per_connection=5, arrival="ramp", ramp_s=20.0)))
    assert ramp == [2.0 * place for place in range(10)]


def test_random_arrivals_come_at_their_rate_and_never_after_the_end() -> None:
    profile = Profile(arrival="poisson", rate_per_s=50.0, duration_s=200.0)
    times = list(arrivals(profile))
    gaps = [b - a for a, b in pairwise(times)]
    assert 9_500 < len(times) < 10_500  # five standard deviations of a Poisson process
    assert min(gaps) >= 0
    assert times[-1] < 200.0
    mean = sum(gaps) / len(gaps)
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.02)  # exponential: e^-1


def test_the_seed_decides() -> None:
    profile = Profile(arrival="poisson", cancels=0.5, reconnects=0.5, slow_readers=0.5, connections=20)
    other = msgspec.structs.replace(profile, seed=1)
    for plan in (
        lambda p: list(arrivals(p)),
        lambda p: [plan_hatch(p, number) for number in range(20)],
        plan_members,
        lambda p: list(islice(leaves(p, 3), 20)),
    ):
        assert plan(profile) == plan(profile)
        assert plan(profile) != plan(other)


def test_the_share_of_cancels_and_when() -> None:
    profile = Profile(cancels=0.2, cancel_after_s=(1.0, 3.0))
    after_s = [plan_hatch(profile, number).cancel_after_s for number in range(5000)]
    cancelled = [seconds for seconds in after_s if seconds is not None]
    assert len(cancelled) == pytest.approx(1000, abs=150)
    assert min(cancelled) >= 1.0
    assert max(cancelled) <= 3.0
    assert all(plan_hatch(Profile(), number).cancel_after_s is None for number in range(100))


def test_shares_of_connections_are_kept_to_the_nearest() -> None:
    members = plan_members(Profile(connections=200, reconnects=0.05, slow_readers=0.02, slow_pause_s=0.5))
    assert [member.number for member in members] == list(range(200))
    assert sum(member.leaves for member in members) == 10
    assert sorted({member.pause_s for member in members}) == [0.0, 0.5]
    assert sum(member.pause_s > 0 for member in members) == 4


@pytest.mark.parametrize(
    ("wire", "codecs"), [("json", {Codec.JSON}), ("msgpack", {Codec.MSGPACK}), ("both", {Codec.JSON, Codec.MSGPACK})]
)
def test_the_wire_format(wire: str, codecs: set[Codec]) -> None:
    profile = msgspec.convert({"wire": wire}, Profile)
    assert {member.codec for member in plan_members(profile)} == codecs


def test_leaves_are_as_long_and_as_abrupt_as_asked() -> None:
    profile = Profile(reconnect_every_s=2.0, away_s=(0.5, 1.0), drops=0.25)
    found = list(islice(leaves(profile, 0), 4000))
    assert sum(leave.after_s for leave in found) / 4000 == pytest.approx(2.0, abs=0.2)
    assert all(0.5 <= leave.away_s <= 1.0 for leave in found)
    assert sum(leave.abrupt for leave in found) / 4000 == pytest.approx(0.25, abs=0.04)
