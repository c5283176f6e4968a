"""What the warm engine promises before it draws: steps, and which options it honours."""

import os
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import pytest

from actors.artifacts import ArtifactStore
from actors.mflux.capabilities import Capabilities
from actors.mflux.engine import RenderJob, Tell
from actors.mflux.history import MemoryHistory, Pace
from actors.mflux.offer import NamedLora, NamedModel, Offer
from actors.mflux.warm.child import WarmChild
from actors.mflux.warm.engine import WarmEngine
from actors.mflux.warm.pool import Seat
from actors.mflux.warm.program import WarmProgram, warm_program
from actors.mflux.warm.wire import Draw, Drawn
from protocol.commands import ImageOptions, Lora
from protocol.errors import ImageFailed, Invalid
from protocol.forecast import Forecast
from protocol.mail import RenderMail
from protocol.maker import Maker
from protocol.restart import RestartPolicy
from tests.helpers.fakes import PERSONA
from tests.helpers.mflux_environment import MfluxEnvironment, dump_of

OFFER = Offer(
    models={"mine": NamedModel(path="/models/mine"), "turbo": NamedModel(path="z-image-turbo")},
    loras={"ink": NamedLora(path="/loras/ink.safetensors", scale=0.8)},
)
DISTINCT: list[dict[str, Any]] = [
    {},
    {"model": "mine"},
    {"lora": ["ink"]},
    {"lora": [Lora(name="ink", scale=0.5)]},
    {"input": "upload"},
]


def engine(
    line: str,
    seats: list[Seat] | None = None,
    jobs: Path = Path("jobs"),
    capabilities: Capabilities | None = None,
) -> WarmEngine:
    program = warm_program(line.split())
    assert program is not None
    return WarmEngine(
        program,
        seats or [],
        artifacts=ArtifactStore(Path("artifacts")),
        jobs=jobs,
        patience_s=1.0,
        pace=Pace(MemoryHistory()),
        offer=OFFER,
        capabilities=capabilities,
    )


@pytest.mark.parametrize(
    ("line", "asked", "steps"),
    [
        ("mflux-generate-z-image-turbo", None, 9),
        ("mflux-generate-z-image-turbo", 3, 3),
        ("mflux-generate-z-image-turbo --steps 5", None, 5),
        ("mflux-generate --model dev", None, 25),
        ("mflux-generate --model schnell", None, 4),
        ("mflux-generate-flux2 --model flux2-klein-base-4b", None, 50),
    ],
)
def test_planned_steps_are_asked_for_configured_or_the_models_own(line: str, asked: int | None, steps: int) -> None:
    assert engine(line).planned_steps(ImageOptions(steps=asked)) == steps


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("mflux-generate-qwen --model qwen-image", {"model": "qwen-image", "guidance": 3.0, "negative_prompt": "fog"}),
        ("mflux-generate-qwen --lora a", {"input": "upload", "steps": 1, "width": 336, "height": 16, "seed": 3}),
        ("mflux-generate-qwen-2.1-edit", {"input": "upload", "width": 96}),
        ("mflux-generate-krea2", {"guidance": 2.0, "negative_prompt": "fog"}),
        ("mflux-generate-krea2 --guidance 2", {"negative_prompt": "fog"}),
        ("mflux-generate-anima", {"negative_prompt": "fog"}),
        ("mflux-generate-iris", {"steps": 4}),
        ("mflux-generate-flux2 --model flux2-klein-base-9b", {"guidance": 4.0}),
    ],
)
async def test_what_the_model_honours_passes(line: str, options: dict[str, Any]) -> None:
    await engine(line).check(ImageOptions(**options))


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("mflux-generate-qwen", "model", "someone/else"),
        ("mflux-generate-lens", "lora", ["ink"]),
        ("mflux-generate-lens", "input", "upload"),
        ("mflux-generate-qwen", "width", 500),
        ("mflux-generate-qwen-2.1-edit", "height", 336),
        ("mflux-generate-qwen-2.1-edit", "steps", 1),
        ("mflux-generate-iris", "steps", 8),
        ("mflux-generate-z-image-turbo", "guidance", 3.0),
        ("mflux-generate-flux2", "guidance", 3.0),
        ("mflux-generate --model dev", "negative_prompt", "fog"),
        ("mflux-generate-krea2", "negative_prompt", "fog"),
        ("mflux-generate-lens", "negative_prompt", "fog"),
    ],
)
async def test_what_it_does_not_honour_is_refused_by_name(line: str, field: str, value: Any) -> None:
    with pytest.raises(Invalid) as refused:
        await engine(line).check(ImageOptions(**{field: value}))
    assert refused.value.field == f"hatch.image.{field}"


@pytest.mark.parametrize(
    ("line", "model"),
    [
        ("mflux-generate --model schnell", "schnell"),
        ("mflux-generate-z-image-turbo", "z-image-turbo"),
        ("mflux-generate-qwen --model /home/ann/models/my-qwen/", "my-qwen"),
        ("mflux-generate-qwen --model someone/qwen-mine", "someone/qwen-mine"),
    ],
)
def test_a_picture_is_made_by_the_model_that_is_loaded(line: str, model: str) -> None:
    maker = engine(line).maker(ImageOptions())
    assert maker == Maker(engine=line.split()[0], model=model, version=version("mflux"))
    assert engine(line).maker(ImageOptions(model="turbo")).model == "z-image-turbo", "what is loaded for the hatch"


@pytest.mark.parametrize("asked", [["ink"], [Lora(name="ink")], [Lora(name="ink", scale=0.5), "ink"]])
async def test_what_is_offered_may_be_asked_for(asked: list[str | Lora]) -> None:
    await engine("mflux-generate-qwen").check(ImageOptions(lora=asked, model="mine"))


