"""The one-shot engine with real children: small scripts that play an image command, honest ones and others."""

import json
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from actors.artifacts import ArtifactStore
from actors.mflux.capabilities import Capabilities, Flag, open_capabilities
from actors.mflux.engine import InputPicture, RenderJob
from actors.mflux.offer import NamedLora, NamedModel, Offer
from actors.mflux.oneshot import OneShotEngine, Program, child_environment, demo_program
from actors.mflux.previews import PreviewLimits, PreviewSettings
from protocol.commands import ImageOptions, Lora
from protocol.errors import ImageFailed, ImageUnavailable, Invalid
from protocol.mail import PreviewTaken, RenderMail, RenderStaged, StepFinished, WorkerLeft
from protocol.persona import Persona
from protocol.stall import StallLimits
from tests.helpers.fakes import PERSONA, png
from tests.helpers.mflux_environment import MfluxEnvironment, dump_of

PRELUDE = """
import json, os, signal, sys, time
from pathlib import Path

outside = Path(__file__).parent  # where the test can look, other than in the job's own directory
args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
png = (outside / "png").read_bytes()

def bar(done, total):
    print(f"\\r{100 * done // total:3d}%|#         | {done}/{total} [00:01<00:01,  1.00s/it]", end="", flush=True)

"""
SAVE = "Path(args['--output']).write_bytes(png)\n"
SMALL = ImageOptions(width=64, height=32)
OFFER = Offer(
    models={"mine": NamedModel(path="/models/mine", base_model="dev"), "schnell": NamedModel(path="schnell")},
    loras={"ink": NamedLora(path="someone/ink", scale=0.8)},
)
MFLUX_FLAGS = tuple(
    Flag(flag=flag) for flag in ("--model", "--lora", "--guidance", "--negative-prompt", "--image-path")
)


class Told:
    """What an engine tells, and an event at its first step."""

    def __init__(self) -> None:
        self.letters: list[RenderMail] = []
        self.stepped = trio.Event()

    async def __call__(self, letter: RenderMail) -> None:
        await trio.lowlevel.checkpoint()
        self.letters.append(letter)
        if isinstance(letter, StepFinished):
            self.stepped.set()

    @property
    def farewells(self) -> list[WorkerLeft]:
        return [letter for letter in self.letters if isinstance(letter, WorkerLeft)]


class Easel:
    """An engine whose command is a script of the test."""

    def __init__(self, directory: Path) -> None:
        self.outside = directory
        self.jobs = directory / "jobs"
        self.artifacts = ArtifactStore(directory / "artifacts")
        self.told = Told()
        (directory / "png").write_bytes(png())

    def engine(
        self,
        script: str,
        *,
        persona: bool = False,
        stalls: StallLimits | None = None,
        name: str = "toy",
        flags: tuple[Flag, ...] = (),
        line: str = "",
        capabilities: Capabilities | None = None,
    ) -> OneShotEngine:
        path = self.outside / "toy.py"
        path.write_text(PRELUDE + script)
        argv = (sys.executable, "-S", str(path), *line.split())
        return OneShotEngine(
            Program(name=name, argv=argv, takes_persona=persona, flags=flags),
            artifacts=self.artifacts,
            jobs=self.jobs,
            environ=os.environ,
            stalls=stalls or StallLimits(),
            offer=OFFER,
            capabilities=capabilities,
        )

    def job(
        self, image: ImageOptions = SMALL, persona: Persona = PERSONA, picture: InputPicture | None = None
    ) -> RenderJob:
        return RenderJob(session="s1", persona=persona, image=image, seed=42, input=picture)

    async def failure(self, script: str, image: ImageOptions = SMALL, stalls: StallLimits | None = None) -> ImageFailed:
        """The one with which the script's picture fails; nothing of the job is left."""
        with pytest.raises(ImageFailed) as failed:
            await self.engine(script, stalls=stalls).draw(self.job(image), self.told)
        assert os.listdir(self.jobs) == []
        assert len(self.told.farewells) == 1
        return failed.value

    def seen(self, name: str) -> bytes:
        return (self.outside / name).read_bytes()


@pytest.fixture
def easel(tmp_path: Path) -> Easel:
    return Easel(tmp_path)


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


