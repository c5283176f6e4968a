"""The table against the installed mflux, asked in a child process: classes, keywords, defaults, nothing forgotten."""

import json
import subprocess
import sys
from importlib.metadata import entry_points
from typing import Any

import pytest

from actors.mflux.warm.models import WARM_MODELS, WarmModel
from tests.helpers.tiny_mflux import mflux_env

ONE_SHOT = {
    "mflux-generate-fibo": "its prompt is a JSON caption",
    "mflux-generate-fibo2": "its prompt is a JSON caption",
    "mflux-generate-ideogram4": "its preset owns the steps",
}
NEEDS_A_PICTURE = ("controlnet", "depth", "edit", "fill", "in-context", "catvton", "kontext", "redux")

QUESTIONS = """
import importlib, inspect, json, sys
from importlib.metadata import entry_points
from mflux.cli.defaults.defaults import model_inference_steps
from mflux.models.common.config.model_config import AVAILABLE_MODELS

commands = {entry.name: entry.value.partition(":")[0] for entry in entry_points(group="console_scripts")}
answers = {}
for command, module, name, model, keys in json.load(sys.stdin):
    class_ = getattr(importlib.import_module(module), name)
    cli = importlib.import_module(commands[command])
    sys.argv = [command, "--prompt", "an owl", *(["--model", model] if model else [])]
    flags = cli.build_parser().parse_args()
    answers[command] = {
        "own": getattr(cli, name) is class_,
        "init": list(inspect.signature(class_.__init__).parameters),
        "generate": list(inspect.signature(class_.generate_image).parameters),
        "steps": {key: model_inference_steps(key) for key in keys if key in AVAILABLE_MODELS},
        "default_steps": flags.steps,
        "scheduler": flags.scheduler,
        "lora": hasattr(flags, "lora"),
        "ignored": [*getattr(cli, "IGNORED_OPTIONS", ()), *getattr(cli, "REJECTED_OPTIONS", ())],
    }
json.dump(answers, sys.stdout)
"""


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    questions = [
        (
            command,
            warm.module,
            warm.name,
            warm.checkpoints[0].key if warm.needs_model else None,
            [checkpoint.key for checkpoint in warm.checkpoints],
        )
        for command, warm in WARM_MODELS.items()
    ]
    done = subprocess.run(
        [sys.executable, "-c", QUESTIONS],
        input=json.dumps(questions).encode(),
        env=mflux_env(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=100,
    )
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
    assert answer["steps"] == {checkpoint.key: checkpoint.steps for checkpoint in warm.checkpoints}
    assert answer["default_steps"] == warm.checkpoints[0].steps
    if warm.scheduler is not None and warm.command != "mflux-generate-flux2":  # which passes its own, whatever is asked
        assert answer["scheduler"] == warm.scheduler
    assert "negative_prompt" not in warm.honours or "--negative-prompt" not in answer["ignored"]
    assert not any(checkpoint.guided for checkpoint in warm.checkpoints) or "--guidance" not in answer["ignored"]


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
