"""The TypeScript declarations: every message and body, field by field, and acceptable to the real compiler."""

import re
from pathlib import Path
from typing import get_args

import httpx2

from gateway.reference.asyncapi import asyncapi
from gateway.reference.messages import COMMANDS, EVENTS, MESSAGES, name_of
from gateway.reference.openapi import openapi
from gateway.reference.typescript import typescript
from protocol.commands import StateName
from protocol.errors import error_classes
from tests.helpers.gateways import running_gateway
from tests.helpers.node import run_node
from tests.helpers.packages import package

TEXT = typescript()
INTERFACES = dict(re.findall(r"^export interface (\w+) {\n(.*?)^}", TEXT, re.MULTILINE | re.DOTALL))
TYPES = dict(re.findall(r"^export type (\w+) =(.*?);$", TEXT, re.MULTILINE | re.DOTALL))


def _fields(name: str) -> dict[str, str]:
    return dict(re.findall(r"^  (\w+\??): (.*);$", INTERFACES[name], re.MULTILINE))


def test_every_schema_is_an_interface_with_its_fields() -> None:
    for document in (asyncapi(), openapi()):
        for name, schema in document["components"]["schemas"].items():
            if "properties" not in schema:
                assert name in TYPES
                continue
            optional = {key for key in schema["properties"] if key not in schema["required"]}
            said = _fields(name)
            assert {key.rstrip("?") for key in said} == set(schema["properties"]), name
            assert {key[:-1] for key in said if key.endswith("?")} == optional, name
    for message in MESSAGES:
        assert _fields(message.__name__)["type"] == f'"{name_of(message)}"'


def test_types_are_those_of_the_wire() -> None:
    assert _fields("Start")["watch?"] == "boolean | WatchOptions"
    assert _fields("Watch")["from?"] == "Cursor"
    assert _fields("Progress")["eta_s?"] == "[number, number]"
    assert _fields("Preview")["data"] == "string | Uint8Array"
    assert _fields("Snapshot")["persona"] == "Partial<Persona>"
    assert _fields("AgentItem")["seed"] == "number | null"
    states = _fields("State")["state"]
    assert set(_fields("List")["states?"].removeprefix("(").removesuffix(")[]").split(" | ")) == set(
        states.split(" | ")
    )
    assert set(_fields("State")["state"].split(" | ")) == {f'"{state}"' for state in get_args(StateName)}
    assert "(default 30.0, at least 0" not in TEXT
    assert "/** Seconds until it does. (at least 0, at most 86400, default 30.0) */" in TEXT


def test_unions_name_all_there_is() -> None:
    assert re.findall(r"\w+", TYPES["Command"]) == [command.__name__ for command in COMMANDS]
    assert re.findall(r"\w+", TYPES["ServerMessage"]) == [event.__name__ for event in EVENTS]
    assert re.findall(r"\w+", TYPES["ErrorCode"]) == list(error_classes())


async def test_the_compiler_holds_clients_to_it(tmp_path: Path) -> None:
    """A client that is right compiles; each mistake in the other is found in its own line."""
    tsc = package("typescript") / "bin" / "tsc"
    (tmp_path / "hatchery.d.ts").write_text(TEXT, encoding="utf-8")
    (tmp_path / "right.ts").write_text(_RIGHT, encoding="utf-8")
    flags = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext"]
    await run_node(tsc, *flags, tmp_path / "right.ts")
    (tmp_path / "wrong.ts").write_text(_WRONG, encoding="utf-8")
    try:
        await run_node(tsc, *flags, tmp_path / "wrong.ts")
    except AssertionError as complaints:
        lines = {int(line) for line in re.findall(r"wrong\.ts\((\d+),", str(complaints))}
        assert lines == {2, 3, 4}
    else:
        raise AssertionError("nothing was found wrong")


_RIGHT = """
import type { Command, ServerFrame, ServerMessage } from "./hatchery";
const start: Command = { type: "start", id: 1, hatch: { prompt: "a shy dragon" }, watch: { previews: true } };
function show(message: ServerMessage): string {
  switch (message.type) {
    case "progress": return `${message.percent} ${message.eta_s?.[1] ?? ""}`;
    case "end": return message.error?.code ?? message.outcome;
    case "snapshot": return message.persona.name ?? "";
    default: return message.type;
  }
}
const frame: ServerFrame = JSON.parse("[]");
show(frame[0]) + start.type;
"""
_WRONG = """import type { Command, Progress } from "./hatchery";
export const a: Command = { type: "start", id: 1, hatch: {} };
export const b: Command = { type: "hello", id: 1, token: null };
export const c = (progress: Progress) => progress.seq;
"""


async def test_it_is_served(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, httpx2.AsyncClient(trust_env=False) as http:
        response = await http.get(f"{gateway.url}/v1/hatchery.d.ts")
        assert response.headers["content-type"].startswith("application/typescript")
        assert response.text == TEXT
