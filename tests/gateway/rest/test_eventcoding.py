import msgspec
import pytest
from websockets.frames import Opcode

from gateway.net.frame import frame
from gateway.rest.eventcoding import EventEncoder, event_id, parse_event_id
from protocol.codec import Codec
from protocol.commands import Cursor
from protocol.envelope import Envelope, frame_payload
from protocol.events import Event, Progress, Snapshot, State, Text


def _frame(*messages: Event) -> bytes:
    envelopes = [Envelope.of_session("s1", message) for message in messages]
    return frame(Opcode.TEXT, frame_payload(envelopes, Codec.JSON))


def _snapshot(epoch: int, seq: int, offset: int, prompt: str = "an owl") -> Snapshot:
    return Snapshot(
        session="s1", epoch=epoch, seq=seq, offset=offset, state="writing", attempt=1,
        prompt=prompt, persona={}, artifacts=[],
    )  # fmt: skip


def test_ids_follow_what_was_said() -> None:
    encoder = EventEncoder(None)
    progress = Progress(session="s1", percent=1, stage="persona", basis="measured", message="x")
    said = encoder.events(
        _frame(
            progress,
            _snapshot(1, 2, 3),
            Text(session="s1", offset=3, path="/name", delta="Zoë\n🦉"),
            progress,
            State(session="s1", seq=3, state="waiting"),
            _snapshot(2, 4, 0),
        )
    )
    blocks = said.split(b"\n\n")
    assert blocks.pop() == b""
    ids = [block.split(b"\n")[0] if block.startswith(b"id: ") else b"" for block in blocks]
    assert ids == [b"", b"id: 1.2.3", b"id: 1.2.8", b"id: 1.2.8", b"id: 1.3.8", b"id: 2.4.0"]
    assert not encoder.ended


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 200_000])
def test_frames_of_every_length_are_read(size: int) -> None:
    encoder = EventEncoder(Cursor(epoch=1, seq=1, offset=0))
    said = encoder.events(_frame(_snapshot(1, 1, 0, prompt="x" * size)))
    assert msgspec.json.decode(said.partition(b"data: ")[2])["prompt"] == "x" * size


def test_an_id_is_read_as_it_was_written() -> None:
    cursor = Cursor(epoch=3, seq=14, offset=159)
    assert parse_event_id(event_id(cursor)) == cursor
