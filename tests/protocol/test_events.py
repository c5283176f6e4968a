"""What the wire contract says of server messages, checked against what is encoded."""

import typing

import msgspec
import pytest

from protocol.codec import Codec, encode_message
from protocol.events import (
    Accepted,
    Artifact,
    End,
    Error,
    Event,
    Failure,
    GoingAway,
    Limits,
    Ok,
    PersonaReady,
    Pong,
    Preview,
    Progress,
    Receipt,
    Resumed,
    ServerMessage,
    SessionItem,
    Sessions,
    Snapshot,
    State,
    Text,
    Thinking,
    Welcome,
)
from protocol.persona import Persona
from tests.helpers.receipts import ENGINES, RECEIPT

# The table "Server to client": type -> fields; those with `?` may be left out.
CONTRACT = {
    "welcome": "id connection server version engines heartbeat_ms limits resumed",
    "accepted": "id session epoch existing state",
    "ok": "id session? epoch? seq? offset? state?",
    "sessions": "id items before?",
    "error": "id? session? code message retryable retry_after_ms? field?",
    "pong": "id",
    "snapshot": "id? session epoch seq offset state attempt prompt persona progress? preview? artifacts end?",
    "state": "session seq state reason?",
    "persona": "session seq persona",
    "artifact": "session seq kind url sha256 bytes mime width height",
    "end": "session seq outcome error? agent? receipt",
    "text": "session offset path delta",
    "thinking": "session delta",
    "progress": "session percent stage basis message step? steps? step_s? eta_s? queue_position?",
    "preview": "session step mime width height data",
    "going_away": "deadline_ms reconnect_after_ms",
}
RECEIPT_FIELDS = (
    "queued_ms writing_ms waiting_ms drawing_ms total_ms cancel_latency_ms? "
    "steps_done steps worker llm exit_code? engines"
)
PERSONA = Persona(
    name="Ember",
    species="fox",
    tagline="warm",
    traits=["a", "b", "c"],
    backstory="b",
    greeting="g",
    system_prompt="s",
    palette=["#112233", "#445566", "#778899"],
    avatar_prompt="p",
)
PROGRESS = Progress(session="s", percent=0, stage="queued", basis="indeterminate", message="")
PREVIEW = Preview(session="s", step=0, mime="image/webp", width=0, height=0, data=b"")
ARTIFACT = Artifact(
    session="s", seq=0, kind="avatar", url="/u", sha256="0", bytes=0, mime="image/png", width=0, height=0
)
END = End(session="s", seq=0, outcome="failed", receipt=RECEIPT)

# Every message as short and empty as it can be: nothing that must be said may be left out for being 0, "" or [].
LEAST: list[Event] = [
    Welcome(
        id=0,
        connection="",
        server="",
        version=0,
        engines=ENGINES,
        heartbeat_ms=0,
        limits=Limits(message_bytes=0, prompt_chars=0, pixels=0, steps=0),
        resumed=[],
    ),
    Accepted(id=0, session="", epoch=0, existing=False, state="queued"),
    Ok(id=0),
    Sessions(id=0, items=[]),
    Error(code="", message="", retryable=False),
    Pong(id=0),
    Snapshot(session="", epoch=0, seq=0, offset=0, state="queued", attempt=0, prompt="", persona={}, artifacts=[]),
    State(session="", seq=0, state="queued"),
    PersonaReady(session="", seq=0, persona=PERSONA),
    ARTIFACT,
    END,
    Text(session="", offset=0, path="", delta=""),
    Thinking(session="", delta=""),
    PROGRESS,
    PREVIEW,
    GoingAway(deadline_ms=0, reconnect_after_ms=(0, 0)),
]

# Those that can say more, saying all of it; zeros where a default might swallow them.
MOST: list[Event] = [
    Ok(id="", session="", epoch=0, seq=0, offset=0, state="done"),
    Sessions(id=0, items=[], before=""),
    Error(id=0, session="", code="", message="", retryable=False, retry_after_ms=0, field=""),
    Snapshot(
        id=0,
        session="",
        epoch=0,
        seq=0,
        offset=0,
        state="queued",
        attempt=0,
        prompt="",
        persona={},
        progress=PROGRESS,
        preview=PREVIEW,
        artifacts=[ARTIFACT],
        end=END,
    ),
    State(session="", seq=0, state="queued", reason=""),
    End(
        session="",
        seq=0,
        outcome="failed",
        error=Failure(code="internal", message="", retryable=False),
        agent="",
        receipt=RECEIPT,
    ),
    Progress(
        session="",
        percent=0,
        stage="steps",
        basis="measured",
        message="",
        step=0,
        steps=0,
        step_s=0,
        eta_s=(0, 0),
        queue_position=0,
    ),
]

