"""From stages and fractions to one percent."""

from typing import get_args

import pytest

from protocol.events import Progress, Stage
from protocol.progress import SPANS, ProgressModel


def percent(said: Progress | None) -> float:
    assert said is not None
    return said.percent


def with_persona() -> ProgressModel:
    model = ProgressModel("s1")
    model.persona_complete()
    return model


def test_every_stage_has_its_span_and_they_follow_each_other() -> None:
    assert set(SPANS) == set(get_args(Stage))
    spans = [SPANS[stage] for stage in get_args(Stage)]
    assert spans == sorted(spans)
    assert all(begin <= end for begin, end in spans)


@pytest.mark.parametrize(
    ("stage", "fraction", "expected"),
    [
        ("downloading", None, 33.0),
        ("downloading", 1.0, 35.0),
        ("steps", 0.0, 38.0),
        ("steps", 0.5, 66.5),
        ("steps", 1.0, 95.0),
        ("decoding", 0.5, 96.5),
        ("saving", 1.0, 99.5),
        ("saving", 7.0, 99.5),
        ("steps", -1.0, 38.0),
    ],
)
def test_a_fraction_of_a_stage(stage: Stage, fraction: float | None, expected: float) -> None:
    assert percent(with_persona().reach(stage, "measured", "", fraction)) == expected


@pytest.mark.parametrize("fraction", [0.999, 1.0, 2.0])
def test_writing_stays_below_33_however_much_is_written(fraction: float) -> None:
    model = ProgressModel("s1")
    assert percent(model.reach("persona", "estimated", "", fraction)) < 33
    assert percent(model.persona_complete()) == 33.0


def test_it_never_goes_back_within_an_epoch() -> None:
    model = with_persona()
    model.reach("steps", "measured", "", 0.5)
    again = model.reach("loading", "indeterminate", "")
    assert again is not None
    assert (again.percent, again.stage) == (66.5, "loading")


def test_what_was_estimated_is_not_called_measured_because_the_engine_said_less() -> None:
    model = with_persona()
    model.reach("decoding", "estimated", "", 0.5)
    overtaken = model.reach("decoding", "measured", "Its bar", 0.1)
    assert overtaken is not None
    assert (overtaken.percent, overtaken.basis) == (96.5, "estimated")
    for fraction in (0.5, 0.9):
        reached = model.reach("decoding", "measured", "", fraction)
        assert reached is not None
        assert reached.basis == "measured"


def test_a_new_epoch_may_fall() -> None:
    model = with_persona()
    model.reach("steps", "measured", "", 0.5)
    model.begin_epoch(33.0)
    assert percent(model.reach("waiting", "indeterminate", "")) == 33.0
    model.begin_epoch(0.0)
    assert percent(model.reach("queued", "indeterminate", "")) == 0.0


def test_the_same_is_said_once() -> None:
    model = ProgressModel("s1")
    assert model.reach("persona", "estimated", "Writing", 0.5) is not None
    assert model.reach("persona", "estimated", "Writing", 0.5) is None
    assert model.reach("persona", "estimated", "Writing", 0.5, eta_s=(1.0, 2.0)) is not None
    model.begin_epoch(0.0)
    assert model.reach("persona", "estimated", "Writing", 0.5, eta_s=(1.0, 2.0)) is not None


def test_details_are_passed_on() -> None:
    said = with_persona().reach("steps", "measured", "Step", 0.5, step=2, steps=4, step_s=0.5, eta_s=(1.0, 2.0))
    assert said == Progress(
        session="s1",
        percent=66.5,
        stage="steps",
        basis="measured",
        message="Step",
        step=2,
        steps=4,
        step_s=0.5,
        eta_s=(1.0, 2.0),
    )


def test_nothing_but_done_reaches_100() -> None:
    model = with_persona()
    for stage in get_args(Stage):
        model.reach(stage, "measured", "", 1.0)
    assert model.percent == 99.5
    assert model.done().percent == 100.0
