"""What a hatch may choose of a one-shot command: what it honours, what mflux says of it, and how it is passed on."""

import json
import os

import msgspec
import pytest
import trio
import trio.testing

from actors.mflux.capabilities import Capabilities, Flag, open_capabilities
from actors.mflux.engine import InputPicture
from protocol.commands import ImageOptions, Lora
from protocol.errors import Invalid
from tests.helpers.easel import MFLUX_FLAGS, SAVE, Easel
from tests.helpers.mflux_environment import MfluxEnvironment, dump_of


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
