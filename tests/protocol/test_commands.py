"""What the wire contract says of commands, checked against the types: names, fields, defaults and bounds."""

import msgspec
import pytest

from protocol.codec import Codec, Rejected, decode_frame
from protocol.commands import (
    AnyCommand,
    Cancel,
    Command,
    Cursor,
    HatchRequest,
    Hello,
    ImageOptions,
    List,
    Ping,
    Start,
    Unwatch,
    Watch,
    WatchOptions,
)

# The table "Client to server": type -> fields; those with `?` may be left out.
CONTRACT = {
    "hello": "id token? watch_token? client? follow? resume?",
    "start": "id key? hatch watch? on_disconnect? grace_s?",
    "cancel": "id session? key? reason?",
    "watch": "id session from? max_hz? previews?",
    "unwatch": "id session",
    "list": "id states? limit? before?",
    "ping": "id",
}
PERSONA = {
    "name": "Ember",
    "species": "fox",
    "tagline": "warm",
    "traits": ["a", "b", "c"],
    "backstory": "b",
    "greeting": "g",
    "system_prompt": "s",
    "palette": ["#112233", "#445566", "#778899"],
    "avatar_prompt": "p",
}


def fields(struct: type[msgspec.Struct]) -> str:
    return " ".join(field.encode_name + ("" if field.required else "?") for field in msgspec.structs.fields(struct))


def decode(**message: object) -> AnyCommand | Rejected:
    (only,) = decode_frame(msgspec.json.encode(message).decode(), Codec.JSON)
    return only


def test_the_types_are_those_of_the_contract() -> None:
    assert {subclass.__struct_config__.tag for subclass in Command.__subclasses__()} == CONTRACT.keys()


@pytest.mark.parametrize("command", Command.__subclasses__(), ids=lambda command: command.__name__)
def test_the_fields_are_those_of_the_contract(command: type[Command]) -> None:
    assert set(fields(command).split()) == set(CONTRACT[str(command.__struct_config__.tag)].split())


def test_image_options_and_cursors_have_the_fields_of_the_contract() -> None:
    assert fields(ImageOptions) == "model? steps? width? height? seed? guidance? lora? negative_prompt? input?"
    assert fields(Cursor) == "epoch seq offset"
    assert fields(HatchRequest) == "prompt persona? image?"


@pytest.mark.parametrize("given_id", [0, 7, 2**53 - 1, "", "a", "x" * 200])
def test_an_id_is_a_string_or_an_integer(given_id: object) -> None:
    assert decode(type="ping", id=given_id) == Ping(id=given_id)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", CONTRACT)
def test_every_command_needs_an_id(kind: str) -> None:
    rejected = decode(type=kind, session="s", hatch={"prompt": ""})
    assert isinstance(rejected, Rejected)
    assert "`id`" in rejected.error.message


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ({"type": "hello", "id": 1}, Hello(id=1, token=None, watch_token=None, client=None, follow=None, resume=[])),
        (
            {"type": "start", "id": 1, "hatch": {"prompt": "p"}},
            Start(id=1, hatch=HatchRequest(prompt="p"), key=None, watch=True, on_disconnect="keep", grace_s=30.0),
        ),
        ({"type": "cancel", "id": 1}, Cancel(id=1, session=None, key=None, reason=None)),
        (
            {"type": "watch", "id": 1, "session": "s"},
            Watch(id=1, session="s", from_=None, max_hz=None, previews=False),
        ),
        ({"type": "unwatch", "id": 1, "session": "s"}, Unwatch(id=1, session="s")),
        ({"type": "list", "id": 1}, List(id=1, states=None, limit=50, before=None)),
    ],
)
def test_what_is_left_out_has_its_default(message: dict[str, object], command: AnyCommand) -> None:
    assert decode(**message) == command


@pytest.mark.parametrize(
    ("given_watch", "watch"),
    [
        (True, True),
        (False, False),
        ({}, WatchOptions(max_hz=None, previews=False)),
        ({"max_hz": 2, "previews": True}, WatchOptions(max_hz=2, previews=True)),
    ],
)
def test_a_start_may_say_how_it_watches(given_watch: object, watch: bool | WatchOptions) -> None:
    command = decode(type="start", id=1, hatch={"prompt": ""}, watch=given_watch)
    assert isinstance(command, Start)
    assert command.watch == watch


def test_a_watch_begins_from_a_cursor() -> None:
    command = decode(type="watch", id=1, session="s", **{"from": {"epoch": 1, "seq": 2, "offset": 3}})
    assert command == Watch(id=1, session="s", from_=Cursor(epoch=1, seq=2, offset=3))


def test_a_redraw_brings_its_persona() -> None:
    command = decode(type="start", id=1, hatch={"prompt": "", "persona": PERSONA})
    assert isinstance(command, Start)
    assert msgspec.to_builtins(command.hatch.persona) == PERSONA


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"type": "start", "hatch": {"prompt": "", "image": {"steps": 0}}}, "hatch.image.steps"),
        ({"type": "start", "hatch": {"prompt": "", "image": {"width": 8}}}, "hatch.image.width"),
        ({"type": "start", "hatch": {"prompt": "", "image": {"seed": 2**32}}}, "hatch.image.seed"),
        ({"type": "start", "hatch": {"prompt": "", "persona": {**PERSONA, "name": ""}}}, "hatch.persona.name"),
        ({"type": "start", "hatch": {"prompt": ""}, "key": ""}, "key"),
        ({"type": "start", "hatch": {"prompt": ""}, "grace_s": -1}, "grace_s"),
        ({"type": "start", "hatch": {"prompt": ""}, "on_disconnect": "stay"}, "on_disconnect"),
        ({"type": "start", "hatch": {"prompt": ""}, "watch": {"max_hz": 0}}, "watch.max_hz"),
        ({"type": "watch", "session": ""}, "session"),
        ({"type": "watch", "session": "s", "max_hz": 0}, "max_hz"),
        ({"type": "watch", "session": "s", "from": {"epoch": 0, "seq": 0, "offset": 2**53}}, "from.offset"),
        ({"type": "hello", "follow": "all"}, "follow"),
        ({"type": "hello", "resume": [{"session": "s", "epoch": 1, "seq": -1, "offset": 0}]}, "resume[0].seq"),
        ({"type": "list", "limit": 0}, "limit"),
        ({"type": "list", "states": ["asleep"]}, "states[0]"),
    ],
)
def test_what_is_out_of_bounds_is_rejected_by_name(message: dict[str, object], field: str) -> None:
    rejected = decode(id=1, **message)
    assert isinstance(rejected, Rejected)
    assert (rejected.error.code, rejected.error.field, rejected.id) == ("bad_message", field, 1)
