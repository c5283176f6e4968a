"""A hatch's own model, LoRA and input picture with the real mflux: the same pixels warm and one by one, one worker."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from actors.artifacts import ArtifactStore, StoredPicture
from actors.mflux.capabilities import open_capabilities
from actors.mflux.engine import ImageEngine, InputPicture, RenderJob
from actors.mflux.inputs import INPUT
from actors.mflux.offer import NamedLora, NamedModel, Offer
from actors.mflux.oneshot import OneShotEngine, Program
from actors.mflux.warm.engine import WarmSettings, open_warm_engine
from actors.mflux.warm.program import warm_program
from actors.png import chunks
from protocol.commands import ImageOptions, Lora
from protocol.errors import Invalid
from protocol.mail import RenderMail, WorkerLeft
from tests.helpers.gateways import PERSONA
from tests.helpers.tiny_mflux import MFLUX_COMMAND, mflux_env, tiny_checkpoint, tiny_lora

pytestmark = pytest.mark.timeout(120)

PLAIN = ImageOptions(steps=4, width=64, height=64)
WITHOUT_METADATA = {b"IHDR", b"IDAT", b"IEND"}
FROM_INPUT = ImageOptions(steps=2, input="u1")  # which mflux reads at a million pixels
OTHER_WITH_LORA = ImageOptions(steps=4, width=64, height=64, model="other", lora=[Lora(name="ink", scale=0.5)])


class Intake(ArtifactStore):
    """A store that remembers what it was given."""

    given: bytes = b""

    def store_png(self, data: bytes, *, width: int | None = None, height: int | None = None) -> StoredPicture:
        self.given = data
        return super().store_png(data, width=width, height=height)


class Studio:
    """A tiny checkpoint to draw with, and what a hatch may have besides it."""

    def __init__(self, directory: Path) -> None:
        self.own = tiny_checkpoint(directory / "own", layers=1, width=16)  # an input is many tokens
        other = tiny_checkpoint(directory / "other", layers=1)
        lora = tiny_lora(directory / "ink.safetensors", layers=1)
        self.offer = Offer(models={"other": NamedModel(path=str(other))}, loras={"ink": NamedLora(path=str(lora))})
        self.argv = (MFLUX_COMMAND, "--model", str(self.own))
        self.artifacts = Intake(directory / "artifacts")
        self.lora, self.other = lora, other
        self.jobs = directory / "jobs"
        self.input = InputPicture(directory / "input.png", 70, 100)
        Image.linear_gradient("L").convert("RGB").resize((70, 100)).save(self.input.path)
        self.left: list[WorkerLeft] = []

    def one_shot(self) -> ImageEngine:
        return OneShotEngine(
            Program(name=Path(MFLUX_COMMAND).name, argv=self.argv),
            artifacts=self.artifacts,
            jobs=self.jobs,
            environ=mflux_env(),
            offer=self.offer,
        )

    @asynccontextmanager
    async def warm(self) -> AsyncIterator[ImageEngine]:
        program = warm_program(self.argv)
        assert program is not None
        async with open_warm_engine(
            program,
            artifacts=self.artifacts,
            jobs=self.jobs,
            environ=mflux_env(),
            slots=1,
            settings=WarmSettings(),
            offer=self.offer,
        ) as engine:
            yield engine

    async def draw(self, engine: ImageEngine, image: ImageOptions) -> tuple[tuple[int, int], bytes]:
        """The size and the pixels of a picture."""

        async def tell(letter: RenderMail) -> None:
            if isinstance(letter, WorkerLeft):
                self.left.append(letter)

        await engine.check(image)
        picture = self.input if image.input else None
        job = RenderJob(session="s1", persona=PERSONA, image=image, seed=7, input=picture)
        stored = await engine.draw(job, tell)
        self.drawn = self.artifacts.path(stored.sha256).read_bytes()
        return pixels(self.drawn)

    @property
    def workers(self) -> set[str]:
        """The processes that work in the jobs' folder."""
        return {cwd.parent.name for cwd in Path("/proc").glob("[0-9]*/cwd") if _works_in(cwd, self.jobs)}


def _works_in(cwd: Path, directory: Path) -> bool:
    try:
        return cwd.readlink() == directory
    except OSError:
        return False


def pixels(png: bytes) -> tuple[tuple[int, int], bytes]:
    with Image.open(io.BytesIO(png)) as drawn:
        return drawn.size, drawn.tobytes()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("studio"))


async def test_a_hatchs_own_model_lora_and_input_are_the_same_warm_and_one_by_one(studio: Studio) -> None:
    one_shot = studio.one_shot()
    expected = [await studio.draw(one_shot, image) for image in (FROM_INPUT, OTHER_WITH_LORA)]
    async with studio.warm() as warm:
        plain = await studio.draw(warm, PLAIN)
        first = studio.workers
        begun = await studio.draw(warm, FROM_INPUT)
        assert studio.workers == first, "an input needs no other worker"
        other = await studio.draw(warm, OTHER_WITH_LORA)
        (second,) = studio.workers
        assert second not in first
        again = await studio.draw(warm, PLAIN)
        assert len(studio.workers) == 1
    assert [begun, other] == expected
    assert begun[0] == (64, 96), "in the shape of its input"
    assert len({picture for _, picture in (plain, begun, other)}) == 3
    assert again == plain
    assert studio.left[-4:] == [WorkerLeft(fate="idle")] * 4
    assert list(studio.jobs.iterdir()) == []


async def test_a_picture_holds_nothing_of_the_machine_that_it_was_drawn_on(studio: Studio) -> None:
    """mflux itself writes the places of model, LoRAs and input into a picture, beside the prompt."""
    image = msgspec.structs.replace(OTHER_WITH_LORA, input="u1")
    one_by_one = await studio.draw(studio.one_shot(), image)
    for place in (studio.lora, studio.other, INPUT):
        assert str(place).encode() in studio.artifacts.given
    assert pixels(studio.artifacts.given) == one_by_one
    async with studio.warm() as warm:
        one_by_one_file = studio.drawn
        assert await studio.draw(warm, image) == one_by_one
    for png in (one_by_one_file, studio.drawn):
        assert {chunk.kind for chunk in chunks(png)} == WITHOUT_METADATA
        assert str(studio.jobs.parent).encode() not in png


async def test_mflux_itself_says_what_its_command_takes(studio: Studio) -> None:
    lens = str(Path(MFLUX_COMMAND).with_name("mflux-generate-lens"))
    async with open_capabilities(lens, environ=mflux_env(), folder=studio.jobs.parent / "mflux") as capabilities:
        engine = OneShotEngine(
            Program(name="lens", argv=(lens,)),  # under a name that no table knows
            artifacts=studio.artifacts,
            jobs=studio.jobs,
            environ=mflux_env(),
            offer=studio.offer,
            capabilities=capabilities,
        )
        await engine.confirm(ImageOptions(model="other", steps=4))
        for field, image in {
            "guidance": ImageOptions(guidance=2.0),
            "negative_prompt": ImageOptions(negative_prompt="fog"),
            "lora": ImageOptions(lora=["ink"]),
            "input": ImageOptions(input="u1"),
        }.items():
            with pytest.raises(Invalid) as refused:
                await engine.check(image)
            assert refused.value.field == f"hatch.image.{field}"
