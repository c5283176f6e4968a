import random
from collections.abc import Mapping

import msgspec
import pytest

from actors.llm.estimate import MIN_LENGTHS, TYPICAL, LengthHistory, Typical, WritingEstimate
from protocol.persona import Persona
from tests.helpers.real_llm import PERSONA


def test_every_field_has_a_typical_length() -> None:
    assert set(TYPICAL) == set(Persona.__struct_fields__)


def write(lengths: dict[str, int], estimate: WritingEstimate, rate: float = 100.0) -> list[tuple[float, float]]:
    """Pairs of true and estimated fraction, growing four code points at a time."""
    total, done, pairs = sum(lengths.values()), 0, []
    for name, length in lengths.items():
        for at in range(0, length, 4):
            step = min(4, length - at)
            done += step
            estimate.grew(f"/{name}", step, done / rate)
            pairs.append((done / total, estimate.fraction))
    return pairs


def test_it_is_monotone_below_one_and_near_the_truth() -> None:
    rng = random.Random(7)
    errors = []
    for _ in range(200):
        lengths = {name: max(4, round(typical.p50 * rng.uniform(0.5, 1.8))) for name, typical in TYPICAL.items()}
        names = rng.sample(list(lengths), len(lengths))
        pairs = write({name: lengths[name] for name in names}, WritingEstimate())
        estimates = [estimate for _, estimate in pairs]
        assert estimates == sorted(estimates)
        assert 0 < estimates[0] < 0.05
        assert 0.8 < estimates[-1] < 1
        errors += [abs(true - estimate) for true, estimate in pairs]
    assert sum(errors) / len(errors) < 0.1


def test_a_field_that_is_far_too_long_never_reaches_the_end() -> None:
    assert write({"avatar_prompt": 100_000}, WritingEstimate())[-1][1] < 1


def test_a_field_is_over_when_the_next_begins() -> None:
    short, long = WritingEstimate(), WritingEstimate()
    short.grew("/backstory", 10, 0.0)
    long.grew("/backstory", 10, 0.0)
    short.grew("/greeting", 1, 1.0)
    assert short.fraction > long.fraction


def test_items_of_a_list_are_one_field() -> None:
    items, one = WritingEstimate(), WritingEstimate()
    for i in range(4):
        items.grew(f"/traits/{i}", 15, float(i))
        one.grew("/traits/0", 15, float(i))
    assert items.fraction == one.fraction


def test_history_replaces_the_table() -> None:
    terse = WritingEstimate({"backstory": Typical(50, 60)})
    usual = WritingEstimate()
    for estimate in (terse, usual):
        estimate.grew("/backstory", 40, 0.0)
    assert terse.fraction > usual.fraction


def test_the_eta_follows_the_rate() -> None:
    estimate = WritingEstimate()
    assert estimate.eta_s is None
    estimate.grew("/name", 8, 10.0)
    assert estimate.eta_s is None
    estimate.grew("/backstory", 100, 11.0)
    eta = estimate.eta_s
    assert eta is not None
    p50, p90 = eta
    usual = sum(typical.p50 for name, typical in TYPICAL.items() if name != "name") - 100
    assert p50 == pytest.approx(usual / 100)
    assert p90 > p50


def persona_with(backstory: int) -> Persona:
    return msgspec.structs.replace(PERSONA, backstory="x" * backstory)


def test_a_history_says_nothing_before_it_has_seen_enough() -> None:
    history = LengthHistory()
    for _ in range(MIN_LENGTHS - 1):
        history.add(PERSONA)
    assert history.typical() == {}
    history.add(PERSONA)
    assert set(history.typical()) == set(TYPICAL)
    assert history.typical()["traits"].p50 == sum(map(len, PERSONA.traits))


def test_a_history_gives_median_and_ninetieth_percentile_of_the_latest() -> None:
    history = LengthHistory()
    for length in range(1, 11):
        history.add(persona_with(length))
    assert history.typical()["backstory"] == Typical(5, 9)
    for _ in range(50):
        history.add(persona_with(700))
    assert history.typical()["backstory"] == Typical(700, 700)


def test_an_estimate_from_a_history_without_spread_is_still_honest() -> None:
    history = LengthHistory()
    for _ in range(5):
        history.add(PERSONA)
    lengths = {name: round(typical.p50) for name, typical in history.typical().items()}
    pairs = write(lengths, WritingEstimate(history.typical()))
    assert [estimate for _, estimate in pairs] == sorted(estimate for _, estimate in pairs)
    assert max(abs(true - estimate) for true, estimate in pairs) < 0.02
    assert pairs[-1][1] < 1


def test_a_history_goes_on_where_an_earlier_one_ended() -> None:
    kept: list[Mapping[str, int]] = []
    earlier = LengthHistory(keep=kept.append)
    for length in (1, 2, 700):
        earlier.add(persona_with(length))
    assert [fields["backstory"] for fields in kept] == [1, 2, 700]
    later = LengthHistory([*kept, {"a field that there is no more": 3}], kept.append)
    assert later.typical() == earlier.typical() != {}
    assert len(kept) == 3, "what is known is not kept again"
