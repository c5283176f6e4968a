"""What a hatch may ask for: checked before anything is started, refused with the name of the field."""

import unicodedata

import msgspec

from protocol.commands import HatchRequest, ImageOptions
from protocol.errors import Invalid, PersonaInvalid, TooLarge
from protocol.persona import Persona, validate_persona


class HatchBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The largest hatch: prompt in code points, picture in pixels, steps."""

    prompt_chars: int
    pixels: int
    steps: int
    default_side: int = 1024  # pixels, of a side that is not given


def check_hatch(hatch: HatchRequest, bounds: HatchBounds) -> None:
    """Raise TooLarge or Invalid for a hatch that cannot be; engines check their own options."""
    _check_prompt(hatch.prompt, bounds)
    if hatch.persona is not None:
        _check_persona(hatch.persona)
    _check_image(hatch.image, bounds)


def _has_control_characters(text: str) -> bool:
    return any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\r\t" for c in text)


def _check_prompt(prompt: str, bounds: HatchBounds) -> None:
    if len(prompt) > bounds.prompt_chars:
        raise TooLarge(
            f"the prompt has {len(prompt)} characters, at most {bounds.prompt_chars} are taken", field="hatch.prompt"
        )
    if not prompt.strip():
        raise Invalid("the prompt is empty: one sentence is enough", field="hatch.prompt")
    if _has_control_characters(prompt):
        raise Invalid("the prompt holds a control character", field="hatch.prompt")


def _check_persona(persona: Persona) -> None:
    try:
        validate_persona(msgspec.to_builtins(persona))
    except PersonaInvalid as error:  # here it is the client who wrote it
        place = (error.field or "").replace("/", ".")
        raise Invalid(error.message, field=f"hatch.persona{place}") from error


def _check_image(image: ImageOptions, bounds: HatchBounds) -> None:
    width, height = image.width or bounds.default_side, image.height or bounds.default_side
    if (image.width or image.height) and width * height > bounds.pixels:
        raise TooLarge(
            f"{width}x{height} is more than {bounds.pixels} pixels",
            field=f"hatch.image.{'width' if image.width else 'height'}",
        )
    if image.steps is not None and image.steps > bounds.steps:
        raise TooLarge(f"{image.steps} steps are more than {bounds.steps}", field="hatch.image.steps")
    if _has_control_characters(image.negative_prompt or ""):  # a null byte fits into no command line
        raise Invalid("the negative prompt holds a control character", field="hatch.image.negative_prompt")
