"""The AsyncAPI 3 document of the WebSocket, made from the types of messages.

Format: asyncapi.com/docs/reference/specification/v3.1.0.
"""

from typing import Any, Final

from gateway.live.dialogue import VERSION
from gateway.reference.messages import (
    ANSWERS,
    CLOSE_CODES,
    COMMANDS,
    EVENTS,
    KINDS,
    MESSAGES,
    PROMISES,
    meaning_of,
    name_of,
)
from gateway.reference.schema import refer, schemas
from protocol.codec import MAX_BATCH, Codec
from protocol.commands import Command
from protocol.envelope import Kind
from protocol.events import Error, Event

_CHANNEL: Final = "#/channels/socket"
_ABOUT: Final = """\
Hatches AI agents: an LLM writes a persona, mflux draws its avatar, and everyone watching sees true progress.

Offer the subprotocol `hatch.v1.json` (text frames) or `hatch.v1.msgpack` (binary frames); none offered means JSON. A
frame from the client holds one message or an array of them (`ClientFrame`), a frame from the gateway is always an
array (`ServerFrame`). `hello` comes first. Ignore message types and fields that you do not know."""
_BEARER: Final = """\
Needed where the gateway has tokens: in `Authorization`, or as the subprotocol `bearer.` with the token in base64url
without padding beside `hatch.v1.…`, or in `hello.token`."""


def asyncapi() -> dict[str, Any]:
    """The whole document; bytes are base64 in JSON and bin in MessagePack."""
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Hatchery",
            "version": str(VERSION),
            "description": _ABOUT,
            "license": {"name": "MIT", "url": "https://opensource.org/license/mit"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:8642",
                "protocol": "ws",
                "description": "A gateway on this machine, with the usual port.",
                "security": [{"$ref": "#/components/securitySchemes/bearer"}],
            }
        },
        "channels": {"socket": _channel()},
        "operations": {name_of(command): _request(command) for command in COMMANDS} | {"tell": _telling()},
        "components": {
            "messages": {name_of(message): _message(message) for message in MESSAGES},
            "schemas": schemas(MESSAGES) | _frames(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": _BEARER}},
        },
    }


def _channel() -> dict[str, Any]:
    closings = (
        f"- {close.code}: {close.meaning}; {'connect again, with backoff' if close.again else 'do not connect again'}"
        for close in CLOSE_CODES
    )
    return {
        "address": "/v1/ws",
        "title": "The dialogue with one client",
        "description": "\n".join([f"Subprotocols: {', '.join(c.value for c in Codec)}. Close codes:", "", *closings]),
        "messages": {name_of(message): {"$ref": f"#/components/messages/{name_of(message)}"} for message in MESSAGES},
        "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
    }


def _request(command: type[Command]) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": {"$ref": _CHANNEL},
        "summary": meaning_of(command),
        "messages": [_said(command)],
        "reply": {"channel": {"$ref": _CHANNEL}, "messages": [*map(_said, ANSWERS[command]), _said(Error)]},
    }


def _telling() -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": _CHANNEL},
        "summary": "What the gateway says of sessions and of itself, without being asked.",
        "messages": [_said(event) for event in EVENTS if KINDS[event] is not Kind.ANSWER],
    }


def _message(message: type[Command | Event]) -> dict[str, Any]:
    said: dict[str, Any] = {"name": name_of(message), "title": message.__name__, "summary": meaning_of(message)}
    if "id" in message.__struct_fields__:
        said["correlationId"] = {"location": "$message.payload#/id"}
    if issubclass(message, Event):
        said["description"] = f"Delivery: {PROMISES[KINDS[message]]}."
    return said | {"payload": refer(message.__name__)}


def _frames() -> dict[str, Any]:
    commands = {"oneOf": [refer(command.__name__) for command in COMMANDS]}
    events = {"oneOf": [refer(event.__name__) for event in EVENTS]}
    return {
        "ClientFrame": {
            "title": "ClientFrame",
            "description": "What one frame of a client holds.",
            "oneOf": [*commands["oneOf"], {"type": "array", "items": commands, "maxItems": MAX_BATCH}],
        },
        "ServerFrame": {
            "title": "ServerFrame",
            "description": "What one frame of the gateway holds, in order.",
            "type": "array",
            "items": events,
            "minItems": 1,
        },
    }


def _said(message: type[Command | Event]) -> dict[str, str]:
    return {"$ref": f"{_CHANNEL}/messages/{name_of(message)}"}
