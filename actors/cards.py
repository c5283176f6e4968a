"""Pictures that carry their agent: Character Cards in a PNG's text chunks, put in and read back without re-encoding.

Chunk layout: www.w3.org/TR/png-3; keywords and base64: Character Card V3 and V2. What a picture's maker wrote into
it (EXIF, XMP, comments, times) is left out of a card: an image command writes prompts and paths of its machine there,
which may be private, and a card says by itself what its owner means to share.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from protocol.card import MAX_CARD, Making, to_card, to_card_v2
from protocol.errors import BadMessage, Invalid, TooLarge
from protocol.maker import Maker
from protocol.persona import Persona

MAX_PNG: Final = 64 * 1024 * 1024  # bytes
MAX_CHUNKS: Final = 20_000  # a 4096x4096 picture in libpng's chunks of 8 KiB has about 6,000
MAX_CARD_CHUNK: Final = MAX_CARD * 4 // 3 + 64  # bytes: a card in base64, with keyword and padding

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PIXELS: Final = frozenset(b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP sBIT cICP pHYs bKGD".split())
"""What a viewer needs to show the same colours in the same shape."""
_KEYWORDS: Final = (b"ccv3", b"chara")  # the newer one counts


class _Chunk(msgspec.Struct, frozen=True):
    """One chunk: its type, its data, and all its bytes as they stand in the file."""

    kind: bytes
    data: memoryview
    whole: memoryview


def card_png(picture: bytes, persona: Persona, making: Making) -> bytes:
    """The same pixels as a card: V3 as `ccv3`, V2 as `chara`, and how they were made as `hatchery` (without prompts).

    Any text that `picture` held is replaced. Raises BadMessage for a damaged PNG and TooLarge.
    """
    texts = (
        _text(b"ccv3", base64.b64encode(to_card(persona, making))),
        _text(b"chara", base64.b64encode(to_card_v2(persona, making))),
        _text(b"hatchery", _note(making)),
    )
    *shown, end = (chunk.whole for chunk in _chunks(picture) if chunk.kind in _PIXELS)
    return b"".join((_SIGNATURE, *shown, *texts, end))


def read_card(png: bytes) -> bytes:
    """The card that a PNG carries, V3 rather than V2: JSON that nobody has checked yet.

    Raises BadMessage for a damaged PNG or card, TooLarge, and Invalid when there is no card.
    """
    found: dict[bytes, memoryview] = {}
    for chunk in _chunks(png):
        if chunk.kind == b"tEXt":  # compressed text is never inflated: no card is in one
            keyword, separator, _ = bytes(chunk.data[:80]).partition(b"\0")
            if separator:
                found.setdefault(keyword.lower(), chunk.data[len(keyword) + 1 :])
    for keyword in _KEYWORDS:
        if keyword in found:
            return _decoded(found[keyword])
    raise Invalid("this picture carries no character card")


def _decoded(text: memoryview) -> bytes:
    if len(text) > MAX_CARD_CHUNK:
        raise TooLarge(f"a character card has at most {MAX_CARD} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise BadMessage(f"the picture's character card is damaged: {error}") from error


def _note(making: Making) -> bytes:
    """JSON in ASCII, since tEXt holds Latin-1 only."""
    painter = making.painter or Maker(engine=making.engines.image)
    return json.dumps(
        {
            "model": painter.model,
            "seed": making.seed,
            "steps": making.steps,
            "engine": painter.engine,
            "version": painter.version,
        }
    ).encode("ascii")


def _text(keyword: bytes, text: bytes) -> bytes:
    body = b"tEXt" + keyword + b"\0" + text
    return (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def _chunks(png: bytes) -> Iterator[_Chunk]:
    """Every chunk up to the end chunk, its length and checksum right; what follows the end is not looked at.

    Raises BadMessage and TooLarge, possibly after some chunks.
    """
    if len(png) > MAX_PNG:
        raise TooLarge(f"a PNG has at most {MAX_PNG} bytes, this one {len(png)}")
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


def _chunk_at(png: memoryview, start: int) -> _Chunk:
    data = start + 8
    end = data + int.from_bytes(png[start : start + 4], "big")
    if len(png) < end + 4:
        raise BadMessage("the PNG is damaged: it ends early")
    kind = bytes(png[start + 4 : data])
    if zlib.crc32(png[start + 4 : end]) != int.from_bytes(png[end : end + 4], "big"):
        raise BadMessage(f"the PNG is damaged: the checksum of {kind!r} is wrong")
    return _Chunk(kind, png[data:end], png[start : end + 4])