codecs = pytest.mark.parametrize("codec", Codec)
by_name = {"ids": lambda message: type(message).__name__}


def encoded(message: Event, codec: Codec = Codec.JSON) -> dict[str, object]:
    data = encode_message(message, codec)
    decode = msgspec.json.decode if codec is Codec.JSON else msgspec.msgpack.decode
    return decode(data, type=dict[str, object])


def required(fields: str) -> set[str]:
    return {field for field in fields.split() if not field.endswith("?")}


def allowed(fields: str) -> set[str]:
    return {field.removesuffix("?") for field in fields.split()}


def test_the_types_are_those_of_the_contract() -> None:
    tags = [message.__struct_config__.tag for message in typing.get_args(ServerMessage)]
    assert sorted(map(str, tags)) == sorted(CONTRACT)
    assert {encoded(message)["type"] for message in LEAST} == CONTRACT.keys()


@codecs
@pytest.mark.parametrize("message", LEAST, **by_name)  # type: ignore[arg-type]
def test_what_must_be_said_is_said_and_nothing_else(message: Event, codec: Codec) -> None:
    said = encoded(message, codec)
    assert said.keys() - {"type"} == required(CONTRACT[str(said["type"])])


@codecs
@pytest.mark.parametrize("message", MOST, **by_name)  # type: ignore[arg-type]
def test_all_that_can_be_said_is_said(message: Event, codec: Codec) -> None:
    said = encoded(message, codec)
    assert said.keys() - {"type"} == allowed(CONTRACT[str(said["type"])])


@codecs
@pytest.mark.parametrize("message", LEAST + MOST, **by_name)  # type: ignore[arg-type]
def test_a_client_that_uses_these_types_reads_the_same(message: Event, codec: Codec) -> None:
    decode = msgspec.json.decode if codec is Codec.JSON else msgspec.msgpack.decode
    assert decode(encode_message(message, codec), type=ServerMessage) == message


def test_a_receipt_has_the_fields_of_the_contract() -> None:
    assert msgspec.to_builtins(RECEIPT).keys() == required(RECEIPT_FIELDS)
    full = msgspec.structs.replace(RECEIPT, cancel_latency_ms=0, exit_code=0)
    assert msgspec.to_builtins(full).keys() == allowed(RECEIPT_FIELDS)
    assert msgspec.to_builtins(RECEIPT.engines).keys() == {"llm", "image"}


def test_a_listed_session_has_the_fields_of_the_contract() -> None:
    fields = "session state percent created_at_ms prompt agent?"
    item = SessionItem(session="", state="done", percent=0, created_at_ms=0, prompt="")
    assert msgspec.to_builtins(item).keys() == required(fields)
    assert msgspec.to_builtins(msgspec.structs.replace(item, agent="")).keys() == allowed(fields)


def test_a_resumed_session_is_told_its_result() -> None:
    assert msgspec.to_builtins(Resumed(session="s", result="gone")) == {"session": "s", "result": "gone"}


@pytest.mark.parametrize(
    ("message", "field", "values"),
    [
        (End, "outcome", "done failed cancelled"),
        (Artifact, "kind", "avatar card"),
        (Progress, "basis", "measured estimated indeterminate"),
        (Progress, "stage", "queued persona waiting downloading loading encoding steps decoding saving"),
        (State, "state", "queued writing waiting drawing cancelling done failed cancelled"),
        (Receipt, "worker", "none exited idle stuck"),
        (Receipt, "llm", "none closed"),
        (Resumed, "result", "current snapshot gone"),
    ],
)
def test_the_words_are_those_of_the_contract(message: type[msgspec.Struct], field: str, values: str) -> None:
    assert set(typing.get_args(typing.get_type_hints(message)[field])) == set(values.split())
