"""The LLM backend for Ollama's native API, which says more than its OpenAI-compatible one.

The format: https://docs.ollama.com/api/chat
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from actors.llm.asking import Asker
from actors.llm.backend import Chunk, LlmRequest
from actors.llm.endpoint import CONNECT_TIMEOUT_S, Api, Endpoint
from actors.llm.maker import server_maker
from actors.llm.ollama_lines import OllamaDecoder
from actors.llm.openai import MAX_TOKENS, TEMPERATURE
from actors.llm.schema import grammar_schema

OLLAMA: Final = Api(
    title="Ollama",
    example="http://127.0.0.1:11434",
    cut_off=("/api/chat", "/api", "/v1"),
    stream_type="application/x-ndjson",
    missing_model="run `ollama pull {model}`, or set the LLM model to one that `ollama list` shows",
)


class OllamaBackend:
    """Streams `{base_url}/api/chat`; how long the model stays loaded is left to the server.

    `think` asks a model to reason or not to; None leaves that to the model. `format` and `think` are left out when a
    server refuses them. Raises ValueError for a malformed `base_url` or `api_key`.
    """

    name = "ollama"

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        *,
        think: bool | None = None,
        max_tokens: int = MAX_TOKENS,
        temperature: float = TEMPERATURE,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        endpoint = Endpoint(base_url, api_key, api=OLLAMA, connect_timeout_s=connect_timeout_s)
        extras: dict[str, Any] = {"format": grammar_schema()}
        if think is not None:
            extras["think"] = think
        self._options = {"num_predict": max_tokens, "temperature": temperature}
        self.maker = server_maker(self.name, model)
        self._asker = Asker(endpoint, "api/chat", OllamaDecoder, model=model, extras=extras)

    def open_stream(self, request: LlmRequest) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """See LlmBackend."""
        return self._asker.ask({"messages": request.messages, "options": self._options})
