"""The one-shot engine with real children: small scripts that play an image command, honest ones and others."""

import json
import os
import signal

import pytest
import trio
import trio.testing

from actors.mflux.oneshot import OneShotEngine, demo_program
from actors.mflux.previews import PreviewLimits, PreviewSettings
from protocol.commands import ImageOptions
from protocol.errors import ImageFailed
from protocol.mail import PreviewTaken, RenderStaged, StepFinished, WorkerLeft
from protocol.stall import StallLimits
from tests.helpers.easel import SAVE, Easel, Told
from tests.helpers.fakes import png


async def test_a_picture_is_drawn_and_stored(easel: Easel) -> None:
    engine = easel.engine("print('Loading')\nfor n in range(3): bar(n, 2)\nprint()\n" + SAVE)
    stored = await engine.draw(easel.job(), easel.told)
    assert easel.artifacts.path(stored.sha256).read_bytes() == png()
    assert (stored.width, stored.height) == (64, 32)
    steps = [letter for letter in easel.told.letters if isinstance(letter, StepFinished)]
    assert (steps[-1].step, steps[-1].steps) == (2, 2)
    assert easel.told.letters[-2:] == [
        WorkerLeft(fate="exited", exit_code=0),
        RenderStaged(stage="saving", basis="indeterminate", message="Checking the picture"),
    ]
    assert os.listdir(easel.jobs) == []


async def test_the_flags_are_mfluxs(easel: Easel) -> None:
    engine = easel.engine("(outside / 'args').write_text(json.dumps(sys.argv[1:]))\n" + SAVE)
    await engine.draw(easel.job(ImageOptions(steps=7, width=64, height=32)), easel.told)
    argv = json.loads(easel.seen("args"))
    assert argv == [
        *("--prompt-file", "prompt.txt", "--output", "picture.png", "--seed", "42"),
        *("--steps", "7", "--width", "64", "--height", "32"),
    ]


async def test_what_was_not_asked_for_is_left_to_the_command(easel: Easel) -> None:
    engine = easel.engine("(outside / 'args').write_text(json.dumps(args))\n" + SAVE)
    await engine.draw(easel.job(ImageOptions()), easel.told)
    assert set(json.loads(easel.seen("args"))) == {"--prompt-file", "--output", "--seed"}


async def test_an_exit_code_that_lies_is_not_believed(easel: Easel) -> None:
    stored = await easel.engine(SAVE + "sys.exit(1)").draw(easel.job(), easel.told)
    assert stored.bytes == len(png())
    assert easel.told.farewells == [WorkerLeft(fate="exited", exit_code=1)]


async def test_a_command_that_has_closed_its_terminal_is_waited_for(easel: Easel) -> None:
    stored = await easel.engine("os.closerange(0, 3)\ntime.sleep(0.3)\n" + SAVE).draw(easel.job(), easel.told)
    assert stored.bytes == len(png())
    assert easel.told.farewells == [WorkerLeft(fate="exited", exit_code=0)]


async def test_exit_0_without_a_picture_is_a_failure(easel: Easel) -> None:
    error = await easel.failure("print('Stopping image generation at step 3/10')")
    assert "without leaving a picture" in error.message
    assert "exited with 0" in error.message
    assert "Stopping image generation at step 3/10" in error.message
    assert not error.retryable


async def test_a_truncated_picture_is_a_failure(easel: Easel) -> None:
    error = await easel.failure("Path(args['--output']).write_bytes(png[:-20])")
    assert "damaged" in error.message
    assert "said nothing" in error.message


async def test_a_picture_of_another_size_is_a_failure(easel: Easel) -> None:
    error = await easel.failure(SAVE, ImageOptions(width=128, height=128))
    assert "64x32 pixels, not 128x128" in error.message


async def test_a_usage_error_is_quoted(easel: Easel) -> None:
    error = await easel.failure(
        "print('an early line')\nfor n in range(9): print('line', n)\nsys.exit('toy: error: unrecognized: --seed')"
    )
    assert "toy exited with 1" in error.message
    assert error.message.endswith("line 8\ntoy: error: unrecognized: --seed")
    assert "early" not in error.message, "the last lines are enough"


