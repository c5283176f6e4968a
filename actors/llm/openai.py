"""The LLM backend for every server that speaks OpenAI's chat completions: most local ones, and many hosted ones."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final

from actors.llm.asking import Asker
from actors.llm.backend import Chunk, LlmRequest
from actors.llm.endpoint import CONNECT_TIMEOUT_S, OPENAI, Endpoint
from actors.llm.maker import server_maker
from actors.llm.openai_chunks import OpenAiDecoder
from actors.llm.schema import grammar_schema

MAX_TOKENS: Final = 4096
TEMPERATURE: Final = 0.8


class OpenAiBackend:
    """Streams `{base_url}/chat/completions`.

    `response_format`, `return_progress`, `max_tokens` and `temperature` are left out when a server refuses them.
    Raises ValueError for a malformed `base_url` or `api_key`.
    """

    name = "openai"

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        *,
        max_tokens: int = MAX_TOKENS,
        temperature: float = TEMPERATURE,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        endpoint = Endpoint(base_url, api_key, api=OPENAI, connect_timeout_s=connect_timeout_s)
        json_schema = {"name": "persona", "strict": True, "schema": grammar_schema()}
        extras = {
            "response_format": {"type": "json_schema", "json_schema": json_schema},
            "return_progress": True,
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        self.maker = server_maker(self.name, model)
        self._asker = Asker(endpoint, "chat/completions", OpenAiDecoder, model=model, extras=extras)

    def open_stream(self, request: LlmRequest) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """See LlmBackend."""
        return self._asker.ask({"messages": request.messages})
