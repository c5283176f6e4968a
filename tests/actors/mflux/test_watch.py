"""Bytes of a terminal in, mail for the hatch out: stages, steps, their times and what is left."""

from collections.abc import Sequence

import pytest

from actors.mflux.watch import BarWatch
from protocol.forecast import Forecast, Past, Span
from protocol.mail import RenderMail, RenderStaged, StepFinished
from protocol.stall import StallLimits


def frame(done: int, total: int = 4) -> bytes:
    """What tqdm draws for a bar without a description."""
    percent = 100 * done // total
    bar = "█" * (percent // 10)
    return f"\r{percent:3d}%|{bar:10}| {done}/{total} [00:0{done}<00:0{total - done},  1.00s/it]".encode()


def labelled(description: str, percent: int, done: int, total: int) -> bytes:
    return f"\r{description}: {percent:3d}%|███       | {done}/{total} [00:01<00:02,  1.00s/it]".encode()


def steps(letters: list[RenderMail]) -> list[StepFinished]:
    return [letter for letter in letters if isinstance(letter, StepFinished)]


def stages(letters: Sequence[RenderMail]) -> list[tuple[str, str, float | None]]:
    return [(letter.stage, letter.basis, letter.fraction) for letter in letters if isinstance(letter, RenderStaged)]


def test_steps_are_timed_as_they_arrive() -> None:
    watch = BarWatch(0.0)
    watch.feed(b"Loading\r\n", 1.0)
    letters: list[RenderMail] = []
    for done, now in ((0, 10.0), (1, 40.0), (2, 42.0), (3, 45.0)):
        letters += watch.feed(frame(done), now)
    assert [(letter.step, letter.steps, letter.step_s) for letter in steps(letters)] == [
        (0, 4, None),
        (1, 4, 30.0),
        (2, 4, 2.0),
        (3, 4, 3.0),
    ]


def test_what_is_left_is_reckoned_without_the_first_step_as_soon_as_possible() -> None:
    watch = BarWatch(0.0)
    etas = [
        steps(watch.feed(frame(done, 10), now))[0].eta_s for done, now in ((0, 0.0), (1, 30.0), (2, 32.0), (3, 36.0))
    ]
    assert etas == [None, (270.0, 270.0), (16.0, 16.0), (21.0, 28.0)], "median and longest of the later steps"


def test_several_steps_in_one_read_share_the_time() -> None:
    watch = BarWatch(0.0)
    watch.feed(frame(0), 0.0)
    watch.feed(frame(1), 1.0)
    (letter,) = steps(watch.feed(frame(2) + frame(3), 5.0))
    assert (letter.step, letter.step_s) == (3, 2.0)


def test_bytes_may_be_cut_anywhere() -> None:
    stream = b"".join(frame(done) for done in range(5)) + frame(4) + b"\r\nImage saved\r\n"
    for size in (1, 3, 7, 50):
        watch = BarWatch(0.0)
        letters = [
            letter for at in range(0, len(stream), size) for letter in watch.feed(stream[at : at + size], float(at))
        ]
        assert [letter.step for letter in steps(letters)] == sorted({letter.step for letter in steps(letters)})
        assert steps(letters)[-1].step == 4
        assert stages(letters) == [("decoding", "indeterminate", None)], "once, after the last step"


def test_the_same_frame_again_says_nothing() -> None:
    watch = BarWatch(0.0)
    assert steps(watch.feed(frame(2), 1.0))
    assert watch.feed(frame(2), 2.0) == []


def test_a_second_loop_is_timed_afresh() -> None:
    watch = BarWatch(0.0)
    for done, now in ((0, 0.0), (1, 50.0), (2, 100.0)):
        watch.feed(frame(done, 2), now)
    (begun,) = steps(watch.feed(frame(0, 8), 200.0))
    assert (begun.step, begun.steps, begun.step_s, begun.eta_s) == (0, 8, None, None)
    (first,) = steps(watch.feed(frame(1, 8), 203.0))
    assert (first.step_s, first.eta_s) == (3.0, (21.0, 21.0))


@pytest.mark.parametrize(
    ("description", "stage"),
    [
        ("Fetching 10 files", "downloading"),
        ("Loading weights", "loading"),
        ("PiD decode", "decoding"),
        ("Saving components", "saving"),
    ],
)
def test_other_bars_are_stages_with_a_measured_share(description: str, stage: str) -> None:
    assert stages(BarWatch(0.0).feed(labelled(description, 70, 7, 10), 1.0)) == [(stage, "measured", 0.7)]


def test_a_bar_without_a_total_has_no_share() -> None:
    watch = BarWatch(0.0)
    letters = watch.feed(b"\rFetching 10 files: 3it [00:01,  2.00it/s]\r\n", 1.0)
    assert stages(letters) == [("downloading", "measured", None)]


def test_a_bar_nobody_knows_and_lines_say_nothing() -> None:
    watch = BarWatch(0.0)
    assert watch.feed(labelled("Baking bread", 70, 7, 10) + b"\r\n", 1.0) == []
    assert watch.feed(b"\x1b[1mTraceback\x1b[0m: 50% of it\r\nValueError: no\r\n", 2.0) == []
    assert watch.last_lines[-1] == "ValueError: no"


def test_a_step_bar_without_a_total_says_nothing() -> None:
    assert BarWatch(0.0).feed(b"\r3it [00:01,  2.00it/s]\r\n", 1.0) == []


# --- silence

PAST: Past = {Span.LOAD: [10.0], Span.FIRST_STEP: [4.0], Span.STEP: [2.0], Span.DECODE: [3.0]}


def test_without_a_past_a_silence_says_nothing() -> None:
    watch = BarWatch(0.0)
    assert watch.look(1.0) == []
    for done in range(3):
        watch.feed(frame(done), 10.0 + done)
        assert watch.look(10.5 + done) == []


def test_a_silence_is_estimated_towards_the_next_tick() -> None:
    watch = BarWatch(0.0, Forecast(PAST, 4))
    assert stages(watch.look(5.0)) == [("loading", "estimated", 0.475)]
    watch.feed(frame(0), 10.0)
    assert stages(watch.look(12.0)) == [("steps", "estimated", 0.475 / 4)]
    watch.feed(frame(1), 14.0)
    (letter,) = watch.look(15.0)
    assert letter == RenderStaged(
        stage="steps", basis="estimated", message="Step 1 of 4", fraction=1.475 / 4, eta_s=(8.0, 8.0)
    )
    for done in (2, 3, 4):
        watch.feed(frame(done), 14.0 + 2 * done)
    assert stages(watch.look(23.5)) == [("decoding", "estimated", 0.475)]


def test_when_the_past_has_nothing_more_to_say_that_is_said_once() -> None:
    watch = BarWatch(0.0, Forecast(PAST, 4), "encoding")
    assert stages(watch.look(9.5)) == [("encoding", "estimated", 0.9025)]
    assert stages(watch.look(10.4)) == [("encoding", "indeterminate", None)]
    assert watch.look(10.9) == []


def test_a_stage_with_a_bar_of_its_own_is_never_estimated() -> None:
    watch = BarWatch(0.0, Forecast(PAST, 4))
    watch.feed(labelled("Loading weights", 30, 3, 10), 1.0)
    assert watch.look(5.0) == []


def test_what_follows_a_download_is_not_known() -> None:
    watch = BarWatch(0.0, Forecast(PAST, 4))
    watch.feed(labelled("Fetching 10 files", 70, 7, 10), 1.0)
    assert watch.look(2.0) == [], "it goes on"
    watch.feed(labelled("Fetching 10 files", 100, 10, 10), 3.0)
    assert stages(watch.look(4.0)) == [("loading", "indeterminate", None)]
    assert watch.look(5.0) == []
    assert watch.downloaded


def test_a_job_that_says_nothing_for_too_long_is_reproached_with_it() -> None:
    limits = StallLimits(steps_s=100, downloading_s=200, silent_s=1000)
    watch = BarWatch(0.0)
    assert watch.stalled(limits, 999.0) is None
    assert watch.stalled(limits, 1000.0) == "said nothing for 1000 s in stage loading"
    watch.feed(frame(0), 1000.0)
    watch.feed(frame(1), 1001.0)
    assert watch.stalled(limits, 1100.0) is None
    assert watch.stalled(limits, 1101.5) == "said nothing for 100 s in stage steps"
    watch.feed(b"still here\r\n", 1101.5)
    assert watch.stalled(limits, 1102.0) is None
