"""The LLM backend for every server that speaks OpenAI's chat completions: most local ones, and many hosted ones."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

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

    `think` asks a model to reason or not to; None leaves that to the server. It is said in the words of OpenAI and in
    those of the chat templates that vLLM, llama-server and mlx_lm.server fill in
    (https://docs.vllm.ai/en/latest/features/reasoning_outputs/).
    `response_format`, `return_progress`, `max_tokens`, `temperature` and what says `think` are left out when a server
    refuses them. Raises ValueError for a malformed `base_url` or `api_key`.
    """

    name = "openai"

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
        endpoint = Endpoint(base_url, api_key, api=OPENAI, connect_timeout_s=connect_timeout_s)
        json_schema = {"name": "persona", "strict": True, "schema": grammar_schema()}
        extras: dict[str, Any] = {
            "response_format": {"type": "json_schema", "json_schema": json_schema},
            "return_progress": True,
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        if think is not None:
            extras["reasoning_effort"] = "medium" if think else "none"
            extras["chat_template_kwargs"] = {"enable_thinking": think, "thinking": think}
        self.maker = server_maker(self.name, model)
        self._asker = Asker(endpoint, "chat/completions", OpenAiDecoder, model=model, extras=extras)

    def open_stream(self, request: LlmRequest) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """See LlmBackend."""
        return self._asker.ask({"messages": request.messages})
