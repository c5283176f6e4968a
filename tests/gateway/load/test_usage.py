"""What /proc and /metrics tell, read back."""

import os
import subprocess
import sys
import time

import pytest

from gateway.load.usage import Exposition, parse_metrics, pin, read_usage

EXPOSITION = """\
# HELP hatchery_outbox_drops_total What slow clients lost
# TYPE hatchery_outbox_drops_total counter
hatchery_outbox_drops_total{kind="progress"} 12.0
hatchery_outbox_drops_total{kind="session"} 1.0
hatchery_sessions{state="queued"} 0.0
hatchery_loop_lag_seconds_bucket{le="0.001"} 90.0
hatchery_loop_lag_seconds_bucket{le="0.1"} 99.0
hatchery_loop_lag_seconds_bucket{le="+Inf"} 100.0
hatchery_loop_lag_seconds_count 100.0
hatchery_loop_lag_seconds_sum 0.75
"""


def test_the_drops_and_the_lag_are_found() -> None:
    found = parse_metrics(EXPOSITION)
    assert found.drops == {"progress": 12.0, "session": 1.0}
    assert (found.looks, found.lag_sum_s) == (100.0, 0.75)
    assert found.lag_within_s(0.5) == 0.001
    assert found.lag_within_s(0.99) == 0.1
    assert found.lag_within_s(1.0) == float("inf")


def test_what_came_since() -> None:
    later = EXPOSITION.replace("12.0", "15.0").replace("100.0", "101.0")
    since = parse_metrics(later).since(parse_metrics(EXPOSITION))
    assert since.drops == {"progress": 3.0, "session": 0.0}
    assert since.looks == 1.0


def test_nothing_is_made_up() -> None:
    empty = parse_metrics("garbage {\n\nhatchery_outbox_drops_total{kind=} x\n")
    assert empty == Exposition({}, {}, 0.0)
    assert empty.lag_within_s(0.99) == 0.0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc")
def test_a_process_s_processor_time_and_memory_are_seen() -> None:
    before = read_usage(os.getpid())
    ballast, until = bytearray(b"x") * (64 << 20), time.process_time() + 0.2
    while time.process_time() < until:
        pass
    after = read_usage(os.getpid())
    assert before is not None
    assert after is not None
    assert after.cpu_s - before.cpu_s == pytest.approx(0.2, abs=0.15)
    assert after.rss_bytes - before.rss_bytes > len(ballast) // 2


def test_of_no_process_there_is_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert read_usage(child.pid) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no affinity")
def test_a_process_is_pinned_to_one_core() -> None:
    cores = sorted(os.sched_getaffinity(0))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        pinned = pin(child.pid, 1)
        allowed = os.sched_getaffinity(child.pid)
        child.communicate(b"\n")
    assert pinned is (len(cores) > 1)
    assert allowed == ({cores[1]} if pinned else set(cores))
