"""Autobahn's sections 1 to 4 and 9: lengths, pings and pongs, reserved bits and opcodes, masks, limits."""

import pytest

from tests.helpers.conformance import LIMITS, Case, chopped, echoed, fails, open_bench
from tests.helpers.frames import Op, ServerFrame, client_frame

LENGTHS = (0, 1, 125, 126, 127, 128, 65535, 65536)
HUGE = LIMITS.message_bytes


def text(payload: bytes) -> bytes:
    return client_frame(Op.TEXT, payload)


def ping(payload: bytes = b"", *, fin: bool = True) -> bytes:
    return client_frame(Op.PING, payload, fin=fin)


def pong_to(*payloads: bytes) -> tuple[ServerFrame, ...]:
    return tuple(ServerFrame(Op.PONG, payload) for payload in payloads)


MESSAGES = [
    *(echoed(f"1.1 text of {n}", text(b"*" * n), text="*" * n) for n in LENGTHS),
    *(echoed(f"1.2 binary of {n}", client_frame(Op.BINARY, b"\xfe" * n), binary=b"\xfe" * n) for n in LENGTHS),
    echoed("1.1 text of 65536 in packets of 997", *chopped(text(b"*" * 65536), 997), text="*" * 65536),
    echoed("1.2 binary of 126, byte by byte", *chopped(client_frame(Op.BINARY, b"\xfe" * 126)), binary=b"\xfe" * 126),
    echoed("1 a masking key of zeros", client_frame(Op.TEXT, b"plain", mask=b"\0\0\0\0"), text="plain"),
    echoed("1 a length in more bytes than it needs", client_frame(Op.TEXT, b"hi", length=b"\x7e\x00\x02"), text="hi"),
    echoed("1 a length in eight bytes", client_frame(Op.TEXT, b"hi", length=b"\x7f" + bytes(7) + b"\x02"), text="hi"),
]

PINGS = [
    Case("2.1 empty", (ping(),), pong_to(b"")),
    Case("2.2 with a payload", (ping(b"Hello"),), pong_to(b"Hello")),
    Case("2.3 with bytes that are no text", (ping(b"\x00\xff\xfe\xfd"),), pong_to(b"\x00\xff\xfe\xfd")),
    Case("2.4 as long as may be", (ping(b"\xfe" * 125),), pong_to(b"\xfe" * 125)),
    fails("2.5 too long", ping(b"\xfe" * 126)),
    Case("2.6 byte by byte", chopped(ping(b"\xfe" * 125)), pong_to(b"\xfe" * 125)),
    Case("2.7 a pong that nobody wanted", (client_frame(Op.PONG),)),
    Case("2.8 a pong with a payload that nobody wanted", (client_frame(Op.PONG, b"unsolicited"),)),
    Case("2.9 such a pong, and a ping", (client_frame(Op.PONG, b"x"), ping(b"y")), pong_to(b"y")),
    Case("2.10 ten", tuple(ping(b"%d" % n) for n in range(10)), pong_to(*(b"%d" % n for n in range(10)))),
    Case("2.11 ten, byte by byte", chopped(ping(b"same") * 10), pong_to(*[b"same"] * 10)),
    fails("2 a pong too long", client_frame(Op.PONG, b"\xfe" * 126)),
]

RESERVED_BITS = [
    fails(f"3 bits {rsv:03b} on {op.name}{' byte by byte' * slow}", *pieces)
    for rsv in range(1, 8)
    for op in (Op.TEXT, Op.BINARY, Op.PING, Op.CLOSE)
    for slow in (False, True)
    for whole in [client_frame(op, b"\x03\xe8", rsv=rsv)]
    for pieces in [chopped(whole) if slow else (whole,)]
]

RESERVED_OPCODES = [
    fails(f"4 opcode {opcode:#x} with {len(payload)} bytes", client_frame(opcode, payload))
    for opcode in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF)
    for payload in (b"", b"reserved")
]

MASKS = [
    fails(f"5.1 unmasked {op.name}", client_frame(op, payload, mask=None))
    for op, payload in ((Op.TEXT, b"hi"), (Op.BINARY, b""), (Op.PING, b""), (Op.CLOSE, b"\x03\xe8"))
]

LIMITED = [
    echoed("9 as long as may be", client_frame(Op.BINARY, b"x" * HUGE), binary=b"x" * HUGE),
    fails("9 one byte more", client_frame(Op.BINARY, b"x" * (HUGE + 1)), code=1009),
    fails("9 announced only", client_frame(Op.TEXT, length=b"\x7f" + (1 << 62).to_bytes(8, "big")), code=1009),
    fails("9 the highest bit of a length", client_frame(Op.TEXT, length=b"\x7f" + b"\xff" * 8), code=1009),
    fails(
        "9 too long in two fragments",
        client_frame(Op.TEXT, b"x" * HUGE, fin=False),
        client_frame(Op.CONT, b"x"),
        code=1009,
    ),
    fails(
        "9 too long in fragments without end",
        client_frame(Op.BINARY, b"", fin=False),
        *(client_frame(Op.CONT, b"x" * 1000, fin=False) for _ in range(HUGE // 1000 + 1)),
        code=1009,
    ),
    Case(
        "9.7 a thousand messages",
        tuple(text(b"%d" % n) for n in range(1000)),
        tuple(ServerFrame(Op.TEXT, b"%d" % n) for n in range(1000)),
    ),
]


@pytest.mark.parametrize(
    "section",
    [MESSAGES, PINGS, RESERVED_BITS, RESERVED_OPCODES, MASKS, LIMITED],
    ids=["messages", "pings", "reserved-bits", "reserved-opcodes", "masks", "limits"],
)
async def test_frames(section: list[Case]) -> None:
    async with open_bench() as bench:
        for case in section:
            await bench.check(case)
