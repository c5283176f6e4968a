"""Command lines that a warm worker can stand in for, and those that it must leave to the command."""

import pytest

from actors.mflux.offer import Choice, NamedModel
from actors.mflux.warm.program import read_command_line, warm_program
from protocol.commands import ImageOptions


def test_what_is_loaded_and_what_jobs_default_to_is_read_from_the_command_line() -> None:
    line = (
        "/opt/bin/mflux-generate-qwen --model models/mine --base-model qwen-image --quantize 8 --lora a.safetensors 0.5"
        " --lora b --steps 12 --width 512 --height=768 --guidance 2.5 --negative-prompt=blurred"
    )
    program = warm_program(line.split())
    assert program is not None
    assert program.warm.name == "QwenImage"
    assert (program.model, program.base_model, program.quantize) == ("models/mine", "qwen-image", 8)
    assert program.lora == (("a.safetensors", 0.5), ("b", 1.0))
    assert program.defaults == ImageOptions(steps=12, width=512, height=768, guidance=2.5, negative_prompt="blurred")


@pytest.mark.parametrize(
    "line",
    [
        "mflux-generate-fibo",
        "mflux-generate-kontext --image-path a.png",
        "convert",
        "mflux-generate",
        "mflux-generate-qwen --low-ram",
        "mflux-generate-qwen --image-path a.png",
        "mflux-generate-qwen --steps many",
        "mflux-generate-qwen --steps 0",
        "mflux-generate-qwen --guidance nan",
        "mflux-generate-qwen --lora a 0.5 b",
        "mflux-generate-qwen --quant 8",
        "mflux-generate-lens --lora a",
        "mflux-generate-lens --negative-prompt blurred",
        "mflux-generate-qwen an owl",
        "mflux-generate-lens --image-strength 0.5",
        "mflux-generate-qwen --strength 0.5",
    ],
)
def test_anything_else_is_left_to_the_command(line: str) -> None:
    assert warm_program(line.split()) is None


def test_a_hatchs_choice_takes_the_models_place_and_joins_the_loras() -> None:
    line = "mflux-generate --model mine --base-model dev --lora a 0.5 --image-strength 0.6"
    program = warm_program(line.split())
    assert program is not None
    assert program.choosing(Choice()) == program
    assert program.checkpoint.key == "dev"
    other = program.choosing(Choice(NamedModel(path="schnell"), (("b", 0.8),)))
    assert (other.model, other.base_model, other.lora) == ("schnell", None, (("a", 0.5), ("b", 0.8)))
    assert (other.checkpoint.key, other.strength) == ("schnell", 0.6)


def test_a_line_with_unknown_flags_tells_its_model_and_goes_on_without_it() -> None:
    words = "x --new -m mine --width auto --base-model=dev --lora a -1 --guidance 2 --other b"
    line = read_command_line(words.split())
    assert (line.model, line.base_model, line.guidance, line.sized) == ("mine", "dev", 2.0, True)
    assert " ".join(line.rest) == "x --new --width auto --lora a -1 --guidance 2 --other b"


def test_a_line_that_cannot_be_read_stays_as_it_is() -> None:
    line = read_command_line(["x", "--guidance", "much"])
    assert (line.guidance, line.sized, line.rest) == (None, False, ("x", "--guidance", "much"))
