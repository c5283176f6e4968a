"""The port between the LLM actor and whatever writes text: a request in, a stream of chunks out."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import msgspec

from protocol.maker import Maker


class Message(msgspec.Struct, frozen=True):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class LlmRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One completion: the chat so far, and the person's own words and seed for engines that do not read chats."""

    messages: tuple[Message, ...]
    prompt: str
    seed: int | None = None


class TextChunk(msgspec.Struct, frozen=True):
    """A piece of the answer."""

    text: str


class ThinkingChunk(msgspec.Struct, frozen=True):
    """A piece of reasoning that the server keeps apart from the answer."""

    text: str


class Waiting(msgspec.Struct, frozen=True):
    """The engine cannot be asked yet, for this reason; None: now it is."""

    reason: str | None


class Prefill(msgspec.Struct, frozen=True):
    """How many of the prompt's tokens the server has read."""

    done: int
    total: int


class Finished(msgspec.Struct, frozen=True):
    """The server itself said that the answer is over; a stream that ends without this was cut off.

    Some say how many seconds they took to load the model and to read the prompt.
    """

    reason: str
    load_s: float | None = None
    prompt_s: float | None = None


Chunk = TextChunk | ThinkingChunk | Waiting | Prefill | Finished


class LlmBackend(Protocol):
    """Writes one answer at a time; leaving the context closes the connection, whatever happened inside."""

    name: str

    @property
    def maker(self) -> Maker:
        """Who writes, as it may be told to others."""

    def open_stream(self, request: LlmRequest) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """The answer as it is written.

        Raises LlmUnavailable (retryable: no connection, 429, 503, cut off before any text) or LlmFailed.
        """
