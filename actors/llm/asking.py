"""Asks a server for a streamed answer, and asks again without what it does not know."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from actors.llm.answer import Answer
from actors.llm.backend import Chunk
from actors.llm.decoding import Decoder
from actors.llm.endpoint import Endpoint, Reply, decode_body
from protocol.errors import LlmFailed

NOT_UNDERSTOOD: Final = frozenset({400, 422})
BROKEN: Final = 500
"""Ollama's answer to a schema that it cannot turn into a grammar."""


class Asker:
    """Posts to one `path` of an endpoint, on a connection of its own for each answer.

    Sends what a server may not know (`extras`, parts of the JSON body by name) until the server refuses it; then asks
    again without, and remembers that once it worked.
    """

    def __init__(
        self, endpoint: Endpoint, path: str, decoder: Callable[[], Decoder], *, model: str, extras: Mapping[str, Any]
    ) -> None:
        self._endpoint = endpoint
        self._path = path
        self._decoder = decoder
        self._model = model
        self._extras = dict(extras)

    @asynccontextmanager
    async def ask(self, body: Mapping[str, Any]) -> AsyncGenerator[AsyncIterator[Chunk], None]:
        """The answer as it is written; leaving closes the connection, which stops the server's generation.

        Raises LlmUnavailable or LlmFailed, here or from the stream.
        """
        extras = self._extras
        while True:  # at most once more than there are extras
            content = msgspec.json.encode({"model": self._model, "stream": True, **body, **extras})
            async with self._endpoint.exchange("POST", self._path, content) as reply:
                if reply.status == 200:
                    await self._expect_stream(reply)
                    self._extras = extras
                    yield Answer(self._endpoint, reply.pieces, self._decoder())
                    return
                refusal = await reply.read()
            fewer = _without_refused(extras, reply.status, refusal)
            if fewer is None:
                raise self._endpoint.refusal(
                    reply.status,
                    decode_body(refusal),
                    model=self._model,
                    retry_after=reply.headers.get("retry-after"),
                )
            extras = fewer

    async def _expect_stream(self, reply: Reply) -> None:
        api = self._endpoint.api
        media_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == api.stream_type:
            return
        quote = self._endpoint.quote(decode_body(await reply.read()))
        raise LlmFailed(
            f"The LLM server at {self._endpoint} answered with {media_type or 'no media type'}, not with "
            f"{api.stream_type}{quote}: check that the LLM base URL is that of {api.title}."
        )


def _without_refused(extras: dict[str, Any], status: int, refusal: bytes) -> dict[str, Any] | None:
    """The extras that a refusal does not name; none if it names none of them, or None if it is about something else."""
    words = refusal.decode(errors="replace").lower().replace(" ", "_")
    kept = {name: value for name, value in extras.items() if name not in words}
    if len(kept) < len(extras) and status in (*NOT_UNDERSTOOD, BROKEN):
        return kept
    return {} if extras and status in NOT_UNDERSTOOD else None
