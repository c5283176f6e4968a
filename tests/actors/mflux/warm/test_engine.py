"""What the warm engine promises before it draws: steps, and which options it honours."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from actors.artifacts import ArtifactStore
from actors.mflux.history import MemoryHistory, Pace
from actors.mflux.warm.engine import WarmEngine
from actors.mflux.warm.program import warm_program
from protocol.commands import ImageOptions
from protocol.errors import Invalid
from protocol.maker import Maker


def engine(line: str) -> WarmEngine:
    program = warm_program(line.split())
    assert program is not None
    artifacts, pace = ArtifactStore(Path("artifacts")), Pace(MemoryHistory())
    return WarmEngine(program, [], artifacts=artifacts, jobs=Path("jobs"), patience_s=1.0, pace=pace)


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
        ("mflux-generate-qwen --lora a", {"lora": ["a"], "steps": 1, "width": 336, "height": 16, "seed": 3}),
        ("mflux-generate-krea2", {"guidance": 2.0, "negative_prompt": "fog"}),
        ("mflux-generate-krea2 --guidance 2", {"negative_prompt": "fog"}),
        ("mflux-generate-anima", {"negative_prompt": "fog"}),
        ("mflux-generate-iris", {"steps": 4}),
        ("mflux-generate-flux2 --model flux2-klein-base-9b", {"guidance": 4.0}),
    ],
)
def test_what_the_model_honours_passes(line: str, options: dict[str, Any]) -> None:
    engine(line).check(ImageOptions(**options))


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("mflux-generate-qwen", "model", "someone/else"),
        ("mflux-generate-qwen", "lora", ["a"]),
        ("mflux-generate-qwen", "input", "upload"),
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
def test_what_it_does_not_honour_is_refused_by_name(line: str, field: str, value: Any) -> None:
    with pytest.raises(Invalid) as refused:
        engine(line).check(ImageOptions(**{field: value}))
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
