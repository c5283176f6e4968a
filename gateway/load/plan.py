"""What the swarm will do, drawn from the profile's seed: when hatches arrive, who is cancelled, who leaves. Pure."""

from collections.abc import Iterator
from random import Random

import msgspec

from gateway.load.profile import Profile
from protocol.codec import Codec


class HatchPlan(msgspec.Struct, frozen=True):
    """One hatch: its number, its picture's seed, and, if it is to be cancelled, how many seconds after its start."""

    number: int
    seed: int
    cancel_after_s: float | None


class Leave(msgspec.Struct, frozen=True):
    """One leave of a connection: after how many seconds, for how long, and whether without a word."""

    after_s: float
    away_s: float
    abrupt: bool


class MemberPlan(msgspec.Struct, frozen=True):
    """One connection of the swarm."""

    number: int
    codec: Codec
    pause_s: float
    leaves: bool


def arrivals(profile: Profile) -> Iterator[float]:
    """When hatches arrive, in seconds, not falling: the first of every place, or all of them if they come at random."""
    match profile.arrival:
        case "burst":
            yield from [0.0] * profile.places
        case "ramp":
            yield from (profile.ramp_s * place / profile.places for place in range(profile.places))
        case "poisson":
            random, at = Random(f"{profile.seed}/arrivals"), 0.0
            while (at := at + random.expovariate(profile.rate_per_s)) < profile.duration_s:
                yield at


def plan_hatch(profile: Profile, number: int) -> HatchPlan:
    """The hatch of this number, whatever came before it."""
    random = Random(f"{profile.seed}/hatch/{number}")
    cancelled = random.random() < profile.cancels
    after_s = random.uniform(*profile.cancel_after_s)
    return HatchPlan(number, random.getrandbits(32), after_s if cancelled else None)


def plan_members(profile: Profile) -> list[MemberPlan]:
    """All connections; the shares are kept to the nearest whole number, and fall on whom they fall."""
    random = Random(f"{profile.seed}/members")
    numbers = range(profile.connections)
    leaving = set(random.sample(numbers, round(profile.reconnects * profile.connections)))
    slow = set(random.sample(numbers, round(profile.slow_readers * profile.connections)))
    return [
        MemberPlan(number, _codec(profile, number), profile.slow_pause_s if number in slow else 0.0, number in leaving)
        for number in numbers
    ]


def leaves(profile: Profile, member: int) -> Iterator[Leave]:
    """When and how one connection leaves, without end."""
    random = Random(f"{profile.seed}/leaves/{member}")
    while True:
        yield Leave(
            random.expovariate(1 / profile.reconnect_every_s),
            random.uniform(*profile.away_s),
            random.random() < profile.drops,
        )


def _codec(profile: Profile, member: int) -> Codec:
    packed = profile.wire == "msgpack" or (profile.wire == "both" and member % 2 == 1)
    return Codec.MSGPACK if packed else Codec.JSON
