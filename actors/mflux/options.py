"""What an image command cannot be asked for: by what is known of mflux's models, and by what mflux says itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from actors.mflux.capabilities import Flag
from actors.mflux.warm.models import Checkpoint, WarmModel
from protocol.commands import ImageOptions
from protocol.errors import Invalid

PLAIN_FLAGS: Final[dict[str, str]] = {"steps": "--steps", "width": "--width", "height": "--height"}
"""The options that any image command is taken to honour, unless it says otherwise."""

FLAGS: Final[dict[str, Sequence[str]]] = {
    **{name: (flag,) for name, flag in PLAIN_FLAGS.items()},
    "model": ("--model",),
    "lora": ("--lora",),
    "guidance": ("--guidance",),
    "negative_prompt": ("--negative-prompt",),
    "input": ("--image-path", "--image-paths"),
}
"""All options with the flags that may stand for them; the seed is every command's."""

PLAIN: Final[Mapping[str, Flag]] = {flag: Flag(flag=flag) for flag in PLAIN_FLAGS.values()}


def refuse(engine: str, wrong: Iterable[tuple[str, str]]) -> None:
    """Raise Invalid, naming the engine and the field, for the first thing that is wrong."""
    for name, why in wrong:
        raise Invalid(f"the engine {engine} {why}", field=f"hatch.image.{name}")


def flag_for(option: str, flags: Mapping[str, Flag]) -> Flag | None:
    """The flag that stands for an option; None if there is none."""
    return next((flags[flag] for flag in FLAGS[option] if flag in flags), None)


def unhonoured(image: ImageOptions, flags: Mapping[str, Flag]) -> Iterator[tuple[str, str]]:
    """Fields that a command with these flags cannot honour, whatever its model, and why."""
    for name in FLAGS:
        flag = flag_for(name, flags)
        if getattr(image, name) is not None and not _is_honoured(flag):
            reason = f": {flag.reason}" if flag is not None and flag.reason else ""
            yield name, f"does not honour `{name}`{reason}"


def may_honour(option: str, flags: Mapping[str, Flag] | None, known: WarmModel | None) -> bool:
    """Whether a command may honour a model or LoRA: by its flags, if mflux has told them, and what is known of it."""
    if (flags or known is None) and not _is_honoured(flag_for(option, flags or PLAIN)):
        return False
    return known is None or option == "model" or option in known.honours


def _is_honoured(flag: Flag | None) -> bool:
    return flag is not None and flag.status not in ("ignored", "rejected")


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
