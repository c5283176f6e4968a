"""Frames survive any cut, and none is larger than its bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.mflux.warm.wire import (
    MESSAGE_CHARS,
    ORDER_BYTES,
    REPORT_BYTES,
    Draw,
    Drawn,
    Failed,
    FrameReader,
    Idle,
    Order,
    Report,
    frame,
)

REPORTS = st.one_of(
    st.builds(Drawn, job=st.integers(1, 9), seconds=st.floats(0, 1e6)),
    st.builds(Failed, job=st.integers(1, 9), kind=st.just("ValueError"), message=st.text(max_size=40)),
    st.builds(Idle, rss_bytes=st.integers(0, 2**40)),
)


@given(reports=st.lists(REPORTS, max_size=6), cuts=st.lists(st.integers(1, 40), max_size=30))
def test_reports_arrive_whole_and_in_order_however_they_are_cut(reports: list[Report], cuts: list[int]) -> None:
    data = b"".join(map(frame, reports))
    reader: FrameReader[Report] = FrameReader(Report, REPORT_BYTES)
    heard: list[Report] = []
    for cut in cuts:
        heard += reader.feed(data[:cut])
        data = data[cut:]
    assert [*heard, *reader.feed(data)] == reports


def test_a_frame_over_the_bound_is_refused_before_its_bytes_are_awaited() -> None:
    reader: FrameReader[Order] = FrameReader(Order, ORDER_BYTES)
    with pytest.raises(ValueError, match="over the bound"):
        reader.feed((ORDER_BYTES + 1).to_bytes(4, "big"))


@pytest.mark.parametrize("payload", [b"\xc1", b"\x90" * 5000, b"\x81\xa4type\xa5Bogus"])
def test_what_is_no_message_is_refused(payload: bytes) -> None:
    reader: FrameReader[Order] = FrameReader(Order, ORDER_BYTES)
    with pytest.raises(ValueError, match=r".+"):
        reader.feed(len(payload).to_bytes(4, "big") + payload)


def test_the_longest_messages_are_within_their_bounds() -> None:
    failed = Failed(job=2**31, kind="K" * 100, message="\U0001f989" * MESSAGE_CHARS)
    assert len(frame(failed)) <= REPORT_BYTES
    draw = Draw(
        job=1, prompt="\U0001f989" * 20_000, output="/" + "x" * 4096, seed=0, negative_prompt="\U0001f989" * 4000
    )
    assert len(frame(draw)) <= ORDER_BYTES
