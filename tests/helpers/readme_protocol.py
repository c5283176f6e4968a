"""The protocol's tables for README.md, from the types of its messages."""

import json
from collections.abc import Iterable

from gateway.reference.asyncapi import asyncapi
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
from gateway.reference.schema import Schema, referred
from protocol.errors import error_classes


def protocol_tables() -> str:
    """Commands, events, what they consist of, error codes and close codes."""
    schemas: dict[str, Schema] = asyncapi()["components"]["schemas"]
    parts = {name for name in schemas if not name.endswith("Frame")} - {message.__name__ for message in MESSAGES}
    tables = [
        _table(
            ("a client says", "", "fields besides `id`", "answer, or `error`"),
            (
                (
                    f"`{name_of(command)}`",
                    meaning_of(command).partition("; answered")[0].rstrip(".") + ".",
                    _fields(schemas[command.__name__]),
                    " or ".join(f"`{name_of(answer)}`" for answer in ANSWERS[command]),
                )
                for command in COMMANDS
            ),
        ),
        _table(
            ("the gateway says", "", "fields", "delivery"),
            (
                (
                    f"`{name_of(event)}`",
                    meaning_of(event),
                    _fields(schemas[event.__name__], with_id=True),
                    KINDS[event].value,
                )
                for event in EVENTS
            ),
        ),
        _table(("delivery", "promise"), ((kind.value, promise) for kind, promise in PROMISES.items())),
        _table(
            ("part", "", "fields"),
            (
                (f"`{name}`", schemas[name]["description"].splitlines()[0], _fields(schemas[name]))
                for name in sorted(parts)
            ),
        ),
        _table(
            ("error", "HTTP", "", "retry"),
            (
                (f"`{code}`", str(leaf.status), meaning_of(leaf), "yes" if leaf.retryable else "")
                for code, leaf in error_classes().items()
            ),
        ),
        _table(
            ("close code", "", "connect again"),
            ((str(close.code), close.meaning, "with backoff" if close.again else "no") for close in CLOSE_CODES),
        ),
    ]
    return "\n\n".join(tables)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("|" + "|".join(f" {cell} " if cell != "---" else cell for cell in line) + "|" for line in lines)


def _fields(schema: Schema, *, with_id: bool = False) -> str:
    """Names, `?` where one may be absent, the part or the words that it holds, and its default."""
    left_out = {"type"} if with_id else {"type", "id"}
    return ", ".join(
        f"`{name}{_shape(field, name in schema['required'])}`"
        for name, field in schema["properties"].items()
        if name not in left_out
    )


def _shape(field: Schema, required: bool) -> str:
    default = json.dumps(field["default"]) if "default" in field and not isinstance(field["default"], dict) else None
    absent = "" if required or default is not None else "?"
    held = referred(field) or referred(field.get("items", {}))
    shape = f": {held}{'[]' if 'items' in field else ''}" if held else ""
    return f"{absent}{shape}" + (f" = {default}" if default is not None else "")
