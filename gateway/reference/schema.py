"""JSON Schemas of what travels, from its types: in 2020-12, without what draft-07 (AsyncAPI's) reads differently."""

import inspect
from collections.abc import Iterable
from typing import Any, Final

import msgspec

Schema = dict[str, Any]

PLACE: Final = "#/components/schemas/"
_NULL: Final = {"type": "null"}


def schemas(types: Iterable[Any]) -> dict[str, Schema]:
    """The schemas of these types and of all that they consist of, by name; references lead to `PLACE`.

    A field that may be left out is optional, and null only where null travels: whatever may be absent is never null.
    """
    _, found = msgspec.json.schema_components(types, ref_template=PLACE + "{name}")
    return {name: _plain(schema) for name, schema in found.items()}


def schema_of(type_: Any) -> Schema:
    """The schema of one type, by reference where it has a name."""
    (schema,), _ = msgspec.json.schema_components([type_], ref_template=PLACE + "{name}")
    return _plain(schema)


def refer(name: str) -> Schema:
    """A reference to the schema of that name."""
    return {"$ref": PLACE + name}


def referred(schema: Schema) -> str | None:
    """The name that a reference leads to; None for anything else."""
    target: str | None = schema.get("$ref")
    return None if target is None else target.removeprefix(PLACE)


def _plain(schema: Schema) -> Schema:
    """The same, said as simply as it can be."""
    said = {key: _plain_value(value) for key, value in schema.items()}
    if isinstance(said.get("description"), str):  # else it is a field of that name
        said["description"] = inspect.cleandoc(said["description"])
    if "properties" in said:
        required = said["required"]
        said["properties"] = {
            name: field if name in required else _never_null(field) for name, field in said["properties"].items()
        }
    if len(said.get("enum", ())) == 1:
        (said["const"],) = said.pop("enum")
    elif "enum" in said:
        said["type"] = "string"
    if "prefixItems" in said:  # draft-07 has another word for a tuple; all of ours hold things of one kind
        item, *others = said.pop("prefixItems")
        assert all(other == item for other in others)
        said["items"] = item
    return said


def _plain_value(value: Any) -> Any:
    match value:
        case dict():
            return _plain(value)
        case list():
            return [_plain_value(item) for item in value]
    return value


def _never_null(schema: Schema) -> Schema:
    if _NULL not in schema.get("anyOf", ()) or schema.get("default", ...) is not None:
        return schema
    kept = [option for option in schema["anyOf"] if option != _NULL]
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return {**kept[0], **rest} if len(kept) == 1 else {**rest, "anyOf": kept}
