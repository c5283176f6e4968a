"""Character Card V3, V2 beside it: how a persona and its making leave Hatchery, and how any tool's card comes in.

Formats: github.com/kwaroran/character-card-spec-v3 and github.com/malfoyslastname/character-card-spec-v2.
"""

import re
import unicodedata
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from protocol.errors import BadMessage, Invalid, PersonaInvalid, TooLarge
from protocol.events import Engines
from protocol.maker import Maker
from protocol.persona import (
    AvatarPrompt,
    Palette,
    Persona,
    Species,
    Tagline,
    Traits,
    persona_schema,
    validate_persona,
)

MAX_CARD: Final = 4 * 1024 * 1024  # bytes of JSON; other tools put lorebooks and pictures into theirs
MAX_SAID: Final = 20_000  # code points read of one field of another tool's card

NO_SPECIES: Final = "character"
"""The species of an agent whose card, made by another tool, has no place for one."""
NO_PALETTE: Final = ("#2b2d42", "#8d99ae", "#edf2f4")
"""The colours of such an agent."""

_V3: Final = "chara_card_v3"
_V2: Final = "chara_card_v2"
_V2_WARNING: Final = "This is a Character Card V3 that is read here as a V2: tools that know V3 show more of it."
_MACRO: Final = re.compile(r"\{\{(char|user|original)\}\}|<(char|bot|user)>", re.IGNORECASE)

Whole = Annotated[int, Meta(ge=0, lt=2**53)]


