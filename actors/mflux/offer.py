"""The models and LoRAs that the operator lets a hatch choose, by names that stand for places."""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.commands import ImageOptions
from protocol.errors import Invalid
from protocol.events import Choices

Place = Annotated[str, Meta(pattern=r"^[^\s-]")]
"""A built-in name of mflux's, a repository on the Hugging Face hub, or a local path; never a flag."""


class NamedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model, and which built-in one it is based on, where its name does not tell mflux."""

    path: Place
    base_model: str | None = None


class NamedLora(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A LoRA and the scale at which it is applied unless a hatch says another."""

    path: Place
    scale: Annotated[float, Meta(ge=-10, le=10)] = 1.0


class Choice(msgspec.Struct, frozen=True):
    """What one hatch has chosen: a model (None: the command line's), and LoRAs as path and scale."""

    model: NamedModel | None = None
    lora: tuple[tuple[str, float], ...] = ()


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What may be chosen, by name."""

    models: Mapping[str, NamedModel] = {}
    loras: Mapping[str, NamedLora] = {}

    def choices(self, honoured: Callable[[str], bool]) -> Choices | None:
        """The names, as clients are told them, of those kinds (`model`, `lora`) that may be honoured."""
        models = [*self.models] if honoured("model") else []
        loras = [*self.loras] if honoured("lora") else []
        return Choices(models=models, loras=loras) if models or loras else None

    def check(self, image: ImageOptions, own_model: str | None) -> None:
        """Raise Invalid, listing the names, for a name that is none; the command line's own model may be named too."""
        if image.model not in (None, own_model) and image.model not in self.models:
            raise Invalid(f"there is no model of that name here{_names(self.models)}", field="hatch.image.model")
        for index, (name, _) in enumerate(_loras(image)):
            if name not in self.loras:
                field = f"hatch.image.lora[{index}]"
                raise Invalid(f"there is no LoRA of that name here{_names(self.loras)}", field=field)

    def choice(self, image: ImageOptions) -> Choice:
        """What these options choose; names that are none choose nothing."""
        named = [(self.loras[name], scale) for name, scale in _loras(image) if name in self.loras]
        return Choice(
            self.models.get(image.model or ""),
            tuple((lora.path, lora.scale if scale is None else scale) for lora, scale in named),
        )


def _loras(image: ImageOptions) -> Iterator[tuple[str, float | None]]:
    for lora in image.lora or ():
        yield (lora, None) if isinstance(lora, str) else (lora.name, lora.scale)


def _names(offered: Mapping[str, object]) -> str:
    return f": choose one of {', '.join(offered)}" if offered else ", and none to choose from"
