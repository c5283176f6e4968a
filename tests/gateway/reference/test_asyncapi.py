"""The AsyncAPI document: whole, true of every message in both codecs, and valid by the official parser."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import trio

from gateway.live import dialogue, flusher, heartbeat
from gateway.reference.asyncapi import asyncapi
from gateway.reference.messages import ANSWERS, CLOSE_CODES, COMMANDS, EVENTS, KINDS, MESSAGES, name_of
from gateway.reference.schema import refer
from protocol.codec import Codec
from protocol.envelope import Envelope, Kind
from protocol.events import Event, Snapshot
from tests.helpers.gateways import running_gateway
from tests.helpers.golden import written
from tests.helpers.node import run_node
from tests.helpers.packages import package
from tests.helpers.samples import ALL
from tests.helpers.validation import Validator
from tests.helpers.wire import Message, open_wire

DOCUMENT = asyncapi()
SCHEMAS = DOCUMENT["components"]["schemas"]
VALIDATOR = Validator(DOCUMENT, draft7=True)


def _references(value: Any) -> Iterator[str]:
    match value:
        case dict():
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for part in value.values():
                yield from _references(part)
        case list():
            for part in value:
                yield from _references(part)


def _at(reference: str) -> Any:
    found: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def test_every_reference_leads_somewhere() -> None:
    references = set(_references(DOCUMENT))
    assert len(references) > len(MESSAGES)
    for reference in references:
        assert _at(reference)


def test_its_schemas_are_schemas() -> None:
    for schema in SCHEMAS.values():
        jsonschema.Draft7Validator.check_schema(schema)


def test_every_message_is_said_by_one_side() -> None:
    names = {name_of(message) for message in MESSAGES}
    assert set(DOCUMENT["channels"]["socket"]["messages"]) == set(DOCUMENT["components"]["messages"]) == names
    received: set[str] = set()
    sent: set[str] = set()
    for operation in DOCUMENT["operations"].values():
        (received if operation["action"] == "receive" else sent).update(_references(operation["messages"]))
        sent.update(_references(operation.get("reply", {}).get("messages", [])))
    assert {reference.rpartition("/")[2] for reference in received} == {name_of(command) for command in COMMANDS}
    assert {reference.rpartition("/")[2] for reference in sent} == {name_of(event) for event in EVENTS}


def test_kinds_are_those_of_delivery() -> None:
    for message in ALL:
        if isinstance(message, Event) and KINDS[type(message)] not in (Kind.ANSWER, Kind.NOTICE):
            assert Envelope.of_session("s1", message).kind is KINDS[type(message)], message


def test_every_close_code_of_the_gateway_is_explained() -> None:
    used = {
        code for module in (dialogue, flusher, heartbeat) for name, code in vars(module).items() if "CLOSE_" in name
    }
    assert len(used) >= 7
    assert used <= {close.code for close in CLOSE_CODES}
    assert all(close.again is (close.code < 4500) for close in CLOSE_CODES)


@pytest.mark.parametrize("codec", Codec)
def test_golden_messages_are_what_it_says(codec: Codec) -> None:
    for name, data in written(codec).items():
        type_ = name.partition(",")[0]
        message = _textual(msgspec.json.decode(data) if codec is Codec.JSON else msgspec.msgpack.decode(data))
        payload = DOCUMENT["components"]["messages"][type_]["payload"]
        VALIDATOR.check(message, payload)
        frame = refer("ClientFrame" if any(name_of(command) == type_ for command in COMMANDS) else "ServerFrame")
        VALIDATOR.check([message], frame)
        for missing in SCHEMAS[payload["$ref"].rpartition("/")[2]]["required"]:
            without = {key: value for key, value in message.items() if key != missing}
            assert VALIDATOR.refuses(without, payload), (name, missing)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "ping", "id": None},
        {"type": "ping", "id": 2**53},
        {"type": "hello", "id": 1, "token": None},
        {"type": "hello", "id": 1, "follow": "theirs"},
        {"type": "start", "id": 1, "hatch": {}},
        {"type": "start", "id": 1, "hatch": {"prompt": "x", "image": {"steps": 0}}},
        {"type": "watch", "id": 1, "session": "s", "from": {"epoch": 1}},
        {"type": "list", "id": 1, "states": ["sleeping"]},
        {"type": "dance", "id": 1},
    ],
)
def test_what_no_client_may_say_is_refused(wrong: Message) -> None:
    assert VALIDATOR.refuses(wrong, refer("ClientFrame"))


@pytest.mark.parametrize("codec", Codec)
async def test_a_real_hatch_is_what_it_says(tmp_path: Path, codec: Codec) -> None:
    """Every frame that a client is sent: answers, a whole hatch with previews, a refusal, a listing, a late watcher."""
    small: dict[str, Any] = {
        "sim__tokens_per_s": 2000,
        "image__engine": "demo",
        "image__previews": True,
        "image__preview_side": 32,
    }
    with trio.fail_after(60):
        async with (
            running_gateway(tmp_path, **small) as gateway,
            open_wire(gateway.url, codec) as wire,
        ):
            hatch = {"prompt": "an owl", "image": {"steps": 8, "width": 768, "height": 768}}  # a preview fits in
            started = await wire.ask("start", hatch=hatch, watch={"previews": True, "max_hz": 1000})
            await wire.until(lambda message: message["type"] == "end")
            session = started["session"]
            answers = [
                started,
                await wire.ask("watch", session=session),
                await wire.ask("list"),
                await wire.ask("cancel", session=session),
                await wire.ask("unwatch", session=session),
                await wire.ask("ping"),
                await wire.ask("unwatch", session="nobody"),
            ]
    types = {message["type"] for message in wire.heard}
    assert types >= {"welcome", "text", "persona", "progress", "preview", "state", "artifact", "end"}
    commands = [name_of(command) for command in ANSWERS]
    for asked, answer in zip(("start", "watch", "list", "cancel", "unwatch", "ping"), answers, strict=False):
        assert asked in commands
        replies = DOCUMENT["operations"][asked]["reply"]["messages"]
        assert answer["type"] in {reply["$ref"].rpartition("/")[2] for reply in replies}
    assert answers[1]["type"] == name_of(Snapshot)
    assert answers[-1]["type"] == "error"
    for frame in wire.frames:
        VALIDATOR.check([_textual(message) for message in frame], refer("ServerFrame"))


async def test_the_official_parser_finds_nothing_wrong(tmp_path: Path) -> None:
    script, good, bad = tmp_path / "check.cjs", tmp_path / "good.json", tmp_path / "bad.json"
    script.write_text(_CHECK.replace("PARSER", str(package("@asyncapi/parser"))), encoding="utf-8")
    good.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    bad.write_text(json.dumps(DOCUMENT | {"operations": {"tell": {"action": "shout"}}}), encoding="utf-8")
    found, found_in_bad = msgspec.json.decode(await run_node(script, good, bad))
    assert found == []
    assert found_in_bad != []


_CHECK = """
const { Parser } = require("PARSER");
const { readFileSync } = require("fs");
const check = async (path) => (await new Parser().parse(readFileSync(path, "utf8"))).diagnostics;
Promise.all(process.argv.slice(2).map(check)).then((found) => console.log(JSON.stringify(found)));
"""


def _textual(message: Any) -> Any:
    """MessagePack's bytes as JSON says them, which is the form that schemas have words for."""
    match message:
        case bytes():
            return base64.b64encode(message).decode()
        case dict():
            return {key: _textual(value) for key, value in message.items()}
        case list():
            return [_textual(item) for item in message]
    return message
