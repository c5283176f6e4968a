"""Text of a terminal to bars, checked against the tqdm that draws them."""

import io
import time
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from protocol.terminal import SEGMENT_LIMIT
from protocol.tqdm import BARS_LIMIT, Bar, BarEvent, BarReader, Line, Role, parse_bar


class Tqdm(tqdm):  # type: ignore[misc]
    """tqdm without its monitor thread."""

    monitor_interval = 0


def drawn(draw: Callable[[Callable[..., Any]], object], **options: Any) -> bytes:
    """What tqdm writes while `draw` uses the bars that it makes with the function it is given."""
    terminal = io.StringIO()
    settings = {"file": terminal, "ncols": 79, "mininterval": 0, "miniters": 1} | options
    draw(lambda *args, **kwargs: Tqdm(*args, **(settings | kwargs)))
    return terminal.getvalue().encode()


def frame(done: float, total: float | None, **options: Any) -> str:
    return str(Tqdm.format_meter(done, total, **({"elapsed": 1.5, "ncols": 79} | options)))


def replay(reads: Iterable[bytes]) -> tuple[BarReader, list[BarEvent | Line]]:
    reader = BarReader()
    return reader, [event for data in reads for event in reader.feed(data)]


def bytewise(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


def counts(events: Iterable[BarEvent | Line], description: str = "") -> list[tuple[int | None, int | None]]:
    return [(e.bar.done, e.bar.total) for e in events if isinstance(e, BarEvent) and e.bar.description == description]


def lines(events: Iterable[BarEvent | Line]) -> list[str]:
    return [event.text for event in events if isinstance(event, Line)]


FRAMES = (
    (
        " 17%|███▎     | 1/6 [00:00<00:01,  2.84it/s]",
        Bar(description="", done=1, total=6, percent=17),
    ),
    (
        " 25%|██▌       | 1/4 [00:04<00:12,  4.22s/it]",
        Bar(description="", done=1, total=4, percent=25),
    ),
    ("  0%|         | 0/6 [00:00<?, ?it/s]", Bar(description="", done=0, total=6, percent=0)),
    (" 17%|▏| 1/6 [00:00<", Bar(description="", done=1, total=6, percent=17)),
    (" 17%|▏| 1/6 [00:0", Bar(description="", done=1, total=6, percent=17)),
    (" 17%|▏| 1/6", Bar(description="", done=1, total=6, percent=17)),
    ("  2%|▏| 1/6", Bar(description="", done=1, percent=2)),  # of 1/60
    ("  0%|▏| 0/6", Bar(description="", done=0, percent=0)),  # of anything
    (" 17%|▏| 1", Bar(description="", percent=17)),
    (
        "100%|█| 6/6 [00:01<00:00,  4.40it/s",
        Bar(description="", done=6, total=6, percent=100),
    ),
    (
        " 33%|###   | 2/6 [1:02:03<10:00:00,  2.00s/it]",
        Bar(description="", done=2, total=6, percent=33),
    ),
    (
        " 50% 3/6 [00:00<00:00,  8.00it/s]",
        Bar(description="", done=3, total=6, percent=50),
    ),
    (
        "Downloading bytes:  35%|███     | 1.2G/3.4G [00:10<00:20, 120MB/s]",
        Bar(description="Downloading bytes", done=1_200_000_000, total=3_400_000_000, percent=35),
    ),
    (
        "a: b:  41%|██ | 14.0k/34.0k [00:00<00:01, 116kB/s, lr=0.1]",
        Bar(description="a: b", done=14_000, total=34_000, percent=41),
    ),
    (
        "config.json: 1.20kB [00:00, 58.2kB/s]",
        Bar(description="config.json", done=1200),
    ),
    (
        "Reconstructing (incomplete total...):  33%|██▎    | 1.00MB / 3.00MB, 8.00MB/s  ",
        Bar(description="Reconstructing (incomplete total...)", done=1_000_000, total=3_000_000, percent=33),
    ),
    (
        "Reconstructing (incomplete total...): |           |  0.00B /  0.00B            ",
        Bar(description="Reconstructing (incomplete total...)", done=0),
    ),
    ("Downloading bytes: ███▎      |   192B            ", Bar(description="Downloading bytes", done=192)),
    (" 17%|# | 1/6 [00:00<00:01,  2.84it/s]x:  50%|# | 2/4 [", Bar(description="", done=1, total=6, percent=17)),
)


@pytest.mark.parametrize(("text", "bar"), FRAMES, ids=[text for text, _ in FRAMES])
def test_a_frame_is_read(text: str, bar: Bar) -> None:
    assert parse_bar(text) == bar


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Image saved successfully at: owl.png",
        "Accuracy: 100%",
        "CPU 50% | busy",
        "epoch: 5 | 3 of 7",
        "took 14 files [00:01]",
        "Stopping image generation at step 3/10",
        "Peak MLX memory: 0.44 GB",
        " ... (more hidden) ...",
        " 1700%|█| 1/6",
    ],
)
def test_a_line_is_no_bar(text: str) -> None:
    assert parse_bar(text) is None
    assert replay([text.encode() + b"\n"])[1] == ([Line(text)] if text else [])


