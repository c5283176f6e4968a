"""The persona's JSON Schema for constrained decoding, as far as each kind of server can keep to it."""

from typing import Any, Final

from protocol.persona import persona_schema

GRAMMAR_REPETITIONS: Final = 2000
"""llama.cpp's MAX_REPETITION_THRESHOLD: builds of 2025 and 2026 refuse a schema with this `maxLength` or more."""

_LENGTHS: Final = frozenset({"minLength", "maxLength", "minItems", "maxItems"})


def grammar_schema() -> dict[str, Any]:
    """For servers on llama.cpp and alike: without lengths that its grammars cannot count."""
    schema = persona_schema()
    schema["properties"] = {
        name: {
            keyword: value
            for keyword, value in field.items()
            if not (keyword == "maxLength" and value >= GRAMMAR_REPETITIONS)
        }
        for name, field in schema["properties"].items()
    }
    return schema


def shape_schema() -> dict[str, Any]:
    """For servers that refuse bounds: keys, types and patterns alone.

    Which bounds: https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
    """
    stripped: dict[str, Any] = _without_lengths(persona_schema())
    return stripped


def _without_lengths(schema: Any) -> Any:
    match schema:
        case dict():
            return {name: _without_lengths(value) for name, value in schema.items() if name not in _LENGTHS}
        case list():
            return [_without_lengths(item) for item in schema]
        case _:
            return schema
