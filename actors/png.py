"""PNG files by their chunks, without decoding them: what shows the picture, and what its maker has written beside it.

Chunk layout: www.w3.org/TR/png-3. An image command writes prompts and paths of its machine into the text, EXIF and XMP
chunks, so nothing of what a viewer does not need is ever passed on.
"""

import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from protocol.errors import BadMessage, TooLarge

MAX_CHUNKS: Final = 20_000  # a 4096x4096 picture in libpng's chunks of 8 KiB has about 6,000

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_SHOWN: Final = frozenset(b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP sBIT cICP pHYs bKGD".split())
"""What a viewer needs to show the same colours in the same shape."""


class Chunk(msgspec.Struct, frozen=True):
    """One chunk: its type, its data, and all its bytes as they stand in the file."""

    kind: bytes
    data: memoryview
    whole: memoryview


def bare_png(png: bytes, *texts: tuple[bytes, bytes]) -> bytes:
    """The same picture, to the bit, with nothing else in it but these texts, as keyword and Latin-1.

    Raises BadMessage for a damaged PNG and TooLarge for one of too many chunks.
    """
    *shown, end = (chunk.whole for chunk in chunks(png) if chunk.kind in _SHOWN)
    return b"".join((_SIGNATURE, *shown, *(_text(*text) for text in texts), end))


def chunks(png: bytes) -> Iterator[Chunk]:
    """Every chunk up to the end chunk, its length and checksum right; what follows the end is not looked at.

    Raises BadMessage and TooLarge, possibly after some chunks.
    """
    if not png.startswith(_SIGNATURE):
        raise BadMessage("this is no PNG")
    view, start, drawn = memoryview(png), len(_SIGNATURE), False
    for number in range(MAX_CHUNKS):
        chunk = _chunk_at(view, start)
        if (number == 0) is not (chunk.kind == b"IHDR"):
            raise BadMessage("the PNG is damaged: its header is not where it should be")
        start += len(chunk.whole)
        drawn = drawn or chunk.kind == b"IDAT"
        if chunk.kind == b"IEND" and not drawn:
            raise BadMessage("the PNG is damaged: it holds no picture")
        yield chunk
        if chunk.kind == b"IEND":
            return
    raise TooLarge(f"a PNG has at most {MAX_CHUNKS} chunks")


def _chunk_at(png: memoryview, start: int) -> Chunk:
    data = start + 8
    end = data + int.from_bytes(png[start : start + 4], "big")
    if len(png) < end + 4:
        raise BadMessage("the PNG is damaged: it ends early")
    kind = bytes(png[start + 4 : data])
    if zlib.crc32(png[start + 4 : end]) != int.from_bytes(png[end : end + 4], "big"):
        raise BadMessage(f"the PNG is damaged: the checksum of {kind!r} is wrong")
    return Chunk(kind, png[data:end], png[start : end + 4])


def _text(keyword: bytes, text: bytes) -> bytes:
    body = b"tEXt" + keyword + b"\0" + text
    return (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
