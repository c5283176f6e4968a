"""A tiny language model that says one chosen text, so that the unmodified `mlx_lm.server` streams it on any CPU.

Its layers are zero, its embedding is the identity and its head a next-token table, so the next token depends on the
current one alone; each piece of the text is a token of its own. The server, its protocol and its habits are real.
Building runs in a child process (`python -m tests.helpers.tiny_mlx_lm DIR`), so that no test imports mlx.
"""

import argparse
import json
import os
import string
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.helpers.real_llm import PERSONA_TEXT, RealLlm, free_port, real_llm

SERVER_COMMAND = str(Path(sys.executable).with_name("mlx_lm.server"))
BUILD_TIMEOUT_S = 100.0
PIECE_CHARS = 4
SLOW_LAYERS = 24
"""Makes one token take about 20 ms on two CPU cores, and the model 8 MB."""
UNKNOWN, END, ASSISTANT = SPECIAL_TOKENS = ("<unk>", "<|end|>", "<|assistant|>")
# mlx_lm trims spaces if the tokenizer cannot give back "a ,b", so it knows the characters of a prompt too.
PROMPT_TOKENS = (*SPECIAL_TOKENS, *string.printable)
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}" + ASSISTANT + "{% endif %}"
)
"""Every character of the messages is a token: a longer prompt takes longer to read."""


def tiny_model(directory: Path, text: str = PERSONA_TEXT, *, layers: int = 1, endless: bool = False) -> Path:
    """Build the model in `directory` and return the path for `--model`.

    It says `text` and stops; an `endless` one says it over and over until a limit of tokens. More `layers` make each
    token slower, see `SLOW_LAYERS`. Raises `subprocess.CalledProcessError` when the build fails.
    """
    argv = [sys.executable, "-m", "tests.helpers.tiny_mlx_lm", str(directory), f"--layers={layers}"]
    argv += ["--endless"] if endless else []
    root = Path(__file__).parents[2]
    subprocess.run(argv, cwd=root, input=text.encode(), check=True, capture_output=True, timeout=BUILD_TIMEOUT_S)
    return directory


@asynccontextmanager
async def mlx_lm_server(model: Path, *options: str) -> AsyncGenerator[RealLlm, None]:
    """Run `mlx_lm.server` with `model` on a free loopback port; ready when entered, killed and reaped when left."""
    port = free_port()
    home = model / "home"
    (home / "hub").mkdir(parents=True, exist_ok=True)  # its listing of models fails without a download cache
    env = {**os.environ, "MLX_DISABLE_COMPILE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    argv = [SERVER_COMMAND, f"--model={model}", "--host=127.0.0.1", f"--port={port}", *options]
    async with real_llm(argv, port, env=env, log=model / f"server-{port}.log") as server:
        yield server


def _pieces(text: str) -> list[str]:
    return [text[start : start + PIECE_CHARS] for start in range(0, len(text), PIECE_CHARS)]


def _tokenizer(pieces: list[str]) -> Any:
    """One token for each position: a number in brackets, which decodes to nothing, keeps equal pieces apart."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*PROMPT_TOKENS, *(f"\u27e6{index}\u27e7{piece}" for index, piece in enumerate(pieces))]
    vocabulary = {word: index for index, word in enumerate(words)}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    raw.decoder = decoders.Sequence([decoders.Replace(Regex("\u27e6\\d+\u27e7"), ""), decoders.Fuse()])
    raw.add_special_tokens(list(SPECIAL_TOKENS))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=raw,
        unk_token=UNKNOWN,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _config(vocabulary: int, layers: int) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": vocabulary,
        "num_hidden_layers": layers,
        "intermediate_size": 64,
        "num_attention_heads": 1,
        "head_dim": 16,
        "rms_norm_eps": 1e-6,
        "vocab_size": vocabulary,
        "tie_word_embeddings": False,
        "max_position_embeddings": 65536,
        "eos_token_id": PROMPT_TOKENS.index(END),
    }


def _build(directory: Path, text: str, layers: int, endless: bool) -> None:
    import mlx.core as mx
    from mlx.utils import tree_flatten, tree_map
    from mlx_lm.models.llama import Model, ModelArgs

    pieces = _pieces(text)
    tokenizer = _tokenizer(pieces)
    first, size = len(PROMPT_TOKENS), len(PROMPT_TOKENS) + len(pieces)
    config = _config(size, layers)
    model = Model(ModelArgs.from_dict(config))  # type: ignore[no-untyped-call]
    model.update(tree_map(mx.zeros_like, model.parameters()))
    end, assistant = PROMPT_TOKENS.index(END), PROMPT_TOKENS.index(ASSISTANT)
    follower = [end] * first + [*range(first + 1, size), first if endless else end]
    follower[assistant] = first
    identity = mx.eye(size)
    model.model.embed_tokens.weight = identity
    model.model.norm.weight = mx.ones(size)
    # Row = next token, column = current one; far enough from zero to be certain at any temperature.
    model.lm_head.weight = 10.0 * identity[mx.array(follower)].T
    directory.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(directory / "model.safetensors"), dict(tree_flatten(model.parameters())))
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    tokenizer.save_pretrained(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the model in DIRECTORY; the text comes on standard input.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--endless", action="store_true")
    args = parser.parse_args()
    _build(args.directory, sys.stdin.buffer.read().decode(), args.layers, args.endless)


if __name__ == "__main__":
    main()
