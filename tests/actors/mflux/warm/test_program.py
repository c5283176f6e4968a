"""Command lines that a warm worker can stand in for, and those that it must leave to the command."""

import pytest

from actors.mflux.warm.program import warm_program
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
    ],
)
def test_anything_else_is_left_to_the_command(line: str) -> None:
    assert warm_program(line.split()) is None