async def test_a_killed_command_may_be_tried_again(easel: Easel) -> None:
    error = await easel.failure("bar(1, 4)\nos.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)")
    assert error.retryable
    assert "killed by signal 9" in error.message
    assert easel.told.farewells == [WorkerLeft(fate="exited", exit_code=-9)]


async def test_a_silent_command_is_stopped_and_may_be_tried_again(easel: Easel) -> None:
    script = "(outside / 'pid').write_text(str(os.getpid()))\nbar(0, 4)\nbar(1, 4)\ntime.sleep(60)"
    with trio.fail_after(20):
        error = await easel.failure(script, stalls=StallLimits(steps_s=0.5, slow_factor=0.0))
    assert error.retryable
    assert "toy said nothing for" in error.message
    assert "in stage steps" in error.message
    assert easel.told.farewells == [WorkerLeft(fate="exited", exit_code=-signal.SIGTERM)]
    with pytest.raises(ProcessLookupError):
        os.kill(int(easel.seen("pid")), 0)


async def test_the_second_picture_is_estimated_from_the_first(easel: Easel) -> None:
    engine = easel.engine("time.sleep(1.2)\nfor n in range(3): bar(n, 2); time.sleep(0.1)\ntime.sleep(0.7)\n" + SAVE)
    image = ImageOptions(steps=2, width=64, height=32)
    assert await engine.expected(image) is None
    told = [Told(), Told()]
    for listener in told:
        await engine.draw(easel.job(image), listener)
    first, second = [[letter for letter in one.letters if isinstance(letter, RenderStaged)] for one in told]
    assert {letter.basis for letter in first} == {"indeterminate"}
    estimated = [letter for letter in second if letter.basis == "estimated"]
    assert {letter.stage for letter in estimated} == {"loading", "decoding"}
    assert all(letter.fraction is not None and letter.fraction < 1 for letter in estimated)
    assert all(letter.basis != "measured" for letter in second), "the command has no such bar"
    expected = await engine.expected(image)
    assert expected is not None
    assert 2.0 <= expected[0] <= expected[1] < 10.0
    assert estimated[0].eta_s is not None
    assert estimated[0].eta_s[0] < expected[0]


async def test_a_failed_picture_teaches_nothing(easel: Easel) -> None:
    image = ImageOptions(steps=2, width=64, height=32)
    engine = easel.engine("bar(0, 2)\nbar(1, 2)\nbar(2, 2)\n")
    with pytest.raises(ImageFailed):
        await engine.draw(easel.job(image), easel.told)
    assert await engine.expected(image) is None


async def test_previews_are_shown_when_they_are_asked_for(easel: Easel) -> None:
    image = ImageOptions(steps=12, width=480, height=384)  # enough of them to show one, however busy the machine
    previews = PreviewSettings(limits=PreviewLimits(side=64), limiter=trio.CapacityLimiter(1))
    for settings in (None, previews):
        engine = OneShotEngine(
            demo_program(), artifacts=easel.artifacts, jobs=easel.jobs, environ=os.environ, previews=settings
        )
        easel.told = Told()
        await engine.draw(easel.job(image), easel.told)
        shown = [letter for letter in easel.told.letters if isinstance(letter, PreviewTaken)]
        assert bool(shown) == (settings is not None)
        assert [letter.step for letter in shown] == sorted({letter.step for letter in shown})
        assert all(max(letter.width, letter.height) == 64 for letter in shown)
        assert easel.told.farewells == [WorkerLeft(fate="exited", exit_code=0)]


async def test_the_demo_renderer_is_a_command_like_any_other(easel: Easel) -> None:
    engine = OneShotEngine(demo_program(), artifacts=easel.artifacts, jobs=easel.jobs, environ=os.environ)
    stored = await engine.draw(easel.job(ImageOptions(steps=2, width=64, height=64)), easel.told)
    assert (stored.width, stored.height) == (64, 64)
    assert easel.told.farewells == [WorkerLeft(fate="exited", exit_code=0)]
    assert StepFinished in {type(letter) for letter in easel.told.letters}
