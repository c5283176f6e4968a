"""Autobahn's section 7: codes and reasons of a close, and what comes behind it."""

import pytest

from tests.helpers.conformance import Case, chopped, echoed, fails, open_bench
from tests.helpers.frames import Op, client_frame, close_frame

GOOD = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
BAD = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
BYE = close_frame(1000)


def closed(name: str, *sent: bytes, code: int | None = 1000) -> Case:
    return Case(name, sent, (), code, closes=True)


ENDINGS = [
    echoed("7.1.1 behind a message", client_frame(Op.TEXT, b"hi"), text="hi"),
    closed("7.1.2 twice", BYE, BYE),
    closed("7.1.2 twice in one packet", BYE + close_frame(1001)),
    closed("7.1.3 and a ping behind it", BYE, client_frame(Op.PING, b"late")),
    closed("7.1.4 and a message behind it", BYE + client_frame(Op.TEXT, b"late")),
    closed("7.1.4 and bytes that are no frame", BYE + b"\xff" * 100),
    closed("7.1.5 in the midst of a message", client_frame(Op.TEXT, b"one", fin=False) + BYE, code=1002),
    closed("7.1.6 behind a long message", client_frame(Op.PONG, b"") * 1000 + BYE),
    closed("7.3.1 without a code", client_frame(Op.CLOSE), code=None),
    fails("7.3.2 with half a code", client_frame(Op.CLOSE, b"\x03")),
    closed("7.3.3 with a code", BYE),
    closed("7.3.4 with a reason", close_frame(1000, b"Hello World!")),
    closed("7.3.5 with as long a reason as may be", close_frame(1000, b"*" * 123)),
    fails("7.3.6 with one too long", close_frame(1000, b"*" * 124)),
    closed("7 byte by byte", *chopped(close_frame(4321, "größer".encode())), code=4321),
    *(fails(f"7.5.1 a reason that is not UTF-8: {bad!r}", close_frame(1000, bad), code=1007)
      for bad in (b"\xff", b"ok\xc3", b"\xed\xa0\x80", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80")),
]  # fmt: skip
CODES = [
    *(closed(f"7.7 code {code}", close_frame(code), code=code) for code in GOOD),
    *(fails(f"7.9 code {code}", close_frame(code)) for code in BAD),
    *(fails(f"7.9 code {code} with a reason", close_frame(code, b"because")) for code in BAD),
]


@pytest.mark.parametrize("section", [ENDINGS, CODES], ids=["endings", "codes"])
async def test_closing(section: list[Case]) -> None:
    async with open_bench() as bench:
        for case in section:
            await bench.check(case)
