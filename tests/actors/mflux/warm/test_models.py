"""The table against the installed mflux, asked in a child process: classes, keywords, defaults, nothing forgotten."""

import json
import subprocess
import sys
from importlib.metadata import entry_points
from typing import Any

import pytest

from actors.mflux.detect import COMMANDS
from actors.mflux.warm.models import WARM_MODELS, WarmModel, command_model
from tests.helpers.tiny_mflux import mflux_env

ONE_SHOT = {
    "mflux-generate-fibo": "its prompt is a JSON caption",
    "mflux-generate-fibo2": "its prompt is a JSON caption",
    "mflux-generate-ideogram4": "its preset owns the steps",
}
NEEDS_A_PICTURE = ("controlnet", "depth", "edit", "fill", "in-context", "catvton", "kontext", "redux")

QUESTIONS = """
import contextlib, importlib, inspect, json, sys
from importlib.metadata import entry_points
from unittest.mock import MagicMock
from mflux.models.common.config.config import Config
from mflux.models.common.config.model_config import AVAILABLE_MODELS
from mflux.models.common.resolution.config_resolution import ConfigResolution
from mflux.utils.exceptions import ModelConfigError

commands = {entry.name: entry.value.split(":") for entry in entry_points(group="console_scripts")}
families = []
resolve = ConfigResolution.resolve_restricted

def note_family(*args, extra_keys=(), **kwargs):
    families.append(sorted((args[1], *extra_keys)))
    return resolve(*args, extra_keys=extra_keys, **kwargs)

ConfigResolution.resolve_restricted = staticmethod(note_family)

def run(command, class_name, *flags):
    # The command's own main function, its class played by a mock: what it loads and what it has drawn.
    module, function = commands[command]
    cli, class_ = importlib.import_module(module), MagicMock()
    own = getattr(cli, class_name)
    sys.argv = [command, "--prompt", "an owl", "--output", "unwritten.png", "--seed", "7", *flags]
    setattr(cli, class_name, class_)
    try:
        with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(SystemExit, ModelConfigError, ValueError):
            getattr(cli, function)()
    finally:
        setattr(cli, class_name, own)
    if not class_.return_value.generate_image.called:
        return None, None
    config = class_.call_args.kwargs["model_config"]
    return config, class_.return_value.generate_image.call_args.kwargs

def unlike_the_class(class_, drawn, given):
    # What the command passes unasked, though neither the class itself nor the worker would.
    defaults = {name: p.default for name, p in inspect.signature(class_.generate_image).parameters.items()}
    return {name: repr(value) for name, value in drawn.items() if name not in given and value != defaults[name]}

def accepts(creator, side, steps=4):
    # Whether what makes the latents takes a square of that size, in so many steps.
    asked = {"width": side, "height": side, "steps": steps, "image_count": 0}
    for check in filter(None, (getattr(creator, name, None) for name in ("check_size", "latent_shape", "validate"))):
        try:
            check(**{name: asked[name] for name in inspect.signature(check).parameters})
        except ValueError:
            return False
    return True

def takes_side(command, name, flags, creator, side):
    config, drawn = run(command, name, *flags, "--width", str(side), "--height", str(side))
    return drawn is not None and Config(config, width=drawn["width"]).width == side and accepts(creator, side)

answers = {}
for command, module, name, latents, needs_model, keys, given in json.load(sys.stdin):
    cli, class_ = importlib.import_module(commands[command][0]), getattr(importlib.import_module(module), name)
    creator = latents and getattr(importlib.import_module(latents.rpartition(".")[0]), latents.rpartition(".")[2])
    own = getattr(cli, name) is class_
    families.clear()
    default, _ = run(command, name)
    flags = ["--model", keys[0]] if needs_model else []
    drawn = {key: run(command, name, "--model", key) for key in keys}
    names = {id(config): key for key, config in AVAILABLE_MODELS.items()}
    sys.argv = [command, "--prompt", "an owl", *flags]
    parsed = cli.build_parser().parse_args()
    answers[command] = {
        "own": own,
        "init": list(inspect.signature(class_.__init__).parameters),
        "generate": list(inspect.signature(class_.generate_image).parameters),
        "default": names.get(id(default)),
        "repositories": {key: config.model_name for key, (config, _) in drawn.items()},
        "family": families[0] if families else None,
        "models": {key: names[id(config)] for key, (config, _) in drawn.items()},
        "steps": {key: passed["num_inference_steps"] for key, (_, passed) in drawn.items()},
        "guidance": {key: passed.get("guidance") for key, (_, passed) in drawn.items()},
        "scheduler": {key: passed.get("scheduler") for key, (_, passed) in drawn.items()},
        "unlike": {key: unlike_the_class(class_, passed, given) for key, (_, passed) in drawn.items()},
        "multiple": next(side for side in (8, 16, 32, 64, 128) if takes_side(command, name, flags, creator, 5 * side)),
        "min_steps": next(steps for steps in range(1, 9) if accepts(creator, 64, steps)),
        "lora": hasattr(parsed, "lora"),
        "ignored": [*getattr(cli, "IGNORED_OPTIONS", ()), *getattr(cli, "REJECTED_OPTIONS", ())],
    }
json.dump(answers, sys.stdout)
"""

