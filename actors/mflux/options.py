"""What a known mflux model cannot be asked for: bounds on steps and sides, and options that would change nothing."""

from collections.abc import Iterator, Sequence
from typing import Final

from actors.mflux.warm.models import Checkpoint, WarmModel
from protocol.commands import ImageOptions

FLAGS: Final[dict[str, Sequence[str]]] = {
    "model": ("--model",),
    "lora": ("--lora",),
    "guidance": ("--guidance",),
    "negative_prompt": ("--negative-prompt",),
    "input": ("--image-path", "--image-paths"),
}
"""The options that not every command honours, with the flags that may stand for them."""


def objections(
    known: WarmModel, checkpoint: Checkpoint, image: ImageOptions, guidance: float | None
) -> Iterator[tuple[str, str]]:
    """Fields that a picture by this checkpoint cannot honour, and why; `guidance` is the command line's."""
    if image.lora and "lora" not in known.honours:
        yield "lora", "takes no LoRA"
    if image.input is not None and not known.honours & {"image", "references"}:
        yield "input", "does not begin from a picture"
    if image.steps is not None and checkpoint.steps_fixed and image.steps != checkpoint.steps:
        yield "steps", f"always takes {checkpoint.steps} steps"
    if image.steps is not None and image.steps < known.min_steps:
        yield "steps", f"takes at least {known.min_steps} steps"
    for name in ("width", "height"):
        if (getattr(image, name) or 0) % known.multiple:
            yield name, f"draws sides that are multiples of {known.multiple}"
    if image.guidance is not None and not checkpoint.guided:
        yield "guidance", "does not honour `guidance` with this model"
    if image.negative_prompt is not None:
        strength = next((g for g in (image.guidance, guidance, known.guidance) if g is not None), 2.0)
        if "negative_prompt" not in known.honours or not checkpoint.guided:
            yield "negative_prompt", "does not honour `negative_prompt` with this model"
        elif strength <= 1:
            yield "negative_prompt", "honours `negative_prompt` only with a guidance above 1"
