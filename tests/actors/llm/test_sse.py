import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.llm.decoding import Overflow
from actors.llm.sse import SseComment, SseEvent, SseParser

LINE_ENDS = (b"\n", b"\r\n", b"\r")
LINES = st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)


def parse(stream: bytes) -> list[SseEvent | SseComment]:
    return SseParser().feed(stream)


@pytest.mark.parametrize("end", LINE_ENDS)
def test_every_line_end_ends_a_line(end: bytes) -> None:
    stream = end.join([b": keepalive 17/18", b"data: one", b"", b"event: error", b"data: two", b"", b""])
    assert parse(stream) == [SseComment("keepalive 17/18"), SseEvent("one"), SseEvent("two", "error")]


def test_a_comment_comes_before_the_event_that_it_interrupts() -> None:
    assert parse(b"data: one\n:still here\ndata: two\n\n") == [SseComment("still here"), SseEvent("one\ntwo")]


def test_only_cr_and_lf_end_lines() -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    assert parse(f"data: {text}\n\n".encode()) == [SseEvent(text)]


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"data:x\n\n", "x"),
        (b"data:  x\n\n", " x"),
        (b"data: a:b\n\n", "a:b"),
        (b"data\n\n", ""),
        (b"data: a\ndata:\ndata: b\n\n", "a\n\nb"),
        (b"id: 7\nretry: 10\nunknown: y\ndata: x\n\n", "x"),
        (b"\xef\xbb\xbfdata: x\n\n", "x"),
        (b"data: \xff\n\n", "\ufffd"),
    ],
)
def test_fields(stream: bytes, data: str) -> None:
    assert parse(stream) == [SseEvent(data)]


@pytest.mark.parametrize("stream", [b"data: x\n", b"data: x", b"event: error\n\n", b"\n\n\n", b"nonsense\n\n", b""])
def test_what_is_no_complete_event_is_none(stream: bytes) -> None:
    assert parse(stream) == []


def test_an_event_type_does_not_outlive_its_event() -> None:
    assert parse(b"event: error\n\ndata: x\n\n") == [SseEvent("x")]


@example(events=[["a", ""]], comments=[], end=b"\r\n", cuts=[8, 8])  # nothing, between CR and LF
@given(
    events=st.lists(st.lists(LINES, min_size=1, max_size=4), max_size=4),
    comments=st.lists(LINES, max_size=4),
    end=st.sampled_from(LINE_ENDS),
    cuts=st.lists(st.integers(0, 400), max_size=30),
)
def test_events_survive_any_split(events: list[list[str]], comments: list[str], end: bytes, cuts: list[int]) -> None:
    lines = [f":{comment}" for comment in comments]
    for event in events:
        lines += [*(f"data: {line}" for line in event), ""]
    stream = b"".join(line.encode() + end for line in lines)

    parser, found, start = SseParser(), [], 0
    for cut in [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]:
        found += parser.feed(stream[start:cut])
        start = cut

    expected = [SseComment(comment.removeprefix(" ")) for comment in comments]
    assert found == [*expected, *(SseEvent("\n".join(event)) for event in events)]


@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_in_any_pieces_mean_the_same_as_at_once(stream: bytes, size: int) -> None:
    parser = SseParser()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [item for piece in pieces for item in parser.feed(piece)] == parse(stream)


@pytest.mark.parametrize(
    "unit", [b"data: xxxxxxxx", b"data: xxx\n", b"data\n"], ids=["one line", "many lines", "empty lines"]
)
def test_an_event_beyond_the_bound_is_refused(unit: bytes) -> None:
    parser = SseParser(max_event_bytes=1000)
    with pytest.raises(Overflow, match="1000"):
        list(map(parser.feed, [unit] * 1000))


def test_the_bound_is_for_each_event_alone() -> None:
    parser = SseParser(max_event_bytes=1000)
    for _ in range(100):
        assert parser.feed(b"data: " + b"x" * 900 + b"\n\n:note\n") == [SseEvent("x" * 900), SseComment("note")]
