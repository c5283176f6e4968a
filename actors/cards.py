"""Pictures that carry their agent: Character Cards in a PNG's text chunks, put in and read back without re-encoding.

Keywords and base64: Character Card V3 and V2. A card says by itself what its owner means to share, so whatever else a
picture carries is left out of it.
"""

import base64
import binascii
import json
from typing import Final

from actors.png import bare_png, chunks
from protocol.card import MAX_CARD, Making, to_card, to_card_v2
from protocol.errors import BadMessage, Invalid, TooLarge
from protocol.maker import Maker
from protocol.persona import Persona

MAX_PNG: Final = 64 * 1024 * 1024  # bytes
MAX_CARD_CHUNK: Final = MAX_CARD * 4 // 3 + 64  # bytes: a card in base64, with keyword and padding

_KEYWORDS: Final = (b"ccv3", b"chara")  # the newer one counts


def card_png(picture: bytes, persona: Persona, making: Making) -> bytes:
    """The same pixels as a card: V3 as `ccv3`, V2 as `chara`, and how they were made as `hatchery` (without prompts).

    Any text that `picture` held is replaced. Raises BadMessage for a damaged PNG and TooLarge.
    """
    return bare_png(
        picture,
        (b"ccv3", base64.b64encode(to_card(persona, making))),
        (b"chara", base64.b64encode(to_card_v2(persona, making))),
        (b"hatchery", _note(making)),
    )


def read_card(png: bytes) -> bytes:
    """The card that a PNG carries, V3 rather than V2: JSON that nobody has checked yet.

    Raises BadMessage for a damaged PNG or card, TooLarge, and Invalid when there is no card.
    """
    if len(png) > MAX_PNG:
        raise TooLarge(f"a PNG has at most {MAX_PNG} bytes, this one {len(png)}")
    found: dict[bytes, memoryview] = {}
    for chunk in chunks(png):
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
