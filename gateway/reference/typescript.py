"""TypeScript declarations of all messages, frames and HTTP bodies, from the same schemas as the other documents.

Those of the JavaScript client are written by hand, in terms of these, and come after them.
"""

import json
from importlib import resources
from typing import Final

from gateway.reference.asyncapi import asyncapi
from gateway.reference.messages import CLOSE_CODES, COMMANDS, EVENTS, meaning_of
from gateway.reference.openapi import openapi
from gateway.reference.schema import Schema, referred
from protocol.errors import error_classes

_HEAD: Final = """\
/**
 * What a Hatchery gateway says and understands: the messages of its WebSocket and the bodies of its HTTP answers; and,
 * at the end, its JavaScript client: to import that with its types, keep this file as `client.d.ts` beside `client.js`.
 * Ignore message types and fields that are not declared here.
 */
"""
_PLAIN: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
_CLIENT: Final = resources.files("gateway.reference") / "client.d.ts"
_PARTIAL: Final = {("Snapshot", "persona"): "Partial<Persona>"}  # for which JSON Schema has no word


def typescript() -> str:
    """The text of the declarations; bytes are base64 in JSON and binary in MessagePack."""
    found: dict[str, Schema] = asyncapi()["components"]["schemas"] | openapi()["components"]["schemas"]
    said, heard = found.pop("ServerFrame"), found.pop("ClientFrame")
    parts = [
        *(_interface(name, schema) for name, schema in sorted(found.items())),
        _union("Command", "What a client may say.", [command.__name__ for command in COMMANDS]),
        _union("ServerMessage", "What the gateway says.", [event.__name__ for event in EVENTS]),
        _union("ClientFrame", heard["description"], ["Command", "Command[]"]),
        _union("ServerFrame", said["description"], ["[ServerMessage, ...ServerMessage[]]"]),
        _union("ErrorCode", _errors(), [json.dumps(code) for code in error_classes()]),
        _union("CloseCode", _closings(), [str(close.code) for close in CLOSE_CODES]),
    ]
    return "\n".join([_HEAD, *parts, _CLIENT.read_text(encoding="utf-8")])


def _union(name: str, what: str, options: list[str]) -> str:
    one_a_line = "".join(f"\n  | {option}" for option in options)
    return f"{_comment(what, '')}export type {name} ={one_a_line};\n"


def _interface(name: str, schema: Schema) -> str:
    fields = [
        _comment(_about(field), "  ")
        + f"  {key}{'' if key in schema['required'] else '?'}: {_PARTIAL.get((name, key)) or _type(field)};\n"
        for key, field in schema["properties"].items()
    ]
    return f"{_comment(schema['description'], '')}export interface {name} {{\n{''.join(fields)}}}\n"


def _type(schema: Schema) -> str:
    if name := referred(schema):
        return name
    match schema:
        case {"const": value}:
            return json.dumps(value)
        case {"enum": values}:
            return " | ".join(map(json.dumps, values))
        case {"anyOf": options}:
            return " | ".join(_type(option) for option in options)
        case {"type": "string", "contentEncoding": _}:
            return "string | Uint8Array"
        case {"type": "array", "items": item, "minItems": 2, "maxItems": 2}:
            return f"[{_type(item)}, {_type(item)}]"
        case {"type": "array", "items": item}:
            said = _type(item)
            return f"({said})[]" if " | " in said else f"{said}[]"
        case {"type": "object"}:
            return "Record<string, unknown>"
    return _PLAIN[schema["type"]]


def _about(schema: Schema) -> str:
    """What is said of a field, with the bounds that TypeScript has no words for."""
    bounds = {
        "at least": schema.get("minimum", schema.get("minLength", schema.get("minItems"))),
        "more than": schema.get("exclusiveMinimum"),
        "at most": schema.get("maximum", schema.get("maxLength", schema.get("maxItems"))),
        "less than": schema.get("exclusiveMaximum"),
        "default": json.dumps(schema["default"]) if "default" in schema else None,
    }
    said = ", ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)
    return f"{schema.get('description', '')} ({said})" if said else str(schema.get("description", ""))


def _errors() -> str:
    lines = [f"- `{code}`: {meaning_of(leaf)}" for code, leaf in error_classes().items()]
    return "\n".join(["The codes of errors; others may come.", *lines])


def _closings() -> str:
    lines = [
        f"- {close.code}: {close.meaning}{'' if close.again else ' (do not connect again)'}" for close in CLOSE_CODES
    ]
    return "\n".join(["Why the gateway closes a connection.", *lines])


def _comment(text: str, indent: str) -> str:
    if not text:
        return ""
    lines = text.split("\n")
    if len(lines) == 1:
        return f"{indent}/** {text} */\n"
    return f"{indent}/**\n" + "".join(f"{indent} * {line}".rstrip() + "\n" for line in lines) + f"{indent} */\n"