@pytest.mark.parametrize(
    "prompt",
    ["--help", "-", "$(touch x); `id` & 'a' \"b\"", "two\nlines\n", "\u2028 \x85 🦉 é", "%s {0} \\n", " padded "],
)
async def test_any_prompt_arrives_as_it_is_and_by_file_only(easel: Easel, prompt: str) -> None:
    engine = easel.engine(
        "(outside / 'prompt').write_bytes(Path(args['--prompt-file']).read_bytes())\n"
        "(outside / 'args').write_text(json.dumps(sys.argv[1:]))\n" + SAVE
    )
    persona = msgspec.structs.replace(PERSONA, avatar_prompt=prompt)
    await engine.draw(easel.job(persona=persona), easel.told)
    assert easel.seen("prompt").decode() == prompt
    assert prompt not in json.loads(easel.seen("args"))


async def test_a_command_that_knows_personas_gets_the_whole_one(easel: Easel) -> None:
    script = "(outside / 'persona').write_bytes(Path(args['--persona-file']).read_bytes())\n" + SAVE
    await easel.engine(script, persona=True).draw(easel.job(), easel.told)
    assert msgspec.json.decode(easel.seen("persona"), type=Persona) == PERSONA


async def test_the_child_sees_a_whitelisted_environment(easel: Easel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HATCHERY_TOKEN", "secret")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    engine = easel.engine("(outside / 'env').write_text(json.dumps(dict(os.environ)))\n" + SAVE)
    await engine.draw(easel.job(), easel.told)
    env = json.loads(easel.seen("env"))
    assert not {"HATCHERY_TOKEN", "OPENAI_API_KEY", "PYTHONPATH", "TQDM_DISABLE"} & set(env)
    assert (env["HF_HUB_OFFLINE"], env["PATH"]) == ("1", os.environ["PATH"])
    assert (env["TQDM_MININTERVAL"], env["TERM"]) == ("0", "xterm-256color")


def test_an_environment_without_a_path_gets_the_systems() -> None:
    assert child_environment({"HOME": "/home/ann", "SECRET": "x"}) == {
        "HOME": "/home/ann",
        "PATH": os.defpath,
        "TERM": "xterm-256color",
        "TQDM_MININTERVAL": "0",
        "PYTHONUNBUFFERED": "1",
    }


async def test_the_child_has_a_terminal_and_a_directory_of_its_own(easel: Easel) -> None:
    engine = easel.engine(
        "names = sorted(os.listdir())\n"
        "seen = [os.isatty(0) and os.isatty(1) and os.isatty(2), os.getcwd(), names]\n"
        "(outside / 'seen').write_text(json.dumps(seen))\n" + SAVE
    )
    await engine.draw(easel.job(), easel.told)
    terminal, directory, names = json.loads(easel.seen("seen"))
    assert terminal
    assert Path(directory).parent == easel.jobs.resolve()
    assert names == ["prompt.txt"]


async def test_a_cancel_in_mid_run_leaves_no_process_and_no_directory(easel: Easel) -> None:
    engine = easel.engine(
        "(outside / 'pid').write_text(str(os.getpid()))\nbar(1, 4)\n"
        "Path('half.png').write_bytes(png[:20])\ntime.sleep(60)"
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.draw, easel.job(), easel.told)
            await easel.told.stepped.wait()
            cancelled_at = trio.current_time()
            nursery.cancel_scope.cancel()
    assert trio.current_time() - cancelled_at < 0.5
    assert easel.told.farewells == [WorkerLeft(fate="exited", exit_code=-signal.SIGTERM)]
    with pytest.raises(ProcessLookupError):
        os.kill(int(easel.seen("pid")), 0)
    assert os.listdir(easel.jobs) == []


async def test_a_child_that_will_not_listen_is_killed_before_the_farewell(easel: Easel) -> None:
    engine = easel.engine(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n(outside / 'pid').write_text(str(os.getpid()))\n"
        "bar(1, 4)\ntime.sleep(60)"
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.draw, easel.job(), easel.told)
            await easel.told.stepped.wait()
            nursery.cancel_scope.cancel()
    assert easel.told.farewells == [WorkerLeft(fate="exited", exit_code=-signal.SIGKILL)]
    with pytest.raises(ProcessLookupError):
        os.kill(int(easel.seen("pid")), 0)


@pytest.mark.parametrize("checkpoints", range(12))
async def test_a_cancel_at_any_moment_of_the_beginning_leaves_nothing(easel: Easel, checkpoints: int) -> None:
    engine = easel.engine("time.sleep(60)")
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.draw, easel.job(), easel.told)
            for _ in range(checkpoints):
                await trio.sleep(0.002)
            nursery.cancel_scope.cancel()
    assert not easel.jobs.exists() or os.listdir(easel.jobs) == []
    assert len(easel.told.farewells) <= 1


