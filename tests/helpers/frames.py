"""WebSocket frames by hand (RFC 6455, section 5.2), so that no library stands between a test and the wire."""

import os
from enum import IntEnum
from typing import Final

import msgspec


class Op(IntEnum):
    """The opcodes that the RFC defines."""

    CONT = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class ServerFrame(msgspec.Struct, frozen=True):
    """A frame as a server sends it: unmasked."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0


SHORT: Final = 126  # lengths below stand in seven bits
MEDIUM: Final = 1 << 16  # lengths below stand in two bytes


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"",
    length: bytes | None = None,
) -> bytes:
    """One frame of a client; `rsv` is three bits, `mask` empty for a random key or None for no masking at all.

    `length` takes the place of the seven bits and what follows them, for lengths that lie.
    """
    first = fin << 7 | rsv << 4 | opcode
    head = bytearray(length if length is not None else encoded_length(len(payload)))
    if mask is None:
        return bytes((first, *head)) + payload
    key = mask or os.urandom(4)
    head[0] |= 0x80
    return bytes((first, *head)) + key + masked_with(key, payload)


def masked_with(key: bytes, payload: bytes) -> bytes:
    """The payload under this key of four bytes."""
    size = len(payload)
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


def encoded_length(size: int) -> bytes:
    """A payload's length in as few bytes as the RFC asks for."""
    if size < SHORT:
        return bytes((size,))
    if size < MEDIUM:
        return b"\x7e" + size.to_bytes(2, "big")
    return b"\x7f" + size.to_bytes(8, "big")


def close_frame(code: int, reason: bytes = b"") -> bytes:
    """A client's close."""
    return client_frame(Op.CLOSE, code.to_bytes(2, "big") + reason)


def split_frames(data: bytes) -> tuple[list[ServerFrame], bytes]:
    """The whole frames at the front of what a server has sent, and the rest; asserts unmasked and minimal lengths."""
    frames = []
    while len(data) >= 2:
        first, size = data[0], data[1]
        assert size < 0x80, "a server masks nothing"
        wide = {SHORT: 2, SHORT + 1: 8}.get(size, 0)
        head = 2 + wide
        if len(data) < head:
            break
        size = int.from_bytes(data[2:head], "big") if wide else size
        if len(data) < head + size:
            break
        assert data[1:head] == encoded_length(size)
        frames.append(ServerFrame(first & 0x0F, data[head : head + size], bool(first & 0x80), first >> 4 & 7))
        data = data[head + size :]
    return frames, data
