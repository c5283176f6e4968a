"""Which mflux commands can be kept warm: their classes, defaults, and what they honour, as mflux 0.24 has them.

Read from the commands' own modules (`mflux/models/*/cli`) and `mflux/cli/defaults/defaults.py`. Left out, so drawn one
by one: ideogram4, whose preset owns the steps; fibo and fibo2, whose prompt is a JSON caption; and whatever needs an
input picture.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import msgspec

Honoured = Literal["negative_prompt", "lora", "image", "references"]

_ALL: Final[frozenset[Honoured]] = frozenset({"negative_prompt", "lora", "image"})
_LORA_AND_IMAGE: Final[frozenset[Honoured]] = frozenset({"lora", "image"})
_LORA_AND_NEGATIVE: Final[frozenset[Honoured]] = frozenset({"lora", "negative_prompt"})


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of mflux's model registry: its default number of steps, and what a job may ask of it."""

    key: str
    steps: int
    steps_fixed: bool = False  # a distilled schedule, whatever is asked for
    guided: bool = False  # guidance changes the picture


class WarmModel(msgspec.Struct, frozen=True, kw_only=True):
    """A command as a class: `module` and `name` to import; every class takes `quantize`, `model_path`, `model_config`.

    `checkpoints` are the registry's entries that it draws with, the default first; a command that `needs_model` has no
    default, and takes any entry's name. `multiple` is that of the sides in pixels. `guidance` and `scheduler` are what
    the command passes to the class unasked; None passes nothing. `latents` unpacks what a step leaves, for a preview; a
    command without it shows none. What a picture may begin from is an `image`, with `image_strength`, or `references`.
    """

    command: str
    module: str
    name: str
    latents: str | None = None
    checkpoints: tuple[Checkpoint, ...]
    needs_model: bool = False
    multiple: int = 16
    min_steps: int = 1
    guidance: float | None = None
    scheduler: str | None = None
    honours: frozenset[Honoured] = frozenset()

    def checkpoint(self, name: str | None) -> Checkpoint:
        """The checkpoint that a model's name or path speaks of: the longest key in its last part, or else the first."""
        last = (name or "").rstrip("/").rsplit("/", 1)[-1].lower()
        named = [checkpoint for checkpoint in self.checkpoints if checkpoint.key in last]
        return max(named, key=lambda checkpoint: len(checkpoint.key), default=self.checkpoints[0])


def command_model(argv: Sequence[str]) -> str | None:
    """The model that an mflux command line draws with: the one it names, or else its default; None if unknown."""
    named = [after for flag, after in pairwise((*argv, "")) if flag in ("--model", "-m")]
    named += [word.partition("=")[2] for word in argv if word.startswith("--model=")]
    if named:
        return named[-1]
    warm = WARM_MODELS.get(Path(argv[0]).name)
    return None if warm is None or warm.needs_model else warm.checkpoints[0].key