DESCRIPTIONS = st.sampled_from(["", "PiD decode", "Fetching 10 files", "a: b", "x 50% y", "model.safetensors"])


@given(
    done=st.integers(0, 2000),
    rest=st.integers(0, 2000),
    elapsed=st.floats(0, 1e5),
    ncols=st.integers(1, 200),
    ascii_bar=st.sampled_from([False, " #", True]),
    description=DESCRIPTIONS,
)
def test_no_window_is_so_narrow_that_a_wrong_number_is_read(
    done: int, rest: int, elapsed: float, ncols: int, ascii_bar: bool | str, description: str
) -> None:
    total = max(1, done + rest)
    whole = parse_bar(frame(done, total, elapsed=elapsed, ncols=200, ascii=ascii_bar, prefix=description))
    assert whole is not None
    assert (whole.description, whole.done, whole.total) == (description, done, total)
    cut = parse_bar(frame(done, total, elapsed=elapsed, ncols=ncols, ascii=ascii_bar, prefix=description))
    if cut is not None and cut.description == description:
        for field in whole.__struct_fields__:
            assert getattr(cut, field) in (getattr(whole, field), None)


@given(done=st.integers(0, 200), rest=st.integers(0, 200), cut=st.integers(0, 60))
def test_no_read_is_cut_so_that_a_wrong_count_is_reported(done: int, rest: int, cut: int) -> None:
    total = max(1, done + rest)
    text = frame(done, total, ncols=50).encode()
    assert set(counts(replay([b"\r", text[:cut]])[1])) <= {(done, total)}
    assert counts(replay([b"\r", text[:cut], text[cut:]])[1]) == [(done, total)]


@given(st.floats(1, 9e14), st.floats(0.001, 1))
def test_scaled_counts_are_right_to_three_digits(total: float, share: float) -> None:
    bar = parse_bar(frame(total * share, total, unit="B", unit_scale=True, prefix="x"))
    assert bar is not None
    assert bar.done is not None
    if bar.total is not None:
        assert bar.total == pytest.approx(total, rel=0.006, abs=1)
    assert bar.done == pytest.approx(total * share, rel=0.006, abs=1)


@pytest.mark.parametrize("columns", [12, 20, 25, 30, 40, 79, 200])
@pytest.mark.parametrize("options", [{}, {"ascii": " #"}, {"colour": "green"}])
def test_byte_by_byte_every_frame_is_seen_once(columns: int, options: dict[str, Any]) -> None:
    data = drawn(lambda bar: list(bar(range(6))), ncols=columns, **options)
    _, events = replay(bytewise(data))
    assert counts(events)[1:] == [(done, 6) for done in range(1, 7)]
    assert counts(events)[0] in ((0, 6), (0, None))
    assert {event.number for event in events if isinstance(event, BarEvent)} == {1}


def test_a_read_reports_the_last_frame_only_and_each_frame_once() -> None:
    reader = BarReader()
    assert counts(reader.feed(b"\r  0%| | 0/4 [00:00<?, ?it/s]\r 25%|# | 1/4 [00:01<00:03,  1.00s/it]")) == [(1, 4)]
    assert reader.feed(b"\r 25%|# | 1/4 [00:02<00:03,  1.50s/it]") == []
    assert counts(reader.feed(b"\r 50%|# | 2/4 [00:03<00:02,  1.00s/it]\r 75%|")) == [(2, 4)]
    assert counts(reader.feed(b"# | 3/4 [\r100%|##| 4/4 [00:04<00:00,  1.00s/it]")) == [(4, 4)]
    assert reader.feed(b"\r100%|##| 4/4 [00:04<00:00,  1.01s/it]\n") == []


