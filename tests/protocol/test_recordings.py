"""What the real mflux wrote to a terminal, replayed whole, byte by byte and in sections split in two at every point."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from protocol.tqdm import BarEvent, BarReader, Line, Role

RECORDINGS = sorted((Path(__file__).parents[1] / "recordings").glob("*.bin"))
SECTION = 512  # bytes: a few frames


class Facts(msgspec.Struct, frozen=True):
    """What is known of a recording; `roles` are in order of first appearance."""

    columns: int
    steps_total: int
    roles: tuple[Role, ...]


def facts_of(recording: Path) -> Facts:
    return msgspec.json.decode(recording.with_suffix(".json").read_bytes(), type=Facts)


def replay(reads: Iterable[bytes]) -> tuple[BarReader, list[BarEvent | Line]]:
    reader = BarReader()
    return reader, [event for data in reads for event in reader.feed(data)]


def bytewise(data: bytes) -> Iterable[bytes]:
    return (bytes([byte]) for byte in data)


def steps(events: Iterable[BarEvent | Line]) -> list[int | None]:
    return [event.bar.done for event in events if isinstance(event, BarEvent) and event.role == "steps"]


def roles(events: Iterable[BarEvent | Line]) -> list[Role]:
    return list(dict.fromkeys(event.role for event in events if isinstance(event, BarEvent)))


def lines(events: Iterable[BarEvent | Line]) -> list[str]:
    return [event.text for event in events if isinstance(event, Line)]


def newest(reader: BarReader) -> dict[str, tuple[int | None, int | None, int | None]]:
    """By description, the progress of the bar that was drawn last."""
    return {event.bar.description: (event.bar.done, event.bar.total, event.bar.percent) for event in reader.bars}


def test_there_are_recordings() -> None:
    assert RECORDINGS


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_byte_by_byte_every_step_is_seen_in_turn(recording: Path) -> None:
    facts = facts_of(recording)
    _, events = replay(bytewise(recording.read_bytes()))
    assert roles(events) == list(dict.fromkeys(facts.roles))
    seen = [done for done in steps(events) if done is not None]
    assert seen == list(range(len(seen)))
    assert {event.bar.total for event in events if isinstance(event, BarEvent) and event.role == "steps"} == {
        facts.steps_total
    }
    interrupted = any(line.startswith("Stopping image generation at step ") for line in lines(events))
    assert seen[-1] < facts.steps_total if interrupted else seen[-1] == facts.steps_total


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_read_whole_it_ends_in_the_same_state(recording: Path) -> None:
    data = recording.read_bytes()
    reader, events = replay([data])
    slow_reader, slow_events = replay(bytewise(data))
    assert newest(reader) == newest(slow_reader)
    assert lines(events) == lines(slow_events)
    assert reader.last_lines == slow_reader.last_lines
    assert steps(events) == steps(slow_events)[-1:]


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_split_in_two_anywhere_it_ends_in_the_same_state(recording: Path) -> None:
    recorded = recording.read_bytes()
    for begin in range(0, len(recorded), SECTION):  # in sections, since the work is the square of the length
        data = recorded[begin : begin + SECTION]
        whole, whole_events = replay([data])
        for cut in range(1, len(data)):
            reader, events = replay([data[:cut], data[cut:]])
            assert newest(reader) == newest(whole)
            assert lines(events) == lines(whole_events)
            assert reader.last_lines == whole.last_lines
            seen = [done for done in steps(events) if done is not None]
            assert seen == sorted(set(seen))
            assert seen[-1:] == steps(whole_events)
