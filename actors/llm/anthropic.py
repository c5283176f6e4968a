"""The LLM backend for Anthropic's Messages API.

The format: https://platform.claude.com/docs/en/api/messages
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from actors.llm.anthropic_events import AnthropicDecoder
from actors.llm.asking import Asker
from actors.llm.backend import Chunk, LlmRequest
from actors.llm.endpoint import CONNECT_TIMEOUT_S, Api, Endpoint
from actors.llm.maker import server_maker
from actors.llm.openai import MAX_TOKENS, TEMPERATURE
from actors.llm.schema import shape_schema

ANTHROPIC: Final = Api(
    title="Anthropic's Messages API",
    example="https://api.anthropic.com",
    cut_off=("/v1/messages", "/v1"),
    key_header="x-api-key",
    key_prefix="",
    headers=(("anthropic-version", "2023-06-01"),),
)


class AnthropicBackend:
    """Streams `{base_url}/v1/messages`.

    `think` asks a model to reason or not to; None leaves that to the server. What it thinks counts as `max_tokens` too.
    `output_config` (the schema), `temperature` and `thinking` are left out when a server or model refuses them.
    Raises ValueError for a malformed `base_url` or `api_key`.
    """

    name = "anthropic"

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
        endpoint = Endpoint(base_url, api_key, api=ANTHROPIC, connect_timeout_s=connect_timeout_s)
        extras: dict[str, Any] = {
            "output_config": {"format": {"type": "json_schema", "schema": shape_schema()}},
        }
        if not think:  # one that thinks takes no other temperature than its own
            extras["temperature"] = temperature
        if think is not None:
            extras["thinking"] = {"type": "adaptive" if think else "disabled"}
        self._max_tokens = max_tokens
        self.maker = server_maker(self.name, model)
        self._asker = Asker(endpoint, "v1/messages", AnthropicDecoder, model=model, extras=extras)

    def open_stream(self, request: LlmRequest) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """See LlmBackend."""
        system = [message.content for message in request.messages if message.role == "system"]
        turns = [message for message in request.messages if message.role != "system"]
        return self._asker.ask({"max_tokens": self._max_tokens, "system": "\n\n".join(system), "messages": turns})
