"""One streamed answer, in any dialect: chunks as the server writes them, and what it means when it stops."""

import math
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final, Self

import httpx2
import trio

from actors.llm.backend import Chunk, Finished, TextChunk
from actors.llm.decoding import Decoder, Gibberish, Overflow, SaidError
from actors.llm.endpoint import Endpoint
from protocol.errors import HatcheryError, LlmFailed, LlmUnavailable

FAREWELL_TIMEOUT_S: Final = 1.0
"""How long a server may take from its reason to finish to its end of stream."""

_TOKENS: Final = "it reached a limit of tokens; raise the LLM max_tokens, or the model's context length"
_REFUSED: Final = "it refused, or a filter stopped it; write another prompt, or choose another LLM model"
_CUT_SHORT: Final = {
    "length": _TOKENS,
    "max_tokens": _TOKENS,
    "model_context_window_exceeded": _TOKENS,
    "content_filter": _REFUSED,
    "refusal": _REFUSED,
}
"""Reasons to finish that are failures, of all dialects."""


class Answer:
    """The chunks of one answer; a failure comes after everything that was written before it."""

    def __init__(self, endpoint: Endpoint, pieces: AsyncGenerator[bytes, None], decoder: Decoder) -> None:
        self._endpoint = endpoint
        self._pieces = pieces
        self._decoder = decoder
        self._ready: deque[Chunk] = deque()
        self._wrote = False
        self._finished: Finished | None = None  # held back until the server has ended the stream too
        self._over = False
        self._failure: HatcheryError | None = None
        self._deadline = math.inf

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self._over:
                raise StopAsyncIteration
            await self._read()
        return self._ready.popleft()

    async def _read(self) -> None:
        """Take the next bytes, or the end; a finished answer waits for the end only briefly and fails no more."""
        piece: bytes | None = None
        try:
            with trio.CancelScope(deadline=self._deadline):
                piece = await anext(self._pieces, None)
            if piece is None:
                self._stop(None if self._wrote else self._hung_up())
            else:
                self._take(piece)
        except httpx2.HTTPError as error:
            self._stop(self._broke(error) if self._wrote else self._endpoint.unreachable(error))
        except Overflow as error:
            self._stop(LlmFailed(f"The LLM server at {self._endpoint} sent too much at once ({error}): see its log."))
        except Gibberish as error:
            self._stop(self._misunderstood(error))
        except SaidError as error:
            self._stop(self._said(error))
        except HatcheryError as failure:
            self._stop(failure)

    def _take(self, piece: bytes) -> None:
        for chunk in self._decoder.feed(piece):
            if self._finished is not None:
                continue
            match chunk:
                case TextChunk():
                    self._wrote = True
                case Finished(reason) if reason in _CUT_SHORT:
                    raise LlmFailed(f"The LLM did not finish: {_CUT_SHORT[reason]}.")
                case Finished():
                    self._finished = chunk
                    self._deadline = trio.current_time() + FAREWELL_TIMEOUT_S
                    continue
            self._ready.append(chunk)
        if self._decoder.over:
            self._stop(None)

    def _stop(self, failure: HatcheryError | None) -> None:
        """Nothing more is read; a finished answer is finished, whatever follows."""
        self._over = True
        if self._finished is not None:
            self._ready.append(self._finished)
        else:
            self._failure = failure

    def _hung_up(self) -> LlmUnavailable:
        return LlmUnavailable(
            f"The LLM server at {self._endpoint} hung up before it wrote anything: check that it still runs."
        )

    def _broke(self, error: httpx2.HTTPError) -> LlmFailed:
        return LlmFailed(
            f"The connection to the LLM server at {self._endpoint} broke in mid-answer ({type(error).__name__}): "
            "check that it still runs, and hatch again."
        )

    def _misunderstood(self, error: Gibberish) -> LlmFailed:
        return LlmFailed(
            f"The LLM server at {self._endpoint} streams something else ({error}): "
            f"check that the LLM base URL is that of {self._endpoint.api.title}."
        )

    def _said(self, error: SaidError) -> HatcheryError:
        quote = self._endpoint.quote(error.body)
        if error.busy and not self._wrote:
            return LlmUnavailable(f"The LLM server at {self._endpoint} takes no work for now{quote}: try again later.")
        return LlmFailed(
            f"The LLM server at {self._endpoint} broke off{quote}: see its log, or choose another LLM model."
        )
