"""A tape as a writer: streams the recorded text in its own time, or faster, whatever it is asked."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import trio

from actors.llm.backend import Chunk, Finished, LlmRequest, TextChunk, ThinkingChunk
from actors.versions import own_version
from protocol.errors import LlmFailed
from protocol.maker import Maker
from protocol.tape import Tape, as_json, writing_of


class TapeWriter:
    """Plays the writing of `tape` at `speed` times its pace."""

    name = "tape"

    def __init__(self, tape: Tape, speed: float) -> None:
        self.maker = Maker(engine=self.name, version=own_version())
        self._writing = writing_of(tape)
        self._speed = speed

    def open_stream(self, request: LlmRequest) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """The recorded answer. Raises LlmFailed where the tape has no more of it."""
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[AsyncIterator[Chunk]]:
        async with aclosing(self._chunks()) as chunks:
            yield chunks

    async def _chunks(self) -> AsyncGenerator[Chunk, None]:
        began = trio.current_time()
        for at, piece in as_json(self._writing.pieces, whole=self._writing.persona is not None):
            await trio.sleep_until(began + at / self._speed)
            yield TextChunk(piece) if isinstance(piece, str) else ThinkingChunk(piece.delta)
        await trio.sleep_until(began + self._writing.ends_s / self._speed)
        if self._writing.persona is None:
            raise LlmFailed(self._writing.failure)
        yield Finished("stop")
