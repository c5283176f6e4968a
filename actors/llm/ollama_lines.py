"""What the lines of Ollama's native chat mean, without I/O: JSON lines in, chunks out.

The format: https://docs.ollama.com/api/chat; an error after the first line is a line of its own.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from actors.llm.backend import Chunk, Finished, TextChunk, ThinkingChunk
from actors.llm.decoding import Gibberish, SaidError
from actors.llm.ndjson import LineParser

_NS: Final = 1e9


class _Message(msgspec.Struct):
    content: str = ""
    thinking: str = ""


class _Line(msgspec.Struct):
    """One line; the durations, in nanoseconds, stand in the last one."""

    message: _Message | None = None
    done: bool = False
    done_reason: str | None = None
    load_duration: int | None = None
    prompt_eval_duration: int | None = None
    error: Any = None


class OllamaDecoder:
    """Decodes `/api/chat`; see Decoder."""

    def __init__(self) -> None:
        self.over = False
        self._parser = LineParser()

    def feed(self, piece: bytes) -> Iterator[Chunk]:
        """See Decoder."""
        for data in self._parser.feed(piece):
            line = _decode(data)
            if (message := line.message) is not None:
                if message.thinking:
                    yield ThinkingChunk(message.thinking)
                if message.content:
                    yield TextChunk(message.content)
            if line.done:
                yield Finished(
                    line.done_reason or "stop",
                    load_s=_seconds(line.load_duration),
                    prompt_s=_seconds(line.prompt_eval_duration),
                )
                self.over = True
                return


def _decode(data: bytes) -> _Line:
    try:
        line = msgspec.json.decode(data, type=_Line)
    except (ValueError, RecursionError) as error:
        raise Gibberish("no line of a chat") from error
    if line.error is not None:
        raise SaidError({"error": line.error})
    return line


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / _NS
