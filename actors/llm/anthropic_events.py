"""What the events of Anthropic's streamed messages mean, without I/O: server-sent events in, chunks out.

The events: https://platform.claude.com/docs/en/build-with-claude/streaming; unknown ones are to be ignored.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from actors.llm.backend import Chunk, Finished, TextChunk, ThinkingChunk
from actors.llm.decoding import Gibberish, SaidError
from actors.llm.sse import SseEvent, SseParser

_BUSY: Final = frozenset({"overloaded_error", "rate_limit_error", "timeout_error"})


class _Delta(msgspec.Struct):
    """Of a content block, or of the message."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str
    delta: _Delta | None = None
    error: Any = None


class AnthropicDecoder:
    """Decodes `/v1/messages`; see Decoder."""

    def __init__(self) -> None:
        self.over = False
        self._parser = SseParser()

    def feed(self, piece: bytes) -> Iterator[Chunk]:
        """See Decoder."""
        for item in self._parser.feed(piece):
            if not isinstance(item, SseEvent):
                continue
            match _decode(item.data):
                case _Event("content_block_delta", _Delta("text_delta", text=text)) if text:
                    yield TextChunk(text)
                case _Event("content_block_delta", _Delta("thinking_delta", thinking=thought)) if thought:
                    yield ThinkingChunk(thought)
                case _Event("message_delta", _Delta(stop_reason=str(reason))):
                    yield Finished(reason)
                case _Event("message_stop"):
                    self.over = True
                    return
                case _Event("error", error=error):
                    raise _said(error)


def _decode(data: str) -> _Event:
    try:
        return msgspec.json.decode(data, type=_Event)
    except (ValueError, RecursionError) as error:
        raise Gibberish("no event of a message") from error


def _said(error: object) -> SaidError:
    match error:
        case {"type": str(kind)}:
            return SaidError({"error": error}, busy=kind in _BUSY)
    return SaidError({"error": error})
