"""A tiny GGUF model that says one chosen text, so that llama.cpp's own server streams it on any CPU.

The same trick as with `mlx_lm.server`: layers of zeros, an embedding that is the identity and a head that is a
next-token table. The server is llama.cpp's, as the wheel of xllamacpp carries it: its HTTP, grammars and habits are
real. Building and serving run in children (`python -m tests.helpers.tiny_llama_cpp …`), so that no test imports
them.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.helpers.real_llm import PERSONA_TEXT, RealLlm, free_port, real_llm

BUILD_TIMEOUT_S = 100.0
CONTEXT_TOKENS = 16384
PIECE_CHARS = 4
LAST_WORDS = 4  # in pieces
SLOW_WIDTH = 8192
"""Makes one token take some 5 ms on a CPU, and the model 50 MB."""
UNKNOWN, START, END, ASSISTANT = SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}" + ASSISTANT + "{% endif %}"
)
MODEL = "tiny"
_HEAD_WIDTH = 64
_ROOT = Path(__file__).parents[2]
_MODULE = (sys.executable, "-m", "tests.helpers.tiny_llama_cpp")


def tiny_gguf(directory: Path, text: str = PERSONA_TEXT, *, width: int = 64, endless: bool = False) -> Path:
    """Build the model in `directory` and return its file.

    It says `text` and stops; an `endless` one says its last words over and over until its context is full. A wider
    feed-forward layer makes each token slower, see `SLOW_WIDTH`. Raises `subprocess.CalledProcessError` when the build
    fails.
    """
    directory.mkdir(parents=True, exist_ok=True)
    model = directory / "tiny.gguf"
    argv = [*_MODULE, "build", str(model), f"--width={width}", *(["--endless"] if endless else [])]
    subprocess.run(argv, cwd=_ROOT, input=text.encode(), check=True, capture_output=True, timeout=BUILD_TIMEOUT_S)
    return model


@asynccontextmanager
async def llama_server(model: Path) -> AsyncGenerator[RealLlm, None]:
    """Serve `model`, one answer at a time, on a free loopback port; ready when entered, killed and reaped when left."""
    port = free_port()
    argv = [*_MODULE, "serve", str(model), f"--port={port}"]
    env = {**os.environ, "PYTHONPATH": str(_ROOT)}
    async with real_llm(argv, port, env=env, log=model.with_name(f"server-{port}.log")) as server:
        yield server


def _pieces(text: str) -> list[str]:
    """The text in parts that all differ, since llama.cpp wants every token but once."""
    pieces: dict[str, None] = {}
    start = 0
    while start < len(text):
        end = start + PIECE_CHARS
        while text[start:end] in pieces:
            end += 1
        pieces[text[start:end]] = None
        start = end
    return list(pieces)


def _build(model: Path, text: str, width: int, endless: bool) -> None:
    import numpy as np
    from gguf import GGUFWriter, TokenType

    pieces = _pieces(text)
    words = [*SPECIAL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256)), *(p.replace(" ", "▁") for p in pieces)]
    special, size = len(SPECIAL_TOKENS), len(words)
    first = size - len(pieces)
    embedding = -(-size // _HEAD_WIDTH) * _HEAD_WIDTH
    end, assistant = words.index(END), words.index(ASSISTANT)
    follower = [end] * first + [*range(first + 1, size), size - LAST_WORDS if endless else end]
    follower[assistant] = first

    writer = GGUFWriter(model, "llama")
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(embedding)
    writer.add_block_count(1)
    writer.add_feed_forward_length(width)
    writer.add_head_count(embedding // _HEAD_WIDTH)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(_HEAD_WIDTH)
    writer.add_vocab_size(size)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([word.encode() for word in words])
    writer.add_token_scores([0.0] * first + [-1000.0] * len(pieces))
    kinds = [TokenType.UNKNOWN, *[TokenType.CONTROL] * (special - 1)]
    writer.add_token_types([*kinds, *[TokenType.BYTE] * 256, *[TokenType.NORMAL] * len(pieces)])
    writer.add_unk_token_id(words.index(UNKNOWN))
    writer.add_bos_token_id(words.index(START))
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)

    head = np.zeros((size, embedding), np.float32)
    head[follower, range(size)] = 10.0  # far enough from zero to be certain at any temperature
    writer.add_tensor("token_embd.weight", np.eye(size, embedding, dtype=np.float32))
    writer.add_tensor("output_norm.weight", np.ones(embedding, np.float32))
    writer.add_tensor("output.weight", head)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(embedding, np.float32))
    shapes = {
        "attn_q": (embedding, embedding),
        "attn_k": (_HEAD_WIDTH, embedding),
        "attn_v": (_HEAD_WIDTH, embedding),
        "attn_output": (embedding, embedding),
        "ffn_gate": (width, embedding),
        "ffn_up": (width, embedding),
        "ffn_down": (embedding, width),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _serve(model: Path, port: int) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = 1
    params.n_ctx = CONTEXT_TOKENS
    params.model_alias = {MODEL}
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


def main() -> None:
    parser = argparse.ArgumentParser(description="Build MODEL, whose text comes on standard input, or serve it.")
    parser.add_argument("act", choices=["build", "serve"])
    parser.add_argument("model", type=Path)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--endless", action="store_true")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    if args.act == "build":
        _build(args.model, sys.stdin.buffer.read().decode(), args.width, args.endless)
    else:
        _serve(args.model, args.port)


if __name__ == "__main__":
    main()