GIVEN = [  # by a worker, or of no meaning without an input picture
    "seed", "prompt", "num_inference_steps", "guidance", "scheduler", "negative_prompt",
    "image_paths", "image_strength", "strength",
]  # fmt: skip


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    questions = [
        (
            command,
            warm.module,
            warm.name,
            warm.latents,
            warm.needs_model,
            [checkpoint.key for checkpoint in warm.checkpoints],
            GIVEN,
        )
        for command, warm in WARM_MODELS.items()
    ]
    done = subprocess.run(
        [sys.executable, "-c", QUESTIONS],
        input=json.dumps(questions).encode(),
        env=mflux_env(),
        capture_output=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_every_text_to_image_command_is_in_the_table_or_known_to_run_one_shot() -> None:
    commands = {
        entry.name
        for entry in entry_points(group="console_scripts")
        if entry.name.startswith("mflux-generate") and not any(word in entry.name for word in NEEDS_A_PICTURE)
    }
    # Without a picture this one is text-to-image as well.
    assert commands | {"mflux-generate-qwen-2.1-edit"} == WARM_MODELS.keys() | ONE_SHOT.keys()


@pytest.mark.parametrize("warm", WARM_MODELS.values(), ids=lambda warm: warm.command)
def test_the_class_is_the_commands_own_and_takes_what_a_worker_gives_it(
    warm: WarmModel, answers: dict[str, Any]
) -> None:
    answer = answers[warm.command]
    assert answer["own"]
    assert {"quantize", "model_path", "model_config"} <= set(answer["init"])
    keywords = {"seed", "prompt", "num_inference_steps", "width", "height"}
    keywords |= {"guidance"} if warm.guidance is not None or any(c.guided for c in warm.checkpoints) else set()
    keywords |= {"scheduler"} if warm.scheduler is not None else set()
    keywords |= {"negative_prompt"} & warm.honours
    keywords |= {"image_path", "image_strength"} if "image" in warm.honours else set()
    keywords |= {"image_paths", "strength"} if "references" in warm.honours else set()
    assert keywords <= set(answer["generate"])
    assert ("lora" in warm.honours) == answer["lora"] == ("lora_paths" in answer["init"])


@pytest.mark.parametrize("warm", WARM_MODELS.values(), ids=lambda warm: warm.command)
def test_the_defaults_are_the_commands_own(warm: WarmModel, answers: dict[str, Any]) -> None:
    answer = answers[warm.command]
    keys = [checkpoint.key for checkpoint in warm.checkpoints]
    assert answer["default"] == (None if warm.needs_model else keys[0])
    assert warm.needs_model or answer["family"] == sorted(keys), "no model that it draws with is forgotten"
    assert answer["models"] == {key: key for key in keys}
    assert answer["steps"] == {checkpoint.key: checkpoint.steps for checkpoint in warm.checkpoints}
    assert answer["guidance"] == dict.fromkeys(keys, warm.guidance)
    assert answer["scheduler"] == dict.fromkeys(keys, warm.scheduler)
    assert answer["unlike"] == {key: {} for key in keys}, "or a warm picture would be another one"
    assert "negative_prompt" not in warm.honours or "--negative-prompt" not in answer["ignored"]
    assert not any(checkpoint.guided for checkpoint in warm.checkpoints) or "--guidance" not in answer["ignored"]


@pytest.mark.parametrize(("line", "repository"), COMMANDS)
def test_a_command_that_is_looked_for_draws_with_the_model_that_has_to_be_there(
    line: str, repository: str, answers: dict[str, Any]
) -> None:
    key = command_model(line.split())
    assert answers[line.split()[0]]["repositories"][key] == repository


@pytest.mark.parametrize("warm", WARM_MODELS.values(), ids=lambda warm: warm.command)
def test_the_bounds_are_mfluxs_own(warm: WarmModel, answers: dict[str, Any]) -> None:
    answer = answers[warm.command]
    assert (answer["multiple"], answer["min_steps"]) == (warm.multiple, warm.min_steps)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (None, "z-image"),
        ("z-image-turbo", "z-image-turbo"),
        ("Tongyi-MAI/Z-Image-Turbo", "z-image-turbo"),
        ("/z-image-turbo-trials/mine", "z-image"),
    ],
)
def test_a_models_name_tells_its_checkpoint(name: str | None, key: str) -> None:
    assert WARM_MODELS["mflux-generate-z-image"].checkpoint(name).key == key
