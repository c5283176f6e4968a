"""A tiny random checkpoint, so that the unmodified `mflux-generate-qwen-2.1-edit` draws on any CPU.

Without an image argument that command is text-to-image, and it takes every dimension from the checkpoint's own
`config.json` files. The pictures are noise; the program, its bars, its files and its exit codes are the real ones.
Building runs in a child process (`python -m tests.helpers.tiny_mflux DIR`), so that no test imports mlx.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

MFLUX_COMMAND = str(Path(sys.executable).with_name("mflux-generate-qwen-2.1-edit"))
"""The command that can run the tiny checkpoint, from the environment that runs the tests."""

BUILD_TIMEOUT_S = 100.0
HEAD_DIM = 16
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "pad_token": SPECIAL_TOKENS[0],
    "chat_template": (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        "{% for part in m['content'] %}{{ part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
    ),
}
IMAGE_PROCESSOR_CONFIG = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "size": {"shortest_edge": 32 * 32, "longest_edge": 2 * 1024 * 1024},
}


def tiny_checkpoint(directory: Path, *, layers: int = 2, width: int = 32) -> Path:
    """Build the checkpoint in `directory`, which may be new, and return its absolute path, for `--model`.

    The defaults make 1.1 MB and steps of some 3 ms at 64x64: a job is 2-3 s of start-up (3-6 s the first time), the
    loop, 0.5 s of decode and exit. A slow step comes from `layers`, `width` (of the transformer, a multiple of 16) and
    the picture's `side`; its cost grows with layers x width x side^4. Seen on two idle CPU cores, seconds a step:

        layers=2, width=32 (1.1 MB): side 256 0.03, 512 0.15 (decode 1)
        layers=1, width=512 (22 MB): side 256 0.7, 384 2.5 (decode 1.5), 448 4 (decode 2)

    mflux evaluates this model layer by layer: with `layers=1` a whole step is one `mx.eval`, and Ctrl-C waits for it.
    Raises `subprocess.CalledProcessError` when the build fails.
    """
    directory = directory.resolve()
    argv = [sys.executable, "-m", "tests.helpers.tiny_mflux", str(directory), f"--layers={layers}", f"--width={width}"]
    root = Path(__file__).parents[2]
    subprocess.run(argv, cwd=root, env=mflux_env(), check=True, capture_output=True, timeout=BUILD_TIMEOUT_S)
    return directory


def tiny_lora(path: Path, *, layers: int = 2, width: int = 32, seed: int = 0) -> Path:
    """Write a random LoRA for that checkpoint's queries, strong enough to change every picture, and return its path.

    The format is safetensors: the length of a JSON header in eight bytes, the header, and the tensors' bytes.
    """
    random = Random(seed)
    header: dict[str, Any] = {}
    data = b""
    for layer in range(layers):
        for half, shape in (("lora_A", (2, width)), ("lora_B", (width, 2))):
            values = [random.uniform(-1, 1) for _ in range(2 * width)]
            begin, data = len(data), data + struct.pack(f"<{len(values)}f", *values)
            name = f"transformer.transformer_blocks.{layer}.attn.to_q.{half}.weight"
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    described = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(described)) + described + data)
    return path.resolve()


def mflux_argv(
    model: Path, output: Path, *extra: str, steps: int = 4, side: int = 64, seed: int = 7, prompt: str = "an owl"
) -> list[str]:
    """The command line of one job: a square picture of `side` pixels (a multiple of 32), at least 2 steps."""
    return [
        MFLUX_COMMAND,
        f"--model={model}",
        f"--prompt={prompt}",
        f"--steps={steps}",
        f"--seed={seed}",
        f"--width={side}",
        f"--height={side}",
        f"--output={output}",
        *extra,
    ]


def mflux_env(**extra: str) -> dict[str, str]:
    """The environment of one job: this process's own, offline, without tqdm settings, then `extra`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TQDM_")}
    return {**inherited, "HF_HUB_OFFLINE": "1", **extra}


def _configs(layers: int, width: int, vocab_size: int, image_token_id: int) -> dict[str, dict[str, Any]]:
    """The three component configs; mflux's own code fixes `z_dim`, the five `dim_mult` levels and the patch size."""
    heads = {"num_attention_heads": width // HEAD_DIM}
    return {
        "transformer": {
            "in_channels": 64,
            "out_channels": 64,
            "num_layers": layers,
            "attention_head_dim": HEAD_DIM,
            **heads,
            "context_in_dim": 32,
            "mlp_ratio": 3,
            "axes_dims_rope": [4, 6, 6],
        },
        "vae": {
            "base_dim": 2,
            "decoder_base_dim": 8,
            "z_dim": 64,
            "dim_mult": [1, 1, 1, 1, 1],
            "num_res_blocks": 1,
            "temporal_downsample": [False, True, True, True],
            "in_channels": 4,
            "out_channels": 4,
            "is_residual": True,
            "patch_size": None,
        },
        "text_encoder": {
            "image_token_id": image_token_id,
            "text_config": {
                "vocab_size": vocab_size,
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "head_dim": HEAD_DIM,
                "intermediate_size": 64,
                "max_position_embeddings": 2048,
                "rope_theta": 10000.0,
                "rope_scaling": {"mrope_section": [4, 2, 2]},
                "rms_norm_eps": 1e-6,
                "attention_bias": False,
            },
            "vision_config": {
                "patch_size": 16,
                "temporal_patch_size": 2,
                "in_channels": 3,
                "hidden_size": 32,
                "num_heads": 2,
                "intermediate_size": 64,
                "depth": 1,
                "spatial_merge_size": 2,
                "num_position_embeddings": 64,
                "out_hidden_size": 32,
                "deepstack_visual_indexes": [0],
            },
        },
    }


def _tokenizer() -> Any:
    """A byte-level tokenizer without merges: every text encodes, one token a byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _build(directory: Path, layers: int, width: int) -> None:
    import mlx.core as mx
    from mflux.models.common.weights.saving.model_saver import ModelSaver
    from mflux.models.qwen21.model.qwen21_text_encoder.text_encoder import QwenImage21TextEncoder
    from mflux.models.qwen21.model.qwen21_transformer.qwen_image21_transformer import QwenImage21Transformer
    from mflux.models.qwen21.model.qwen21_vae.vae import QwenImage21VAE
    from mflux.models.qwen21.weights.qwen_image21_weight_definition import QwenImage21WeightDefinition

    mx.random.seed(0)
    tokenizer = _tokenizer()
    configs = _configs(layers, width, tokenizer.get_vocab_size(), tokenizer.token_to_id("<|image_pad|>"))
    model = SimpleNamespace(
        vae=QwenImage21VAE(configs["vae"]),
        transformer=QwenImage21Transformer(configs["transformer"]),
        text_encoder=QwenImage21TextEncoder(configs["text_encoder"]),
    )
    # mflux's own saver marks the files as its own, so loading them runs no key mapping.
    ModelSaver.save_model(model, None, str(directory), QwenImage21WeightDefinition)
    for name, config in configs.items():
        _write_json(directory / name / "config.json", config)
    processor = directory / "processor"
    processor.mkdir(exist_ok=True)
    tokenizer.save(str(processor / "tokenizer.json"))
    _write_json(processor / "tokenizer_config.json", TOKENIZER_CONFIG)
    _write_json(processor / "preprocessor_config.json", IMAGE_PROCESSOR_CONFIG)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=32)
    args = parser.parse_args()
    args.directory.mkdir(parents=True, exist_ok=True)
    _build(args.directory, args.layers, args.width)


if __name__ == "__main__":
    main()
