"""What the many dialects of a streamed chat completion mean, without I/O: server-sent events in, chunks out."""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from actors.llm.backend import Chunk, Finished, Prefill, TextChunk, ThinkingChunk
from actors.llm.decoding import Gibberish, SaidError
from actors.llm.endpoint import BUSY, decode_body
from actors.llm.sse import SseComment, SseEvent, SseParser

DONE: Final = "[DONE]"
_KEEPALIVE: Final = re.compile(r"keepalive (\d{1,9})/(\d{1,9})")
"""mlx_lm.server's comment while it reads the prompt."""


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _PromptProgress(msgspec.Struct):
    """llama-server's, when asked with `return_progress`."""

    total: int
    processed: int


class _Completion(msgspec.Struct):
    """One `data:` of a stream; a chunk that only counts usage has no choices."""

    choices: list[_Choice] | None = None
    prompt_progress: _PromptProgress | None = None
    error: Any = None


class OpenAiDecoder:
    """Decodes `/chat/completions`; see Decoder."""

    def __init__(self) -> None:
        self.over = False
        self._parser = SseParser()

    def feed(self, piece: bytes) -> Iterator[Chunk]:
        """See Decoder."""
        for item in self._parser.feed(piece):
            match item:
                case SseComment(text):
                    if found := _KEEPALIVE.fullmatch(text.strip()):
                        yield Prefill(int(found[1]), int(found[2]))
                case SseEvent(data=data) if data == DONE:
                    self.over = True
                    return
                case SseEvent(type="error"):
                    raise _said(decode_body(item.data.encode()))
                case SseEvent():
                    yield from _chunks_of(_completion(item.data))


def _completion(data: str) -> _Completion:
    try:
        completion = msgspec.json.decode(data, type=_Completion)
    except (ValueError, RecursionError) as error:
        raise Gibberish("no chat completion chunk") from error
    if completion.error is not None:
        raise _said({"error": completion.error})
    return completion


def _said(body: object) -> SaidError:
    match body:
        case {"error": {"code": int(code)}} if code in BUSY:
            return SaidError(body, busy=True)
    return SaidError(body)


def _chunks_of(completion: _Completion) -> Iterator[Chunk]:
    """What one completion chunk says, in order."""
    if (progress := completion.prompt_progress) is not None:
        yield Prefill(progress.processed, progress.total)
    for choice in (completion.choices or [])[:1]:
        if (delta := choice.delta) is not None:
            if thought := delta.reasoning_content or delta.reasoning:
                yield ThinkingChunk(thought)
            if delta.content:
                yield TextChunk(delta.content)
        if choice.finish_reason:
            yield Finished(choice.finish_reason)
