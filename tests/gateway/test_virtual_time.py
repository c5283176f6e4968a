"""The whole stack but for real sockets and children, a day in a minute, the same for every run."""

import os
import subprocess
import sys

import pytest

from tests.helpers.virtual_day import play


@pytest.mark.timeout(600)
def test_a_day_of_5000_hatches_with_all_that_can_go_wrong_keeps_the_contract() -> None:
    day = play(1, 5000)
    assert sum(day.outcomes.values()) == pytest.approx(5000 * 10 / 11, rel=0.03), "all but those that were deserted"
    assert 5000 <= len(day.gateway.log) < 5050, "what was started anew at noon was there twice"
    assert day.outcomes["done"] > 2500
    assert day.outcomes["failed"] > 200
    assert day.outcomes["cancelled"] > 500
    assert day.outcomes["lost"] < 100, "with the gateway of the morning"
    assert day.epochs[2] > 500
    assert day.epochs[3] > 30
    assert day.refusals["overloaded"] > 300
    assert day.refusals["draining"] > 10
    assert day.closes[1006] > 200, "connections that were cut, by a client or, as one took nothing, by the gateway"
    assert day.gateway.drops["progress"] > 10
    assert day.gateway.drops["session"] > 10


def test_the_same_seed_plays_the_same_day_to_the_last_message_and_another_seed_another() -> None:
    runs = [_begin(seed, hash_seed) for seed, hash_seed in ((7, 1), (7, 2), (8, 1))]
    first, second, other = (run.communicate()[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len(first) == 65, "a SHA-256 and the end of the line"
    assert first == second
    assert first != other


def _begin(seed: int, hash_seed: int) -> subprocess.Popen[str]:
    """A short day in a process whose sets and dicts have another order."""
    argv = [sys.executable, "-m", "tests.helpers.virtual_day", str(seed), "150"]
    return subprocess.Popen(
        argv, env={**os.environ, "PYTHONHASHSEED": str(hash_seed)}, stdout=subprocess.PIPE, text=True
    )
