"""The persona an LLM writes for one agent: its shape, its bounds, and the only way to validate one."""

import unicodedata
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from protocol.errors import PersonaInvalid

Name = Annotated[str, Meta(min_length=1, max_length=60, description="The agent's given name.")]
Species = Annotated[str, Meta(min_length=1, max_length=60, description="What kind of being it is.")]
Tagline = Annotated[str, Meta(min_length=1, max_length=140, description="One line that sums the agent up.")]
Trait = Annotated[str, Meta(min_length=1, max_length=60)]
Traits = Annotated[list[Trait], Meta(min_length=3, max_length=5, description="Character traits, a few words each.")]
Backstory = Annotated[
    str, Meta(min_length=1, max_length=1500, description="Where it comes from; one or two paragraphs.")
]
Greeting = Annotated[str, Meta(min_length=1, max_length=400, description="What it says first, in its own voice.")]
SystemPrompt = Annotated[
    str, Meta(min_length=1, max_length=2000, description="Instructions to a chat model that plays it.")
]
Colour = Annotated[str, Meta(pattern="^#[0-9a-fA-F]{6}$")]
Palette = Annotated[list[Colour], Meta(min_length=3, max_length=5, description="Its colours, as #rrggbb.")]
AvatarPrompt = Annotated[
    str,
    Meta(min_length=1, max_length=800, description="A prompt for an image model: what its portrait shows."),
]


class Persona(msgspec.Struct, frozen=True, kw_only=True):
    """A complete persona; lengths are Unicode code points."""

    name: Name
    species: Species
    tagline: Tagline
    traits: Traits
    backstory: Backstory
    greeting: Greeting
    system_prompt: SystemPrompt
    palette: Palette
    avatar_prompt: AvatarPrompt


STRING_FIELDS: Final = (
    "name",
    "species",
    "tagline",
    "backstory",
    "greeting",
    "system_prompt",
    "avatar_prompt",
)
LIST_FIELDS: Final = ("traits", "palette")


def validate_persona(value: Any) -> Persona:
    """Return `value` (decoded JSON) as a Persona, its strings unchanged.

    Raises PersonaInvalid, whose message names the field and the bound, and is fit to be shown to a model for repair.
    """
    try:
        persona = msgspec.convert(value, Persona)
    except msgspec.ValidationError as error:
        raise PersonaInvalid(str(error)) from error
    for path, text in persona_strings(persona):
        allowed = "" if path.startswith("/palette/") else "\n\t"  # a pattern's `$` lets a newline pass
        if any(unicodedata.category(c) in ("Cc", "Cs") and c not in allowed for c in text):
            raise PersonaInvalid(f"{path} holds a control character", field=path)
    return persona


def persona_strings(persona: Persona) -> list[tuple[str, str]]:
    """Every string of the persona with its JSON Pointer, in schema order."""
    found: list[tuple[str, str]] = []
    for name in persona.__struct_fields__:
        value = getattr(persona, name)
        if isinstance(value, str):
            found.append((f"/{name}", value))
        else:
            found += [(f"/{name}/{i}", item) for i, item in enumerate(value)]
    return found


def extend(partial: dict[str, Any], path: str, delta: str) -> None:
    """Let the string at `path` (a JSON Pointer) of a persona that is being written grow by `delta`."""
    name, _, index = path[1:].partition("/")
    if not index:
        partial[name] = partial.get(name, "") + delta
        return
    items: list[str] = partial.setdefault(name, [])
    items += [""] * (int(index) + 1 - len(items))
    items[int(index)] += delta


def persona_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a persona as LLM servers take it: flat, closed, every field required."""
    _, components = msgspec.json.schema_components([Persona])
    schema = dict(components["Persona"])
    schema["additionalProperties"] = False
    return schema
