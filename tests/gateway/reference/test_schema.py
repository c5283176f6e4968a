"""What JSON Schemas say of types: what may be absent, what may be null, and bounds, in words that all readers share."""

from typing import Annotated, Literal

import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from msgspec import UNSET, Meta, UnsetType

from gateway.reference.asyncapi import asyncapi
from gateway.reference.openapi import openapi
from gateway.reference.schema import Schema, refer, schema_of, schemas


class Wing(msgspec.Struct):
    """One wing.

    It flaps.
    """

    span: Annotated[float, Meta(gt=0, description="In metres.")]


class Bird(msgspec.Struct, tag_field="type", tag="bird", omit_defaults=True):
    """A bird."""

    name: str
    mate: str | None
    colour: Annotated[str, Meta(max_length=7, description="As #rrggbb.")] | None = None
    wing: Wing | None = None
    song: Literal["coo", "caw"] | UnsetType = UNSET
    eggs: Annotated[int | str | None, Meta(description="Or why.")] = None
    hops: int = 3
    place: tuple[float, float] | None = None


@pytest.fixture(scope="module")
def bird() -> Schema:
    return schemas([Bird])["Bird"]


def test_what_may_be_absent_is_optional_and_never_null(bird: Schema) -> None:
    assert bird["required"] == ["type", "name", "mate"]
    fields = bird["properties"]
    assert fields["colour"] == {"type": "string", "maxLength": 7, "description": "As #rrggbb."}
    assert fields["wing"] == refer("Wing")
    assert fields["eggs"] == {"anyOf": [{"type": "integer"}, {"type": "string"}], "description": "Or why."}
    assert fields["song"] == {"enum": ["caw", "coo"], "type": "string"}


def test_null_is_said_where_it_travels(bird: Schema) -> None:
    assert bird["properties"]["mate"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}


def test_defaults_and_tags_are_kept(bird: Schema) -> None:
    assert bird["properties"]["hops"] == {"type": "integer", "default": 3}
    assert bird["properties"]["type"] == {"const": "bird"}


def test_a_tuple_means_the_same_to_readers_of_every_draft(bird: Schema) -> None:
    place = bird["properties"]["place"]
    for validator in (Draft7Validator(place), Draft202012Validator(place)):
        assert validator.is_valid([1.5, 2])
        assert not any(validator.is_valid(wrong) for wrong in ([], [1], [1, 2, 3], ["a", "b"]))


def test_docstrings_come_without_their_indentation() -> None:
    assert schemas([Bird])["Wing"]["description"] == "One wing.\n\nIt flaps."


def test_a_type_without_a_name_is_said_in_place() -> None:
    assert schema_of(Annotated[int, Meta(ge=1)]) == {"type": "integer", "minimum": 1}
    assert schema_of(Wing) == refer("Wing")


def test_everything_that_travels_is_described() -> None:
    """A field says itself what it holds, or is a thing that says so; the `type` needs no words."""
    for document in (asyncapi(), openapi()):
        for name, schema in document["components"]["schemas"].items():
            assert schema["description"], name
            for key, field in schema.get("properties", {}).items():
                assert key == "type" or field.get("description"), f"{name}.{key}"
