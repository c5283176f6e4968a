"""The demo writer: an honest toy that composes a persona from the prompt and streams it like a model would."""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Final

import msgspec
import trio

from actors.llm.backend import Chunk, Finished, LlmRequest, TextChunk
from actors.llm.tale.compose import compose_persona
from actors.versions import own_version
from protocol.maker import Maker

TOTAL_S: Final = 3.0
_PIECE: Final = re.compile(r"\s*\w{1,6}|.", re.DOTALL)  # about the size of a model's tokens


class DemoWriter:
    """Streams one composed persona in `total_s` seconds, in pieces of a few characters; 0 means without waiting."""

    name = "demo"

    def __init__(self, total_s: float = TOTAL_S) -> None:
        self.maker = Maker(engine=self.name, version=own_version())
        self._total_s = total_s

    def open_stream(self, request: LlmRequest) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """The same answer for the same prompt and seed; it never fails."""
        return self._open(request)

    @asynccontextmanager
    async def _open(self, request: LlmRequest) -> AsyncIterator[AsyncIterator[Chunk]]:
        persona = compose_persona(request.prompt, request.seed or 0)
        text = json.dumps(msgspec.to_builtins(persona), ensure_ascii=False, indent=1)
        async with aclosing(self._chunks(_PIECE.findall(text))) as chunks:
            yield chunks

    async def _chunks(self, pieces: list[str]) -> AsyncGenerator[Chunk, None]:
        began = trio.current_time()
        for i, piece in enumerate(pieces, 1):
            await trio.sleep_until(began + self._total_s * i / len(pieces))
            yield TextChunk(piece)
        yield Finished("stop")
