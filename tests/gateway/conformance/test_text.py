"""Autobahn's section 6: text that is UTF-8, and text that is not, whole and cut at every byte."""

from tests.helpers.conformance import LIMITS, Case, chopped, echoed, fails, open_bench, open_raw
from tests.helpers.frames import Op, client_frame, split_frames
from tests.helpers.sockets import echo, over_tcp, welcome

KOSME = "κόσμε"
GOOD = [
    "",
    "Hello-µ@ßöäüàá-UTF-8!!",
    KOSME,
    "\x00",
    "\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff",  # the bounds of each length
    "\ud7ff\ue000\ufffd",
    "\ufffe\uffff\U0001fffe\U0001ffff\U0010fffe\U0010ffff",  # noncharacters are no error
    "\ufeff",  # a byte order mark is text
    "🥚🦊👩‍👩‍👧",
]
BAD = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",  # a surrogate in good company
    b"\x80", b"\xbf", b"\x80\xbf", b"\x80\xbf\x80\xbf\x80\xbf",  # continuation bytes alone
    bytes(range(0x80, 0xC0)),
    b"".join(b"%c " % lead for lead in range(0xC0, 0xFE)),  # leads alone
    b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf",  # cut short
    b"\xfe", b"\xff", b"\xfe\xfe\xff\xff",  # never a byte of UTF-8
    b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf",  # a slash, longer than it is
    b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf",  # the longest of those
    b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80",  # NUL, longer than it is
    b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80",  # surrogates
    b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80",  # beyond the last code point
]  # fmt: skip


def text(payload: bytes, *, fin: bool = True) -> bytes:
    return client_frame(Op.TEXT, payload, fin=fin)


def cut(payload: bytes, at: int) -> tuple[bytes, bytes]:
    return text(payload[:at], fin=False), client_frame(Op.CONT, payload[at:])


async def test_good_text_comes_back_whole_and_cut_at_every_byte() -> None:
    cases = [
        case
        for said in GOOD
        for raw in [said.encode()]
        for case in (
            echoed(f"6 {said!r}", text(raw), text=said),
            echoed(f"6 {said!r} byte by byte", *chopped(text(raw)), text=said),
            *(echoed(f"6 {said!r} cut at {at}", *cut(raw, at), text=said) for at in range(1, len(raw))),
        )
    ]
    async with open_bench() as bench:
        for case in cases:
            await bench.check(case)


async def test_bad_text_closes_with_1007_whole_and_cut_at_every_byte() -> None:
    cases = [
        case
        for raw in BAD
        for case in (
            fails(f"6 {raw!r}", text(raw), code=1007),
            fails(f"6 {raw!r} in good company", text(b"before" + raw + b"after"), code=1007),
            *(fails(f"6 {raw!r} cut at {at}", *cut(raw, at), code=1007) for at in range(1, min(len(raw), 8))),
        )
    ]
    async with open_bench() as bench:
        for case in cases:
            await bench.check(case)


async def test_bytes_that_are_no_text_may_be_binary() -> None:
    async with open_bench() as bench:
        for raw in BAD:
            await bench.check(echoed(f"6 {raw!r} as binary", client_frame(Op.BINARY, raw), binary=raw))


async def test_bad_text_is_refused_with_its_fragment_not_with_its_message() -> None:
    beginnings = [
        (text(KOSME.encode() + b"\xf4\x90", fin=False),),
        (text(b"\xed", fin=False), client_frame(Op.CONT, b"\xa0\x80", fin=False)),
    ]
    async with over_tcp(welcome(echo), LIMITS) as address:
        for sent in beginnings:
            async with await open_raw(address) as stream:
                for piece in sent:
                    await stream.send_all(piece)  # and nothing more: the message never ends
                (close,), _ = split_frames(bytes(await stream.receive_some()))
                assert (close.opcode, close.payload[:2]) == (Op.CLOSE, (1007).to_bytes(2, "big"))


async def test_a_message_after_one_in_fragments_begins_afresh() -> None:
    kosme = KOSME.encode()
    async with open_bench() as bench:
        await bench.check(
            Case(
                "6 two cut messages",
                (*cut(kosme, 1), client_frame(Op.BINARY, kosme[:1], fin=False), client_frame(Op.CONT, b"\xff"),
                 *cut(kosme, 3)),
                (echoed("", text=KOSME).answers[0], echoed("", binary=kosme[:1] + b"\xff").answers[0],
                 echoed("", text=KOSME).answers[0]),
            )
        )  # fmt: skip
