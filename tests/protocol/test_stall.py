"""How long each stage of an image job may be silent."""

import math
from typing import get_args

import pytest

from protocol.events import Stage
from protocol.stall import StallLimits, stalls_at

LIMITS = StallLimits(steps_s=100, slow_factor=4, downloading_s=200, silent_s=1000)


@pytest.mark.parametrize("stage", ["loading", "encoding", "decoding", "saving"])
def test_a_stage_that_says_nothing_may_be_silent_for_long(stage: Stage) -> None:
    assert stalls_at(LIMITS, stage, 7.0) == 1007.0
    assert stalls_at(LIMITS, stage, 7.0, step=8, step_s=500.0) == 1007.0


def test_steps_talk_once_the_first_is_done_for_it_loads_the_weights() -> None:
    assert stalls_at(LIMITS, "steps", 7.0) == 1007.0
    assert stalls_at(LIMITS, "steps", 7.0, step=1) == 107.0
    assert stalls_at(LIMITS, "steps", 8.0, step=1) == 108.0  # it has said something


def test_a_slow_machine_or_a_large_picture_gets_the_time_it_is_known_to_need() -> None:
    assert stalls_at(LIMITS, "steps", 7.0, step=1, step_s=3.0) == 107.0
    assert stalls_at(LIMITS, "steps", 7.0, step=1, step_s=60.0) == 247.0


def test_a_download_talks() -> None:
    assert stalls_at(LIMITS, "downloading", 7.0) == 207.0


def test_no_job_no_stall_and_every_stage_has_its_answer() -> None:
    idle = [stage for stage in get_args(Stage) if stalls_at(LIMITS, stage, 7.0) == math.inf]
    assert idle == ["queued", "persona", "waiting"]
