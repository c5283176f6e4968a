"""Bytes of a terminal to segments: rows, endings, escape sequences, and reads that end anywhere."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.terminal import SEGMENT_LIMIT, Segment, TerminalReader

PIECES = (
    b"\r",
    b"\n",
    b"\r\n",
    b" 17%|",
    "█▎é😀".encode(),
    b"\xff",
    b"\xe2\x96",
    b"\t",
    b"\x07",
    b"\x1b",
    b"\x1b[A",
    b"\x1b[3B",
    b"\x1b[1;32m",
    b"\x1b]8;;file:///x\x1b\\",
    b"\x1b]0;title\x07",
    b"\x1b]0;never ended",
    b"\x1b(B",
    b"\x1b[12",
)
OUTPUT = st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join)


def read(*reads: bytes) -> tuple[list[Segment], Segment | None]:
    reader = TerminalReader()
    ended = [segment for data in reads for segment in reader.feed(data)]
    return ended, reader.tail


def test_a_line_feed_finishes_and_a_return_overwrites() -> None:
    ended, tail = read(b"hello\n\r 0/2\r 1/2\r")
    assert ended == [Segment("hello", 0, "line"), Segment(" 0/2", 1, "frame")]
    assert tail == Segment(" 1/2", 1, "tail")


def test_the_tail_is_there_after_each_read_and_is_not_ended_by_reading_on() -> None:
    reader = TerminalReader()
    assert reader.feed(b"\r 1/2 [00:") == []
    assert reader.tail == Segment(" 1/2 [00:", 0, "tail")
    assert reader.feed(b"01") == []
    assert reader.tail == Segment(" 1/2 [00:01", 0, "tail")
    assert reader.feed(b"\n") == [Segment(" 1/2 [00:01", 0, "line")]
    assert reader.tail is None


@pytest.mark.parametrize(
    "reads", [(b"one\r\ntwo\r\n",), (b"one\r", b"\ntwo", b"\r", b"\n"), (b"one\r\x1b[0m\ntwo\r\r\n",)]
)
def test_return_and_line_feed_finish_one_line(reads: tuple[bytes, ...]) -> None:
    assert read(*reads) == ([Segment("one", 0, "line"), Segment("two", 1, "line")], None)


def test_moving_up_and_down_leaves_the_row() -> None:
    ended, tail = read(b"\router\r\n\rinner\x1b[A\router2\n\n\rdeep\x1b[2A\rtop\x1b[Bbelow")
    assert [(segment.text, segment.row) for segment in ended] == [
        ("outer", 0),
        ("inner", 1),
        ("outer2", 0),
        ("deep", 2),
        ("top", 0),
    ]
    assert ended[1].ended == "frame"
    assert tail == Segment("below", 1, "tail")


@pytest.mark.parametrize(
    "escape",
    [
        b"\x1b[0m",
        b"\x1b[38;2;10;20;30m",
        b"\x1b[?25l",
        b"\x1b[2K",
        b"\x1b]0;title\x07",
        b"\x1b]8;id=1;file:///a%20b\x1b\\",
        b"\x1bPdevice control\x1b\\",
        b"\x1b(B",
        b"\x1b7",
        b"\x1b=",
        b"\x07",
    ],
)
def test_escape_sequences_are_stripped_wherever_a_read_ends(escape: bytes) -> None:
    data = b"ab" + escape + b"cd\n"
    for cut in range(len(data)):
        assert read(data[:cut], data[cut:]) == ([Segment("abcd", 0, "line")], None)


def test_invalid_utf8_is_replaced_and_a_cut_character_is_awaited() -> None:
    reader = TerminalReader()
    reader.feed(b"a\xff|\xe2\x96")
    assert reader.tail == Segment("a\ufffd|", 0, "tail")
    reader.feed(b"\x88")
    assert reader.tail == Segment("a\ufffd|█", 0, "tail")
    assert reader.feed(b"\xe2\x96\n") == [Segment("a\ufffd|█\ufffd", 0, "line")]


def test_a_long_segment_keeps_its_beginning_and_no_half_character() -> None:
    ended, tail = read(b"x" * (SEGMENT_LIMIT - 1) + "█".encode() * 9000 + b"\nnext")
    assert ended == [Segment("x" * (SEGMENT_LIMIT - 1), 0, "line")]
    assert tail == Segment("next", 1, "tail")


@pytest.mark.parametrize("beginning", [b"\x1b]8;;", b"\x1bP", b"\x1b[", b"\x1b(", b"\x1b[A\x1b]", b""])
@pytest.mark.parametrize("filler", [b"1", b";", b" ", b"x", b"\xe2\x96\x88"])
def test_nothing_endless_grows_or_swallows_the_next_line(beginning: bytes, filler: bytes) -> None:
    reader = TerminalReader()
    reader.feed(beginning + filler * 4096)
    tracemalloc.start()
    for _ in range(100):
        assert reader.feed(filler * 4096) == []
    for _ in range(10_000):
        reader.feed(filler)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 4 * SEGMENT_LIMIT
    assert reader.feed(b"\nhello\n")[-1].text == "hello"


@given(OUTPUT, st.data())
def test_reads_that_end_anywhere_give_the_same_segments(output: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(output)), max_size=8)))
    reads = [output[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(output)], strict=True)]
    bytewise = [bytes([byte]) for byte in output]
    assert read(*reads) == read(output) == read(*bytewise)


@given(st.binary(max_size=300))
def test_no_segment_holds_a_control_character(output: bytes) -> None:
    ended, tail = read(output)
    for segment in [*ended, *([tail] if tail else [])]:
        assert not any(ord(character) < 32 and character != "\t" for character in segment.text)
