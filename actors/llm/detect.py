"""Finds a running LLM server on this machine, and the model to ask for when the person named none."""

from typing import Final

import msgspec
import trio

from actors.llm.dialect import Dialect
from actors.llm.endpoint import Endpoint
from actors.llm.maker import MLX_DEFAULT_MODEL
from actors.llm.ollama import OLLAMA
from protocol.errors import LlmUnavailable

LOCAL_PORTS: Final = (11434, 1234, 8080, 8000)
"""Where Ollama, LM Studio, mlx_lm.server or llama-server, and vLLM listen by default, in order of preference."""
PROBE_TIMEOUT_S: Final = 0.5
RESOLVE_TIMEOUT_S: Final = 5.0
_MLX_SERVER_HEADER = "BaseHTTP/"


class DetectedLlm(msgspec.Struct, frozen=True):
    """A server that answers, the model to ask it for, and the dialect to ask in."""

    base_url: str
    model: str
    dialect: Dialect = "openai"


class _Model(msgspec.Struct):
    id: str
    owned_by: str | None = None


class _OllamaVersion(msgspec.Struct):
    version: str


class _Listing(msgspec.Struct):
    """OpenAI's list shape, which tells an LLM server from any other program on the same port."""

    object: str
    data: list[_Model]


async def detect_llm(ports: tuple[int, ...] = LOCAL_PORTS, *, timeout_s: float = PROBE_TIMEOUT_S) -> DetectedLlm | None:
    """The first of `ports` on 127.0.0.1, in that order, where an OpenAI-compatible server offers a model.

    Ollama is one, and better spoken to in its own dialect. All are asked at once; the whole takes at most `timeout_s`
    seconds. Raises nothing.
    """
    models: dict[int, str] = {}
    dialects: dict[int, Dialect] = {}

    async def ask_model(port: int) -> None:
        if (model := await _offered_model(Endpoint(_local_url(port)))) is not None:
            models[port] = model

    async def ask_dialect(port: int) -> None:
        if await _is_ollama(Endpoint(_local_url(port), api=OLLAMA)):
            dialects[port] = "ollama"

    with trio.move_on_after(timeout_s):
        async with trio.open_nursery() as nursery:
            for port in ports:
                nursery.start_soon(ask_model, port)
                nursery.start_soon(ask_dialect, port)
    found = next((port for port in ports if port in models), None)
    return None if found is None else DetectedLlm(_local_url(found), models[found], dialects.get(found, "openai"))


async def resolve_model(
    base_url: str, api_key: str | None = None, *, timeout_s: float = RESOLVE_TIMEOUT_S
) -> str | None:
    """The model to ask the server at `base_url` for, or None if it cannot be had within `timeout_s` seconds.

    Raises ValueError for a malformed `base_url` or `api_key`.
    """
    endpoint = Endpoint(base_url, api_key)
    with trio.move_on_after(timeout_s):
        return await _offered_model(endpoint)
    return None


def _local_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


async def _offered_model(endpoint: Endpoint) -> str | None:
    try:
        async with endpoint.exchange("GET", "models") as reply:
            if reply.status != 200:
                return None
            return _chosen_model(await reply.read(), reply.headers.get("server", ""))
    except LlmUnavailable:
        return None


async def _is_ollama(endpoint: Endpoint) -> bool:
    """Whether the server knows what only Ollama does."""
    try:
        async with endpoint.exchange("GET", "api/version") as reply:
            if reply.status != 200:
                return False
            msgspec.json.decode(await reply.read(), type=_OllamaVersion)
    except (LlmUnavailable, ValueError, RecursionError):
        return False
    return True


def _chosen_model(body: bytes, server: str) -> str | None:
    """The first listed model that writes; None for anything that is no listing."""
    try:
        listing = msgspec.json.decode(body, type=_Listing)
    except (ValueError, RecursionError):
        return None
    if listing.object != "list":
        return None
    if server.startswith(_MLX_SERVER_HEADER) and all(model.owned_by is None for model in listing.data):
        return MLX_DEFAULT_MODEL
    return next((model.id for model in listing.data if "embed" not in model.id.lower()), None)