def test_nested_bars_are_told_apart_by_their_rows() -> None:
    def nested(bar: Callable[..., Any]) -> None:
        for _ in bar(range(2)):
            for _ in bar(range(3), leave=False):
                pass

    _, events = replay(bytewise(drawn(nested)))
    outer = [event.bar.done for event in events if isinstance(event, BarEvent) and event.bar.total == 2]
    inner = [event.bar.done for event in events if isinstance(event, BarEvent) and event.bar.total == 3]
    assert outer == [0, 1, 2]
    assert inner == [0, 1, 2, 3, 0, 1, 2, 3]


def test_bars_alike_but_for_their_row_keep_their_numbers_while_lines_are_logged() -> None:
    def alike(bar: Callable[..., Any]) -> None:
        first, second = bar(total=9, desc="x"), bar(total=9, desc="x")
        for done in (3, 4):
            first.update(done)
            second.update(1)
            Tqdm.write(f"{first.n} and {second.n}", file=first.fp)
        second.close()
        first.close()

    data = drawn(alike)
    bursts = [piece + b"\x1b[A" for piece in data.split(b"\x1b[A")]  # tqdm moves up again after each lower bar
    _, events = replay(bursts)
    by_number = {
        number: [e.bar.done for e in events if isinstance(e, BarEvent) and e.number == number] for number in (1, 2)
    }
    assert by_number == {1: [0, 3, 7], 2: [1, 2]}  # while both stand at 0 they cannot be told apart
    assert lines(events) == ["3 and 1", "7 and 2"]


def test_a_bar_that_closes_on_another_row_is_the_same_bar() -> None:
    def lower_first(bar: Callable[..., Any]) -> None:
        upper, lower = bar(total=2, desc="upper"), bar(total=2, desc="lower")
        lower.update(2)
        lower.close()
        upper.update(2)
        upper.close()

    _, events = replay(bytewise(drawn(lower_first)))
    assert counts(events, "lower") == [(0, 2), (2, 2)]
    assert {event.number for event in events if isinstance(event, BarEvent)} == {1, 2}


def numbers(data: bytes) -> list[int]:
    return [event.number for event in replay(bytewise(data))[1] if isinstance(event, BarEvent)]


def test_a_bar_that_begins_again_is_a_new_one() -> None:
    assert numbers(b"\r 50%|# | 2/4 [\r  0%|  | 0/4 [") == [1, 2]
    assert numbers(b"\r 50%|# | 2/4 [\r 50%|# | 3/6 [") == [1, 2]
    assert numbers(b"\r 50%|# | 2/4 [\n\n\r 75%|# | 3/4 [") == [1, 1]


def test_a_download_may_learn_its_total_as_it_goes() -> None:
    assert (
        numbers(b"\rDownload:  50%|# | 2.0k/4.0k [\rDownload:  33%|# | 2.0k/6.0k [\rDownload: 7.0kB [00:00, ")
        == [1] * 3
    )


@pytest.mark.parametrize(
    ("description", "role"),
    [
        ("", "steps"),
        ("Fetching 10 files", "download"),
        ("Downloading bytes", "download"),
        ("Download complete", "download"),
        ("Reconstructing (incomplete total...)", "download"),
        ("model.safetensors", "download"),
        ("(…)r/model-00001-of-00002.safetensors", "download"),
        ("PiD decode", "decode"),
        ("Saving components", "save"),
        ("Loading checkpoint shards", "load"),
        ("Loading weights", "load"),
        ("epoch 1.5", "other"),
        ("Fetching breath", "other"),
    ],
)
def test_the_description_tells_the_role(description: str, role: Role) -> None:
    _, events = replay([b"\r" + frame(1, 4, prefix=description).encode()])
    assert [event.role for event in events if isinstance(event, BarEvent)] == [role]