@pytest.mark.parametrize(
    ("options", "field", "said"),
    [
        ({"model": "/models/mine"}, "model", "choose one of mine, turbo"),
        ({"model": "dev"}, "model", "choose one of mine, turbo"),
        ({"lora": ["ink", "/loras/ink"]}, "lora[1]", "choose one of ink"),
        ({"lora": [Lora(name="--help")]}, "lora[0]", "choose one of ink"),
    ],
)
async def test_only_names_may_be_asked_for_and_they_are_listed(options: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(Invalid, match=said) as refused:
        await engine("mflux-generate-qwen").check(ImageOptions(**options))
    assert refused.value.field == f"hatch.image.{field}"


async def test_another_model_is_planned_and_checked_as_it_is() -> None:
    asked = ImageOptions(model="turbo")
    other = engine("mflux-generate-z-image")
    assert (other.planned_steps(ImageOptions()), other.planned_steps(asked)) == (50, 9)
    await other.check(ImageOptions(guidance=2.0))
    with pytest.raises(Invalid):
        await other.check(ImageOptions(guidance=2.0, model="turbo"))


async def test_what_another_model_takes_is_learned_apart() -> None:
    other = engine("mflux-generate-z-image")
    works = {other._work(ImageOptions(steps=4, **options)) for options in DISTINCT}
    assert len(works) == len(DISTINCT)


def told_engine(environment: MfluxEnvironment, line: str) -> tuple[WarmEngine, Capabilities]:
    """An engine that goes by what this environment's mflux says of its command, as soon as it is learned."""
    capabilities = Capabilities(environment.path(line.split()[0]), environ=os.environ, folder=environment.kept)
    return engine(line, capabilities=capabilities), capabilities


HONOURED = ["--steps", "--width", "--height", "--model"]


@pytest.mark.parametrize(
    ("flags", "asked", "field", "said"),
    [
        (HONOURED, {"lora": ["ink"]}, "lora", "does not honour `lora`"),
        (HONOURED, {"input": "upload"}, "input", "does not honour `input`"),
        (HONOURED[1:], {"steps": 4}, "steps", "does not honour `steps`"),
        (
            [*HONOURED, {"flag": "--guidance", "status": "rejected", "reason": "it is distilled now"}],
            {"guidance": 2.0},
            "guidance",
            "does not honour `guidance`: it is distilled now",
        ),
    ],
)
async def test_what_mflux_says_of_the_command_counts_once_it_has_said_it(
    tmp_path: Path, flags: list[str | dict[str, str]], asked: dict[str, Any], field: str, said: str
) -> None:
    environment = MfluxEnvironment(tmp_path, dump_of("mflux-generate-qwen", flags))
    warm, capabilities = told_engine(environment, "mflux-generate-qwen")
    image = ImageOptions(**asked)
    await warm.check(image)
    await warm.confirm(image)
    await capabilities.learn()
    for check in (warm.check, warm.confirm):
        with pytest.raises(Invalid, match=said) as refused:
            await check(image)
        assert refused.value.field == f"hatch.image.{field}"
    await warm.check(ImageOptions(width=64, model="mine"))


async def test_what_mflux_lets_pass_is_still_checked_against_the_model(tmp_path: Path) -> None:
    environment = MfluxEnvironment(tmp_path, dump_of("mflux-generate-z-image-turbo", [*HONOURED, "--guidance"]))
    warm, capabilities = told_engine(environment, "mflux-generate-z-image-turbo")
    await capabilities.learn()
    with pytest.raises(Invalid):
        await warm.check(ImageOptions(guidance=2.0))


async def test_where_mflux_does_not_tell_the_model_decides(tmp_path: Path) -> None:
    environment = MfluxEnvironment(tmp_path, dump_of("mflux-generate-other", []))
    warm, capabilities = told_engine(environment, "mflux-generate-qwen")
    await capabilities.learn()
    await warm.check(ImageOptions(lora=["ink"]))


class Stool(Seat):
    """A seat whose worker is never started; jobs fail on it."""

    def __init__(self, name: str, sat: list[str]) -> None:
        program = warm_program(["mflux-generate-z-image"])
        assert program is not None
        super().__init__(program, _no_child, RestartPolicy(), Random(1), lambda _program, _seconds: None)
        self._name = name
        self._sat = sat

    async def draw(
        self,
        program: WarmProgram,
        order: Draw,
        tell: Tell,
        loading: Forecast | None = None,
        drawing: Forecast | None = None,
    ) -> Drawn:
        self.want(program)
        self._sat.append(self._name)
        raise ImageFailed("a stool is no seat")


def _no_child(_program: WarmProgram) -> AbstractAsyncContextManager[WarmChild]:
    raise AssertionError


async def _tell(_letter: RenderMail) -> None:
    pass


async def test_a_model_goes_where_it_is_loaded_or_nothing_is_or_to_the_least_recently_used(tmp_path: Path) -> None:
    sat: list[str] = []
    seats: list[Seat] = [Stool("a", sat), Stool("b", sat)]
    engine_ = engine("mflux-generate-z-image", seats, tmp_path)
    for model in (None, None, "mine", None, "turbo", "mine", "turbo"):
        job = RenderJob(session="s1", persona=PERSONA, image=ImageOptions(model=model), seed=1)
        with pytest.raises(ImageFailed):
            await engine_.draw(job, _tell)
    # The first stays on a; the second comes to b, which was empty; each later one goes where nobody sat for longest.
    assert sat == ["a", "a", "b", "a", "b", "a", "b"]