async def test_a_command_that_is_not_there(easel: Easel) -> None:
    program = Program(name="toy", argv=("no-such-command",))
    engine = OneShotEngine(program, artifacts=easel.artifacts, jobs=easel.jobs, environ=os.environ)
    with pytest.raises(ImageUnavailable, match="no-such-command"):
        await engine.draw(easel.job(), easel.told)
    assert easel.told.letters == [], "no worker, no farewell"
    assert os.listdir(easel.jobs) == []


async def test_a_disk_without_room_for_jobs(easel: Easel) -> None:
    easel.jobs.write_text("a file in the way")
    with pytest.raises(ImageUnavailable, match="cannot be written"):
        await easel.engine(SAVE).draw(easel.job(), easel.told)


async def test_a_disk_without_room_for_pictures(easel: Easel) -> None:
    (easel.outside / "artifacts").write_text("a file in the way")
    with pytest.raises(ImageUnavailable, match="cannot be written"):
        await easel.engine(SAVE).draw(easel.job(), easel.told)
    assert os.listdir(easel.jobs) == []


@pytest.mark.parametrize(
    ("image", "field"),
    [
        (ImageOptions(model="x"), "model"),
        (ImageOptions(guidance=0.0), "guidance"),
        (ImageOptions(lora=[]), "lora"),
        (ImageOptions(negative_prompt=""), "negative_prompt"),
        (ImageOptions(input="u1"), "input"),
        (ImageOptions(width=100), "width"),
        (ImageOptions(height=31), "height"),
    ],
)
async def test_options_that_it_does_not_honour_are_refused(easel: Easel, image: ImageOptions, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        await easel.engine("").check(image)
    assert refused.value.field == f"hatch.image.{field}"


async def test_the_options_that_it_honours(easel: Easel) -> None:
    engine = easel.engine("")
    await engine.check(ImageOptions(steps=3, width=64, height=1024, seed=7))
    assert engine.planned_steps(ImageOptions(steps=3)) == 3
    assert engine.planned_steps(ImageOptions()) == 0, "only the command knows"


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


async def test_what_a_hatch_chooses_arrives_as_flags_that_no_text_can_forge(easel: Easel) -> None:
    engine = easel.engine(
        "(outside / 'args').write_text(json.dumps(sys.argv[1:]))\nPath('picture.png').write_bytes(png)",
        flags=MFLUX_FLAGS,
        line="-m own --base-model krea --quantize 8",
    )
    image = ImageOptions(
        model="mine",
        lora=["ink", Lora(name="ink", scale=-0.00001)],
        guidance=2.5,
        negative_prompt="--output=/etc/passwd",
        width=64,
        height=32,
    )
    await engine.draw(easel.job(image), easel.told)
    argv = json.loads(easel.seen("args"))
    assert argv[:10] == [
        *("--quantize", "8", "--model=/models/mine", "--base-model=dev"),
        *("--lora", "someone/ink", "0.800000", "--lora", "someone/ink", "-0.000010"),
    ]
    assert argv[-2:] == ["--guidance=2.5", "--negative-prompt=--output=/etc/passwd"]


@pytest.mark.parametrize("flag", ["--image-path", "--image-paths"])
async def test_an_input_is_laid_beside_the_job_and_gives_it_its_shape(easel: Easel, flag: str) -> None:
    engine = easel.engine(
        f"name = next(word for word in sys.argv if word.startswith('{flag}=')).partition('=')[2]\n"
        "(outside / 'copy').write_bytes(Path(name).read_bytes())\n"
        "(outside / 'args').write_text(json.dumps(args))\nPath('picture.png').write_bytes(png)",
        flags=(Flag(flag=flag),),
    )
    upload = easel.outside / "png"
    job = easel.job(ImageOptions(input="u1"), picture=InputPicture(upload, 64, 32))
    stored = await engine.draw(job, easel.told)
    assert easel.seen("copy") == upload.read_bytes()
    assert (stored.width, stored.height) == (64, 32)
    args = json.loads(easel.seen("args"))
    assert (args["--width"], args["--height"]) == ("64", "32")


async def test_what_each_choice_takes_is_learned_apart(easel: Easel) -> None:
    engine = easel.engine("", flags=MFLUX_FLAGS)
    options = [{}, {"model": "mine"}, {"model": "schnell"}, {"lora": ["ink"]}, {"input": "u1"}]
    assert len({engine._work(msgspec.convert(option, ImageOptions)) for option in options}) == len(options)


@pytest.mark.parametrize(
    ("image", "field", "said"),
    [
        (ImageOptions(model="/models/mine"), "model", "choose one of mine, schnell"),
        (ImageOptions(lora=["/loras/ink"]), "lora[0]", "choose one of ink"),
        (ImageOptions(guidance=2.0), "guidance", "it is distilled"),
        (ImageOptions(negative_prompt="fog"), "negative_prompt", "does not honour"),
    ],
)
async def test_what_mflux_says_of_its_command_decides(easel: Easel, image: ImageOptions, field: str, said: str) -> None:
    distilled = Flag(flag="--guidance", status="ignored", reason="it is distilled")
    engine = easel.engine("", flags=(Flag(flag="--model"), Flag(flag="--lora"), distilled))
    with pytest.raises(Invalid, match=said) as refused:
        await engine.check(image)
    assert refused.value.field == f"hatch.image.{field}"


async def test_what_depends_on_the_model_is_checked_for_the_one_that_was_asked_for(easel: Easel) -> None:
    flags = (*MFLUX_FLAGS, Flag(flag="--guidance", status="conditional", condition="dev"))
    engine = easel.engine("", name="mflux-generate", flags=flags, line="--model dev")
    await engine.check(ImageOptions(guidance=2.0))
    await engine.check(ImageOptions(guidance=2.0, model="mine"))
    with pytest.raises(Invalid) as refused:
        await engine.check(ImageOptions(guidance=2.0, model="schnell"))
    assert refused.value.field == "hatch.image.guidance"


async def test_a_hatch_whose_model_is_no_longer_offered_is_not_drawn_with_another(easel: Easel) -> None:
    with pytest.raises(Invalid):
        await easel.engine(SAVE, flags=MFLUX_FLAGS).draw(easel.job(ImageOptions(model="gone")), easel.told)
    assert easel.told.letters == []


async def test_a_hatch_waits_for_what_mflux_says_and_its_check_does_not(easel: Easel) -> None:
    environment = MfluxEnvironment(easel.outside / "mflux", dump_of("mflux-paint", ["--width", "--guidance"]))
    environment.hold()
    async with open_capabilities(
        environment.path("mflux-paint"), environ=os.environ, folder=environment.kept
    ) as capabilities:
        engine = easel.engine("", capabilities=capabilities)
        refused, passed = ImageOptions(lora=["ink"]), ImageOptions(guidance=2.0)
        for image in (refused, passed):
            await engine.check(image)
        await engine.confirm(ImageOptions(width=64, height=32, steps=4))
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(engine.confirm, passed)
                await trio.testing.wait_all_tasks_blocked()
                assert capabilities.flags is None
                environment.release()
        for image in (refused, ImageOptions(height=32)):
            for check in (engine.check, engine.confirm):
                with pytest.raises(Invalid, match="does not honour"):
                    await check(image)


async def test_a_known_model_is_checked_before_mflux_has_said_anything_and_when_it_does_not(easel: Easel) -> None:
    environment = MfluxEnvironment(easel.outside / "mflux", dump_of("mflux-other", []))
    path = environment.path("mflux-generate-qwen-2.1-edit")
    capabilities = Capabilities(path, environ=os.environ, folder=environment.kept)
    script = SAVE.replace("args['--output']", "[word for word in sys.argv if word == 'picture.png'][0]")
    engine = easel.engine(
        "(outside / 'argv').write_text(repr(sys.argv))\n" + script,
        name="mflux-generate-qwen-2.1-edit",
        capabilities=capabilities,
    )
    for _ in range(2):
        with pytest.raises(Invalid, match="multiples of 32"):
            await engine.check(ImageOptions(width=48))
        await engine.check(ImageOptions(lora=["ink"]))
        await capabilities.learn()
    picture = InputPicture(easel.outside / "png", 64, 32)
    await engine.draw(easel.job(ImageOptions(input="u1", width=64, height=32), picture=picture), easel.told)
    assert "--image-paths=input.png" in (easel.outside / "argv").read_text(), "without mflux, the table knows the flag"
