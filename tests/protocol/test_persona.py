"""The persona's bounds, and the schema that says them to a model."""

from typing import Any

import msgspec
import pytest

from protocol.errors import PersonaInvalid
from protocol.persona import LIST_FIELDS, STRING_FIELDS, Persona, persona_schema, persona_strings, validate_persona
from tests.helpers.fakes import PERSONA

WHOLE: dict[str, Any] = msgspec.to_builtins(PERSONA)
LONGEST = {
    "name": 60,
    "species": 60,
    "tagline": 140,
    "backstory": 1500,
    "greeting": 400,
    "system_prompt": 2000,
    "avatar_prompt": 800,
}


def test_a_valid_one_is_taken_as_it_is() -> None:
    assert validate_persona(WHOLE) == PERSONA
    odd = {**WHOLE, "name": "  Ada \n", "unknown": 1}
    assert validate_persona(odd).name == "  Ada \n"


@pytest.mark.parametrize("field", [*STRING_FIELDS, *LIST_FIELDS])
def test_every_field_is_required(field: str) -> None:
    with pytest.raises(PersonaInvalid, match=field):
        validate_persona({name: value for name, value in WHOLE.items() if name != field})


@pytest.mark.parametrize(("field", "longest"), LONGEST.items())
def test_lengths_are_code_points(field: str, longest: int) -> None:
    assert getattr(validate_persona({**WHOLE, field: "🦉" * longest}), field) == "🦉" * longest
    for wrong in ("🦉" * (longest + 1), ""):
        with pytest.raises(PersonaInvalid, match=rf"\$.{field}"):
            validate_persona({**WHOLE, field: wrong})


@pytest.mark.parametrize("field", LIST_FIELDS)
@pytest.mark.parametrize("length", [2, 6])
def test_lists_have_three_to_five_items(field: str, length: int) -> None:
    with pytest.raises(PersonaInvalid, match=rf"\$.{field}"):
        validate_persona({**WHOLE, field: ["#000000"] * length})


@pytest.mark.parametrize("colour", ["#12345", "#1234567", "123456", "#12345g", "red", "#123456\n", "", " #123456"])
def test_colours_are_six_hexadecimal_digits(colour: str) -> None:
    with pytest.raises(PersonaInvalid, match="palette"):
        validate_persona({**WHOLE, "palette": ["#000000", "#fFfFfF", colour]})


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\x85", "\r", "\ud800"])
@pytest.mark.parametrize("path", ["/backstory", "/traits/1"])
def test_control_characters_are_refused_and_named(path: str, character: str) -> None:
    field, _, index = path[1:].partition("/")
    wrong: Any = f"a{character}b"
    with pytest.raises(PersonaInvalid) as refused:
        validate_persona({**WHOLE, field: ["a", wrong, "c"] if index else wrong})
    assert refused.value.field == path


@pytest.mark.parametrize("value", [None, [], "text", 3, {"name": 3}])
def test_what_is_no_persona_at_all(value: object) -> None:
    with pytest.raises(PersonaInvalid):
        validate_persona(value)


def test_strings_come_with_their_pointers_in_schema_order() -> None:
    strings = persona_strings(PERSONA)
    assert strings[0] == ("/name", "Ada")
    assert ("/traits/2", "kind") in strings
    assert ("/palette/0", "#102030") in strings
    fields = list(dict.fromkeys(path.split("/")[1] for path, _ in strings))
    assert fields == list(persona_schema()["properties"])


def test_the_schema_says_what_is_checked() -> None:
    schema = persona_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {*STRING_FIELDS, *LIST_FIELDS} == set(schema["properties"])
    assert {name: schema["properties"][name]["maxLength"] for name in STRING_FIELDS} == LONGEST
    for name in LIST_FIELDS:
        assert (schema["properties"][name]["minItems"], schema["properties"][name]["maxItems"]) == (3, 5)
    assert "$ref" not in msgspec.json.encode(schema).decode(), "flat: not every server follows references"
    assert set(Persona.__struct_fields__) == set(schema["properties"])
