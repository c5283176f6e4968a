import gc
import weakref

import msgspec
import pytest

from protocol.codec import Codec
from protocol.envelope import JOINED_CHARS, Envelope, Kind, frame_payload, join_deltas
from protocol.events import End, Event, Pong, Preview, Progress, State, Text, Thinking
from tests.helpers.receipts import RECEIPT

STATE = State(session="s", seq=1, state="writing")
PROGRESS = Progress(session="s", percent=100, stage="saving", basis="measured", message="")
END = End(session="s", seq=2, outcome="done", receipt=RECEIPT)


def decode(payload: bytes, codec: Codec) -> object:
    return msgspec.json.decode(payload) if codec is Codec.JSON else msgspec.msgpack.decode(payload)


def text(delta: str, offset: int = 0, path: str = "/name") -> Envelope:
    return Envelope.of_session("s", Text(session="s", offset=offset, path=path, delta=delta))


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (STATE, Kind.RELIABLE),
        (END, Kind.RELIABLE),
        (Text(session="s", offset=0, path="/name", delta="a"), Kind.TEXT),
        (Thinking(session="s", delta="a"), Kind.THINKING),
        (PROGRESS, Kind.PROGRESS),
        (Preview(session="s", step=1, mime="image/webp", width=1, height=1, data=b""), Kind.PREVIEW),
    ],
)
def test_an_event_is_delivered_as_its_kind_promises(event: Event, kind: Kind) -> None:
    envelope = Envelope.of_session("s", event)
    assert (envelope.kind, envelope.session, envelope.messages) == (kind, "s", (event,))


def test_the_last_of_several_decides_the_kind() -> None:
    assert Envelope.of_session("s", PROGRESS, END).kind is Kind.RELIABLE


def test_an_answer_belongs_to_no_session() -> None:
    assert Envelope(Kind.ANSWER, (Pong(id=1),)).session == ""


@pytest.mark.parametrize("codec", Codec)
def test_it_is_encoded_once_for_each_codec(codec: Codec) -> None:
    envelope = text("a")
    assert envelope.element(codec) is envelope.element(codec)
    assert decode(envelope.element(codec), codec) == {
        "type": "text",
        "session": "s",
        "offset": 0,
        "path": "/name",
        "delta": "a",
    }


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("count", [1, 15, 16, 65_535, 65_536])
def test_a_frame_is_an_array_of_its_messages(codec: Codec, count: int) -> None:
    envelope = Envelope(Kind.ANSWER, (Pong(id=7),))
    assert decode(frame_payload([envelope] * count, codec), codec) == [{"type": "pong", "id": 7}] * count


@pytest.mark.parametrize("codec", Codec)
def test_messages_that_share_an_envelope_are_elements_of_their_own(codec: Codec) -> None:
    frame = decode(frame_payload([text("a"), Envelope.of_session("s", PROGRESS, END)], codec), codec)
    assert isinstance(frame, list)
    assert [message["type"] for message in frame] == ["text", "progress", "end"]


@pytest.mark.parametrize("codec", Codec)
def test_a_preview_is_binary_where_the_codec_has_that(codec: Codec) -> None:
    preview = Preview(session="s", step=1, mime="image/webp", width=1, height=1, data=b"\xff\x00")
    frame = decode(frame_payload([Envelope.of_session("s", preview)], codec), codec)
    assert isinstance(frame, list)
    assert frame[0]["data"] == ("/wA=" if codec is Codec.JSON else b"\xff\x00")


def test_deltas_that_follow_each_other_join() -> None:
    (joined,) = join_deltas([text("héllo ", 3), text("yo", 9), text("u", 11)])
    assert joined.messages == (Text(session="s", offset=3, path="/name", delta="héllo you"),)
    assert (joined.kind, joined.session) == (Kind.TEXT, "s")


def test_everybody_gets_the_same_joined_envelope() -> None:
    run = [text("a"), text("b", 1)]
    (joined,) = join_deltas(run)
    assert join_deltas(run) == [joined]


def test_another_successor_joins_to_something_else() -> None:
    first = text("a")
    (one,), (other,) = join_deltas([first, text("b", 1)]), join_deltas([first, text("c", 1)])
    assert [envelope.messages for envelope in (one, other)] == [text("ab").messages, text("ac").messages]


def test_a_joined_envelope_lives_no_longer_than_it_is_wanted() -> None:
    run = [text("a"), text("b", 1)]
    watched = weakref.ref(join_deltas(run)[0])
    gc.collect()
    assert watched() is None
    assert join_deltas(run)[0].messages == text("ab").messages


@pytest.mark.parametrize(
    "envelopes",
    [
        [text("a"), text("b", 1, "/species")],
        [text("a"), Envelope.of_session("s", Thinking(session="s", delta="b"))],
        [text("a"), Envelope.of_session("s", STATE), text("b", 1)],
        [text("a" * JOINED_CHARS), text("b", JOINED_CHARS)],
        [text("a")],
        [],
    ],
)
def test_what_differs_or_is_long_enough_does_not_join(envelopes: list[Envelope]) -> None:
    assert join_deltas(envelopes) == envelopes


def test_long_runs_are_cut_where_a_message_is_full() -> None:
    deltas = [text("a" * (JOINED_CHARS // 2), n * JOINED_CHARS // 2) for n in range(5)]
    assert [len(e.messages[0].delta) for e in join_deltas(deltas) if isinstance(e.messages[0], Text)] == [
        JOINED_CHARS,
        JOINED_CHARS,
        JOINED_CHARS // 2,
    ]
