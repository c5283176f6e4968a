"""Who made a part of an agent, as far as that is known: what is unknown is left out, never guessed."""

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

MAX_MODEL: Final = 200  # code points of a model's name; a server may call its models anything

_PATH: Final = re.compile(r"[/.~]|\w:\\")  # how the path of a file begins, and no name of a model


class Maker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An engine at its work: its name, the model that it was asked to use, and the version of its program."""

    engine: Annotated[str, Meta(description="The engine's name.")]
    model: Annotated[str, Meta(description="The model that it was asked to use.")] | None = None
    version: Annotated[str, Meta(description="Of its program.")] | None = None


def model_name(model: str) -> str | None:
    """A model's name as it may leave this machine: of a path only its last part; None if there is none."""
    if _PATH.match(model):
        model = re.split(r"[/\\]", model.rstrip("/\\"))[-1]
    return model[:MAX_MODEL].strip() or None