class Making(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent was made from, by whom, and with what, as far as that is known; `version` is Hatchery's.

    Cards from before `writer` and `painter` were kept say 0 steps where they mean that they do not know.
    """

    prompt: str
    seed: Whole | None
    steps: Whole | None
    engines: Engines
    version: str
    created_at_ms: Whole
    writer: Maker | None = None
    painter: Maker | None = None


class HatcheryPart(msgspec.Struct, frozen=True, kw_only=True):
    """`extensions.hatchery`: whatever of an agent has no field of its own in a card."""

    species: Species
    tagline: Tagline
    traits: Traits
    palette: Palette
    avatar_prompt: AvatarPrompt
    making: Making


class Extensions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Each tool's own part under its name; only ours is read."""

    hatchery: HatcheryPart | None = None


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """A file that belongs to a card; `ccdefault:` is the picture that carries it."""

    type: str
    uri: str
    name: str
    ext: str


class DataV2(msgspec.Struct, frozen=True, kw_only=True):
    """What V2 says of a character."""

    name: str
    description: str
    personality: str
    scenario: str
    first_mes: str
    mes_example: str
    creator_notes: str
    system_prompt: str
    post_history_instructions: str
    alternate_greetings: list[str]
    tags: list[str]
    creator: str
    character_version: str
    extensions: Extensions


class DataV3(DataV2, frozen=True, kw_only=True):
    """What V3 adds; dates are Unix time in seconds."""

    assets: list[Asset]
    group_only_greetings: list[str]
    creation_date: int
    modification_date: int


class CardV2(msgspec.Struct, frozen=True, kw_only=True):
    """A whole card of version 2."""

    spec: str = _V2
    spec_version: str = "2.0"
    data: DataV2


class CardV3(msgspec.Struct, frozen=True, kw_only=True):
    """A whole card of version 3."""

    spec: str = _V3
    spec_version: str = "3.0"
    data: DataV3


class _Said(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a card, V2 or V3; other tools leave fields out or null."""

    name: str | None = None
    nickname: str | None = None
    description: str | None = None
    personality: str | None = None
    scenario: str | None = None
    first_mes: str | None = None
    system_prompt: str | None = None
    tags: list[str] | None = None
    extensions: Extensions | None = None


class _AnyCard(msgspec.Struct, frozen=True, kw_only=True):
    spec: str
    data: _Said


_DECODER: Final = msgspec.json.Decoder(_AnyCard)


def to_card(persona: Persona, making: Making) -> bytes:
    """The V3 card as JSON in UTF-8."""
    return msgspec.json.encode(CardV3(data=_data(persona, making)))


def to_card_v2(persona: Persona, making: Making) -> bytes:
    """The same card for tools that know V2 only, as JSON in UTF-8; its notes say what it is."""
    data = _data(persona, making)
    fields: dict[str, Any] = {name: getattr(data, name) for name in DataV2.__struct_fields__}
    fields["creator_notes"] = f"{data.creator_notes}\n\n{_V2_WARNING}"
    return msgspec.json.encode(CardV2(data=DataV2(**fields)))


def _data(persona: Persona, making: Making) -> DataV3:
    engines = making.engines
    created_at = making.created_at_ms // 1000
    return DataV3(
        name=persona.name,
        description=persona.backstory,
        personality=", ".join(persona.traits),
        scenario="",
        first_mes=persona.greeting,
        mes_example="",
        creator_notes=f"{persona.tagline}\n\nHatched by Hatchery {making.version}, {engines.llm} and {engines.image}.",
        system_prompt=persona.system_prompt,
        post_history_instructions="",
        alternate_greetings=[],
        tags=[persona.species],
        creator="Hatchery",
        character_version="1",
        extensions=Extensions(
            hatchery=HatcheryPart(
                species=persona.species,
                tagline=persona.tagline,
                traits=persona.traits,
                palette=persona.palette,
                avatar_prompt=persona.avatar_prompt,
                making=making,
            )
        ),
        assets=[Asset(type="icon", uri="ccdefault:", name="main", ext="png")],
        group_only_greetings=[],
        creation_date=created_at,
        modification_date=created_at,
    )


def from_card(card: bytes) -> tuple[Persona, Making | None]:
    """The persona of a V3 or V2 card, exactly as it was if the card is ours, and its making.

    Where another tool edited our card, its words for name, description, greeting and system prompt count. A card
    without our part gives the best that can be had: see `_adopt`. Raises TooLarge, BadMessage for what cannot be
    read, and Invalid for a card that no persona can be had from.
    """
    if len(card) > MAX_CARD:
        raise TooLarge(f"a character card has at most {MAX_CARD} bytes, this one {len(card)}")
    try:
        read = _DECODER.decode(card)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadMessage(f"this is no character card: {error}") from error
    if read.spec not in (_V3, _V2):
        raise Invalid(f"a character card's `spec` is {_V3} or {_V2}", field="spec")
    said = read.data
    part = said.extensions.hatchery if said.extensions else None
    if part is None:
        return _validated(_adopt(said)), None
    fields = {
        "name": said.name,
        "species": part.species,
        "tagline": part.tagline,
        "traits": part.traits,
        "backstory": said.description,
        "greeting": said.first_mes,
        "system_prompt": said.system_prompt,
        "palette": part.palette,
        "avatar_prompt": part.avatar_prompt,
    }
    return _validated(fields), part.making


def _validated(fields: dict[str, Any]) -> Persona:
    try:
        return validate_persona(fields)
    except PersonaInvalid as error:
        raise Invalid(f"the card's persona is not valid: {error.message}", field=error.field) from error


def _adopt(said: _Said) -> dict[str, Any]:
    """A persona from another tool's card: its texts cut to our bounds, its macros resolved, no character invented.

    Traits come from `personality` and `tags`; species and palette, which such cards lack, are neutral.
    """
    name = " ".join(_plain(said.name, "").split())[: _longest("name")].strip()
    if not name:
        raise Invalid("the card names nobody", field="data.name")
    called = " ".join(_plain(said.nickname, "").split())[: _longest("name")].strip() or name
    personality, scenario = _plain(said.personality, called), _plain(said.scenario, called)
    backstory = _plain(said.description, called) or personality or scenario
    if not backstory:
        raise Invalid("the card says nothing of who this is", field="data.description")
    prompt = _plain(said.system_prompt, called) or f"You are {called}.\n\n{personality}\n\n{scenario}"
    texts = {
        "name": name,
        "species": NO_SPECIES,
        "tagline": re.split(r"(?<=[.!?])\s|\n", backstory, maxsplit=1)[0],
        "backstory": backstory,
        "greeting": _plain(said.first_mes, called, user="friend") or "Hello.",
        "system_prompt": prompt,
        "avatar_prompt": f"A portrait of {name}. {backstory}",
    }
    cut = {field: text.strip()[: _longest(field)].strip() for field, text in texts.items()}
    return {**cut, "traits": _traits(said, called), "palette": list(NO_PALETTE)}


def _traits(said: _Said, called: str) -> list[str]:
    listed = re.split("[,;\n]", _plain(said.personality, called)) + [_plain(tag, called) for tag in said.tags or ()]
    bounds = persona_schema()["properties"]["traits"]
    short = (trait.strip(" .") for trait in listed)
    traits = list(dict.fromkeys(trait for trait in short if 0 < len(trait) <= bounds["items"]["maxLength"]))
    if len(traits) < bounds["minItems"]:
        hint = f"name at least {bounds['minItems']} traits there or in `tags`, separated by commas"
        raise Invalid(f"the card's personality cannot be read as traits: {hint}", field="data.personality")
    return traits[: bounds["maxItems"]]


def _plain(text: str | None, called: str, *, user: str = "the user") -> str:
    """What other tools would show: macros resolved, lines ended by newlines, no control characters."""
    names = {"char": called, "bot": called, "user": user, "original": ""}
    resolved = _MACRO.sub(lambda macro: names[(macro[1] or macro[2]).lower()], (text or "")[:MAX_SAID])
    return "".join(c for c in resolved if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs")).strip()


def _longest(field: str) -> int:
    """The bound of a persona's string, in code points."""
    longest: int = persona_schema()["properties"][field]["maxLength"]
    return longest