WARM_MODELS: Final[dict[str, WarmModel]] = {
    model.command: model
    for model in (
        WarmModel(
            command="mflux-generate",
            module="mflux.models.flux.variants.txt2img.flux",
            name="Flux1",
            latents="mflux.models.flux.latent_creator.flux_latent_creator.FluxLatentCreator",
            checkpoints=(
                Checkpoint(key="schnell", steps=4),
                Checkpoint(key="dev", steps=25, guided=True),
                Checkpoint(key="krea-dev", steps=25, guided=True),
            ),
            needs_model=True,
            guidance=3.5,
            scheduler="linear",
            honours=_LORA_AND_IMAGE,
        ),
        WarmModel(
            command="mflux-generate-z-image-turbo",
            module="mflux.models.z_image.variants.z_image",
            name="ZImage",
            latents="mflux.models.z_image.latent_creator.ZImageLatentCreator",
            checkpoints=(Checkpoint(key="z-image-turbo", steps=9),),
            scheduler="linear",
            honours=_LORA_AND_IMAGE,
        ),
        WarmModel(
            command="mflux-generate-z-image",
            module="mflux.models.z_image.variants.z_image",
            name="ZImage",
            latents="mflux.models.z_image.latent_creator.ZImageLatentCreator",
            checkpoints=(
                Checkpoint(key="z-image", steps=50, guided=True),
                Checkpoint(key="z-image-turbo", steps=9),
            ),
            scheduler="flow_match_euler_discrete",
            honours=_ALL,
        ),
        WarmModel(
            command="mflux-generate-flux2",
            module="mflux.models.flux2.variants.txt2img.flux2_klein",
            name="Flux2Klein",
            latents="mflux.models.flux2.latent_creator.flux2_latent_creator.Flux2LatentCreator",
            checkpoints=(
                Checkpoint(key="flux2-klein-4b", steps=4),
                Checkpoint(key="flux2-klein-9b", steps=4),
                Checkpoint(key="flux2-klein-9b-kv", steps=4),
                Checkpoint(key="flux2-klein-base-4b", steps=50, guided=True),
                Checkpoint(key="flux2-klein-base-9b", steps=50, guided=True),
            ),
            guidance=1.0,
            scheduler="flow_match_euler_discrete",
            honours=_LORA_AND_IMAGE,
        ),
        WarmModel(
            command="mflux-generate-flux3",
            module="mflux.models.flux3.variants.txt2img.flux3_klein",
            name="Flux3Klein",
            latents="mflux.models.flux3.latent_creator.flux3_latent_creator.Flux3LatentCreator",
            checkpoints=(
                Checkpoint(key="flux3-image-klein", steps=16),
                Checkpoint(key="flux3-image-klein-base", steps=50, guided=True),
            ),
            honours=frozenset({"lora"}),
        ),
        WarmModel(
            command="mflux-generate-qwen",
            module="mflux.models.qwen.variants.txt2img.qwen_image",
            name="QwenImage",
            latents="mflux.models.qwen.latent_creator.qwen_latent_creator.QwenLatentCreator",
            checkpoints=(Checkpoint(key="qwen-image", steps=20, guided=True),),
            guidance=3.5,
            scheduler="linear",
            honours=_ALL,
        ),
        WarmModel(
            command="mflux-generate-qwen-2.1",
            module="mflux.models.qwen21.variants.txt2img.qwen_image_21",
            name="QwenImage21",
            latents="mflux.models.qwen21.latent_creator.qwen21_latent_creator.Qwen21LatentCreator",
            checkpoints=(
                Checkpoint(key="qwen-image-2.1", steps=40, guided=True),
                Checkpoint(key="qwen-image-2.1-turbo", steps=8),
            ),
            guidance=1.0,
            scheduler="linear",
            honours=_ALL,
        ),
        WarmModel(
            command="mflux-generate-qwen-2.1-edit",
            module="mflux.models.qwen21.variants.edit.qwen_image_21_edit",
            name="QwenImage21Edit",
            latents="mflux.models.qwen21.latent_creator.qwen_image21_latent_creator.QwenImage21LatentCreator",
            checkpoints=(
                Checkpoint(key="qwen-image-2.1", steps=40, guided=True),
                Checkpoint(key="qwen-image-2.1-turbo", steps=8),
            ),
            multiple=32,
            min_steps=2,
            guidance=1.0,
            scheduler="linear",
            honours=_LORA_AND_NEGATIVE | {"references"},
        ),
        WarmModel(
            command="mflux-generate-krea2",
            module="mflux.models.krea2.variants.txt2img.krea2",
            name="Krea2",
            latents="mflux.models.krea2.latent_creator.Krea2LatentCreator",
            checkpoints=(Checkpoint(key="krea-2", steps=8, guided=True),),
            guidance=1.0,
            scheduler="linear",
            honours=_ALL,
        ),
        WarmModel(
            command="mflux-generate-ernie-image",
            module="mflux.models.ernie_image.variants.txt2img.ernie_image",
            name="ErnieImage",
            latents="mflux.models.ernie_image.latent_creator.ErnieLatentCreator",
            checkpoints=(Checkpoint(key="ernie-image", steps=50, guided=True),),
            guidance=4.0,
            scheduler="linear",
            honours=_ALL,
        ),
        WarmModel(
            command="mflux-generate-ernie-image-turbo",
            module="mflux.models.ernie_image.variants.txt2img.ernie_image",
            name="ErnieImage",
            latents="mflux.models.ernie_image.latent_creator.ErnieLatentCreator",
            checkpoints=(Checkpoint(key="ernie-image-turbo", steps=8),),
            guidance=1.0,
            scheduler="linear",
            honours=_LORA_AND_IMAGE,
        ),
        WarmModel(
            command="mflux-generate-iris",
            module="mflux.models.iris.variants.txt2img.iris",
            name="Iris",
            latents="mflux.models.iris.latent_creator.iris_latent_creator.IrisLatentCreator",
            checkpoints=(
                Checkpoint(key="iris-3b", steps=4, steps_fixed=True),
                Checkpoint(key="iris-3b-base", steps=100, guided=True),
            ),
            honours=frozenset({"negative_prompt"}),
        ),
        WarmModel(
            command="mflux-generate-lens",
            module="mflux.models.lens.variants.txt2img.lens_image",
            name="LensImage",
            latents="mflux.models.flux2.latent_creator.flux2_latent_creator.Flux2LatentCreator",
            checkpoints=(Checkpoint(key="lens-turbo", steps=4),),
        ),
        WarmModel(
            command="mflux-generate-ming",
            module="mflux.models.ming_image.variants.ming_image",
            name="MingImage",
            latents="mflux.models.ming_image.latent_creator.ming_latent_creator.MingLatentCreator",
            checkpoints=(Checkpoint(key="ming-image-design", steps=12, guided=True),),
        ),
        WarmModel(
            command="mflux-generate-anima",
            module="mflux.models.anima.variants.txt2img.anima",
            name="Anima",
            latents="mflux.models.anima.latent_creator.anima_latent_creator.AnimaLatentCreator",
            checkpoints=(
                Checkpoint(key="anima-turbo", steps=10, guided=True),
                Checkpoint(key="anima-aesthetic", steps=30, guided=True),
                Checkpoint(key="anima-base", steps=30, guided=True),
            ),
            scheduler="er_sde",
            honours=_LORA_AND_NEGATIVE,
        ),
        WarmModel(
            command="mflux-generate-boogu",
            module="mflux.models.boogu.variants.txt2img.boogu_image",
            name="BooguImage",
            checkpoints=(Checkpoint(key="boogu-image-turbo", steps=4),),
        ),
        WarmModel(
            command="mflux-generate-moss-image",
            module="mflux.models.moss_image.variants.txt2img.moss_image",
            name="MOSSImage",
            latents="mflux.models.moss_image.latent_creator.MOSSImageLatentCreator",
            checkpoints=(
                Checkpoint(key="moss-image-sft", steps=50, guided=True),
                Checkpoint(key="moss-image-base", steps=50, guided=True),
            ),
            guidance=3.0,
            honours=_LORA_AND_NEGATIVE,
        ),
    )
}
"""By command."""
