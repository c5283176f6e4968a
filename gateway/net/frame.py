"""Frames from the server (RFC 6455, section 5.2), built once for all who get them."""

import zlib
from typing import Final

from websockets.frames import Opcode

DEFLATED_BYTES: Final = 512
"""What is shorter goes in one packet either way, and is not worth the 10 µs that compressing it takes."""

_FIN: Final = 0x80
_COMPRESSED: Final = 0x40  # RSV1 (RFC 7692, section 6)


def frame(opcode: Opcode, payload: bytes, *, deflate: bool = False) -> bytes:
    """A whole frame: unmasked, so that one serves many watchers; compressed only for those with `deflate`.

    The head is written here, as websockets' own way through objects costs a third of what the whole delivery does.
    """
    first = _FIN | opcode
    if deflate and len(payload) >= DEFLATED_BYTES:
        compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        payload = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]  # RFC 7692, section 7.2.1
        first |= _COMPRESSED
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return bytes((first, 126, size >> 8, size & 0xFF)) + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload
