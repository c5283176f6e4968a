"""Autobahn's sections 5 and 10: messages in fragments, whole, broken, interleaved, and cut automatically."""

import pytest

from tests.helpers.conformance import Case, chopped, echoed, fails, open_bench
from tests.helpers.frames import Op, ServerFrame, client_frame


def first(payload: bytes) -> bytes:
    return client_frame(Op.TEXT, payload, fin=False)


def more(payload: bytes) -> bytes:
    return client_frame(Op.CONT, payload, fin=False)


def last(payload: bytes) -> bytes:
    return client_frame(Op.CONT, payload)


def whole(payload: bytes) -> bytes:
    return client_frame(Op.TEXT, payload)


def ping(payload: bytes, *, fin: bool = True) -> bytes:
    return client_frame(Op.PING, payload, fin=fin)


def in_fragments(opcode: Op, payload: bytes, size: int) -> bytes:
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    final = len(parts) - 1
    return b"".join(
        client_frame(Op.CONT if number else opcode, part, fin=number == final) for number, part in enumerate(parts)
    )


TEXT_AND_PONG = (ServerFrame(Op.PONG, b"p"), ServerFrame(Op.TEXT, b"onetwo"))
FIVE = (first(b"one"), more(b"two"), ping(b"p"), more(b"three"), ping(b"q"), last(b"four"))
ALL_OF_IT = (ServerFrame(Op.PONG, b"p"), ServerFrame(Op.PONG, b"q"), ServerFrame(Op.TEXT, b"onetwothreefour"))

FRAGMENTS = [
    fails("5.1 a ping in two", ping(b"one", fin=False), last(b"two")),
    fails("5.2 a pong in two", client_frame(Op.PONG, b"one", fin=False), last(b"two")),
    fails("5 a close in two", client_frame(Op.CLOSE, b"\x03", fin=False), last(b"\xe8")),
    echoed("5.3 a text in two", first(b"one"), last(b"two"), text="onetwo"),
    echoed("5.4 in one packet", first(b"one") + last(b"two"), text="onetwo"),
    echoed("5.5 byte by byte", *chopped(first(b"one") + last(b"two")), text="onetwo"),
    Case("5.6 a ping between", (first(b"one"), ping(b"p"), last(b"two")), TEXT_AND_PONG),
    Case("5.7 in one packet", (first(b"one") + ping(b"p") + last(b"two"),), TEXT_AND_PONG),
    Case("5.8 byte by byte", chopped(first(b"one") + ping(b"p") + last(b"two")), TEXT_AND_PONG),
    fails("5.9 nothing to continue", last(b"non-existing")),
    fails("5.10 in one packet with a message", last(b"non-existing") + whole(b"hello")),
    fails("5.11 byte by byte", *chopped(last(b"non-existing"))),
    fails("5.12 nothing to continue, without an end", more(b"non-existing")),
    fails("5.13 behind a whole message that was in fragments", more(b"x"), last(b"y")),
    fails("5.18 two beginnings", first(b"one"), first(b"two")),
    fails("5.18 a whole message in the midst of another", first(b"one"), whole(b"two")),
    fails("5.18 a binary message in the midst of a text", first(b"one"), client_frame(Op.BINARY, b"two")),
    Case("5.19 five fragments and two pings", FIVE, ALL_OF_IT),
    Case("5.20 in one packet", (b"".join(FIVE),), ALL_OF_IT),
    echoed("5 empty fragments", first(b""), more(b""), last(b""), text=""),
    echoed("5 many empty fragments", first(b"a"), more(b"") * 2000, last(b"b"), text="ab"),
    echoed("5 an unsolicited pong between", first(b"a"), client_frame(Op.PONG, b"?"), last(b"b"), text="ab"),
    Case(
        "5 one message after another",
        (first(b"a") + last(b"b") + first(b"c") + last(b"d"),),
        (ServerFrame(Op.TEXT, b"ab"), ServerFrame(Op.TEXT, b"cd")),
    ),
]

AUTOMATIC = [
    *(
        echoed(f"10.1 text in fragments of {n}", in_fragments(Op.TEXT, b"*" * 65536, n), text="*" * 65536)
        for n in (64, 1300, 4096)
    ),
    *(
        echoed(f"10.1 binary in fragments of {n}", in_fragments(Op.BINARY, b"\xfe" * 65536, n), binary=b"\xfe" * 65536)
        for n in (64, 1300, 4096)
    ),
    echoed("9.5 byte by byte", in_fragments(Op.TEXT, b"*" * 2000, 1), text="*" * 2000),
]


@pytest.mark.parametrize("section", [FRAGMENTS, AUTOMATIC], ids=["fragments", "automatic"])
async def test_fragments(section: list[Case]) -> None:
    async with open_bench() as bench:
        for case in section:
            await bench.check(case)
