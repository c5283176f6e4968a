from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.llm.decoding import Overflow
from actors.llm.ndjson import LineParser

STREAM = '{"a": "Ünï\u2028cöde\x85\x0b"}\n\r\n  \n{"b": 1}\r\n{"c"'.encode()
LINES = ['{"a": "Ünï\u2028cöde\x85\x0b"}'.encode(), b'{"b": 1}']


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_bytes_may_be_split_anywhere(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    parser = LineParser()
    found = [line for begin, end in pairwise(edges) for line in parser.feed(STREAM[begin:end])]
    assert found == LINES, "and the line that is cut off is never given"


def test_a_line_is_bounded_and_a_stream_is_not() -> None:
    parser = LineParser(max_line_bytes=10)
    assert sum(len(parser.feed(b"123456789\n")) for _ in range(100)) == 100
    parser.feed(b"12345")
    with pytest.raises(Overflow, match="10 bytes"):
        parser.feed(b"678901")
