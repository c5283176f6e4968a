"""From an mflux command line to what a warm worker loads; a line that asks for more than that is run one-shot."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from actors.mflux.offer import Choice
from actors.mflux.warm.models import WARM_MODELS, Checkpoint, WarmModel
from protocol.commands import ImageOptions


class WarmProgram(msgspec.Struct, frozen=True, kw_only=True):
    """What is loaded once, for all jobs; `defaults` are the command line's choices where a job makes none."""

    warm: WarmModel
    model: str | None = None
    base_model: str | None = None
    quantize: int | None = None
    lora: tuple[tuple[str, float], ...] = ()
    strength: float | None = None  # of what a picture begins from
    defaults: ImageOptions = ImageOptions()

    def choosing(self, choice: Choice) -> "WarmProgram":
        """What is loaded for a hatch that has chosen so; its LoRAs join the command line's."""
        lora = self.lora + choice.lora
        if choice.model is None:
            return msgspec.structs.replace(self, lora=lora)
        model, base_model = choice.model.path, choice.model.base_model
        return msgspec.structs.replace(self, model=model, base_model=base_model, lora=lora)

    @property
    def checkpoint(self) -> Checkpoint:
        """What its model is to mflux."""
        return self.warm.checkpoint(self.base_model or self.model)


class CommandLine(msgspec.Struct, frozen=True, kw_only=True):
    """What any mflux command line says of its model, guidance and size; `rest` is the line without its model."""

    model: str | None = None
    base_model: str | None = None
    guidance: float | None = None
    sized: bool = False
    rest: tuple[str, ...]


class _NotUnderstood(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _NotUnderstood(message)


def warm_program(argv: Sequence[str]) -> WarmProgram | None:
    """The program that draws what `argv`, a command with its flags, would draw; None if only the command itself can."""
    warm = WARM_MODELS.get(Path(argv[0]).name)
    if warm is None:
        return None
    try:
        flags = _parser(warm).parse_args(argv[1:])
        if warm.needs_model and flags.model is None:
            return None
        given = {name: getattr(flags, name) for name in ("steps", "width", "height", "guidance", "negative_prompt")}
        return WarmProgram(
            warm=warm,
            model=flags.model,
            base_model=flags.base_model,
            quantize=flags.quantize,
            lora=tuple(_adapter(*values) for values in flags.lora or ()),
            strength=flags.strength,
            defaults=msgspec.convert({name: value for name, value in given.items() if value is not None}, ImageOptions),
        )
    except (_NotUnderstood, ValueError):  # msgspec.ValidationError is one
        return None


def read_command_line(argv: Sequence[str]) -> CommandLine:
    """What `argv`, a command with flags of which many may be unknown here, says."""
    parser = _model_parser()
    for flag, type_ in (("--guidance", _finite), ("--width", str), ("--height", str)):
        parser.add_argument(flag, type=type_)
    try:
        flags, _ = parser.parse_known_args(argv[1:])
        _, rest = _model_parser().parse_known_args(argv[1:])
    except _NotUnderstood:
        return CommandLine(rest=tuple(argv))
    return CommandLine(
        model=flags.model,
        base_model=flags.base_model,
        guidance=flags.guidance,
        sized=flags.width is not None or flags.height is not None,
        rest=(argv[0], *rest),
    )


def _model_parser() -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model", "-m")
    parser.add_argument("--base-model")
    return parser


def _parser(warm: WarmModel) -> _Parser:
    """Those of mflux's flags that mean the same to its classes."""
    parser = _model_parser()
    parser.add_argument("--quantize", "-q", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--guidance", type=_finite)
    if "negative_prompt" in warm.honours:
        parser.add_argument("--negative-prompt")
    if "lora" in warm.honours:
        parser.add_argument("--lora", action="append", nargs="+")
    if "image" in warm.honours:
        parser.add_argument("--image-strength", dest="strength", type=_finite)
    if "references" in warm.honours:
        parser.add_argument("--strength", type=_finite)
    parser.set_defaults(negative_prompt=None, lora=None, strength=None)
    return parser


def _adapter(path: str, scale: str = "1", *rest: str) -> tuple[str, float]:
    if rest:
        raise _NotUnderstood("a LoRA is a path and a scale")
    return path, _finite(scale)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("must be finite")
    return number