def test_a_log_line_written_behind_a_bar_is_a_line() -> None:
    rich = b"\x1b[2;36m[11/22/26 13:14:58]\x1b[0m \x1b[34mINFO\x1b[0m saved at\r\n   \x1b[35mpath.png\x1b[0m   \r\n"
    for ending in (b"<00:01,  2.84it/s]", b"<00:01,  2.84it/s", b"<?, ?it/s]", b"<00:01, ", b"<", b""):
        reader, events = replay(bytewise(b"\r 17%|# | 1/6 [00:00" + ending + rich))
        assert lines(events) == ["[11/22/26 13:14:58] INFO saved at", "   path.png"]
        assert counts(events) == [(1, 6)]
        assert reader.last_lines == tuple(lines(events))


@pytest.mark.parametrize("columns", range(1, 80))
def test_a_finished_bar_leaves_no_line_once_its_counts_are_shown(columns: int) -> None:
    data = drawn(lambda bar: list(bar(range(6))), ncols=columns)
    _, events = replay([data])
    if counts(events):
        assert lines(events) == []


def test_lines_are_kept_for_quoting() -> None:
    reader, events = replay([b"one\r\n\r\n\x1b[1mtwo\x1b[0m  \nStopping image generation at step 3/10\n\xff!\nKilled"])
    assert lines(events) == ["one", "two", "Stopping image generation at step 3/10", "\ufffd!"]
    assert reader.last_lines == (*lines(events), "Killed")
    reader = BarReader(keep_lines=3)
    reader.feed(b"".join(b"%d\n" % n for n in range(100)))
    assert reader.last_lines == ("97", "98", "99")


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("a"), st.integers(0, 12)),
        st.tuples(st.just(""), st.integers(0, 120)),
        st.tuples(st.just("log"), st.integers(0, 9)),
    ),
    max_size=12,
)


@given(EVENTS, st.data())
def test_reads_that_end_anywhere_lose_intermediate_frames_only(
    script: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Whatever the reads: the same lines; of each bar a subsequence of what bytewise reads see, with the same end."""
    output = b""
    for what, value in script:
        match what:
            case "log":
                output += f"\x1b[36mline {value}\x1b[0m\r\n".encode()
            case "a":
                output += b"\n\r" + frame(value, 12, prefix="a").encode() + b"\x1b[A"
            case _:
                output += b"\r" + frame(value, 120, colour="green").encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(output)), max_size=6)))
    reads = [output[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(output)], strict=True)]
    reader, events = replay(reads)
    slow_reader, slow_events = replay(bytewise(output))
    assert lines(events) == lines(slow_events)
    assert reader.last_lines == slow_reader.last_lines
    for description in ("a", ""):
        seen, all_seen = counts(events, description), iter(counts(slow_events, description))
        assert all(count in all_seen for count in seen)
        shown = [[e.bar for e in r.bars if e.bar.description == description][-1:] for r in (reader, slow_reader)]
        assert shown[0] == shown[1]


HOSTILE = (
    "1",
    "9%|",
    ": ",
    ":  50%|",
    ": |#",
    " ",
    "1/",
    "1: 1kB [00:00",
    "█",
    "[00:00<",
    "x: 100%|a",
    "/s",
    ", ",
    "]",
)


@pytest.mark.parametrize("prefix", ["", "\r 50%|# | ", "\r 50%|# | 1/2 [00:00<00:00, ", "x: ", "x: 1B [00:00, "])
@pytest.mark.parametrize("piece", HOSTILE)
def test_time_is_linear_in_hostile_text(prefix: str, piece: str) -> None:
    def cost(size: int) -> float:
        text, best = prefix + piece * (size // len(piece)), float("inf")
        for _ in range(3):
            begin = time.process_time()
            parse_bar(text)
            best = min(best, time.process_time() - begin)
        return best

    assert cost(64 * SEGMENT_LIMIT) < 64 * 8 * max(cost(SEGMENT_LIMIT), 20e-6)  # a square law would be 64 * 64


def test_memory_is_bounded() -> None:
    reader = BarReader()
    tracemalloc.start()
    for round_ in range(300):
        long = b"y" * 4000
        reader.feed(b"".join(b"\rbar %d-%d:  50%%|# | 1/2 [\n%s\n" % (round_, n, long) for n in range(4)))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(reader.bars) == BARS_LIMIT
    assert reader.bars[-1].bar.description == "bar 299-3"
    assert held < 4 * 40 * SEGMENT_LIMIT
