"""Cards out and in again: exactly for our own, the best that can be had of others', a coded error for the rest."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.card import (
    MAX_CARD,
    NO_PALETTE,
    NO_SPECIES,
    Making,
    from_card,
    to_card,
    to_card_v2,
)
from protocol.errors import BadMessage, Invalid, TooLarge
from protocol.events import Engines
from protocol.maker import Maker
from protocol.persona import Persona, persona_schema, validate_persona
from tests.helpers.fakes import ENGINES, PERSONA

MAKING = Making(
    prompt="an owl who fixes clocks",
    seed=7,
    steps=4,
    engines=ENGINES,
    version="0.1.0",
    writer=Maker(engine="openai", model="owl-7b"),
    painter=Maker(engine="scripted", model="schnell", version="0.24.0"),
    created_at_ms=1_800_000_000_123,
)
OTHERS: dict[str, Any] = {
    "name": "Mira",
    "description": "{{char}} keeps the light. She waits for {{user}}.\r\nNobody comes.",
    "personality": "patient, wry; salt-worn",
    "scenario": "A lighthouse in winter.",
    "first_mes": "Mind the stairs, {{user}}!",
    "system_prompt": "{{original}}\nStay in the voice of <BOT>.",
    "tags": ["human"],
    "extensions": {"depth_prompt": {"depth": 4}},
    "creation_date": 1_700_000_000.5,
    "character_book": None,
}
SCHEMA = persona_schema()["properties"]


def words(longest: int) -> st.SearchStrategy[str]:
    letters = st.characters(exclude_categories=("Cc", "Cs")) | st.sampled_from("\n\t")
    return st.text(letters, min_size=1, max_size=longest)


def personas() -> st.SearchStrategy[Persona]:
    texts = {name: words(of["maxLength"]) for name, of in SCHEMA.items() if of["type"] == "string"}
    colours = st.from_regex("#[0-9a-fA-F]{6}", fullmatch=True)
    return st.builds(
        Persona,
        traits=st.lists(words(60), min_size=3, max_size=5),
        palette=st.lists(colours, min_size=3, max_size=5),
        **texts,
    )


def makings() -> st.SearchStrategy[Making]:
    whole = st.integers(0, 2**53 - 1)
    engines = st.builds(Engines, llm=words(40), image=words(40))
    maker = st.none() | st.builds(Maker, engine=words(40), model=st.none() | words(40), version=st.none() | words(9))
    return st.builds(
        Making,
        prompt=words(400),
        seed=st.none() | whole,
        steps=st.none() | whole,
        engines=engines,
        version=words(9),
        created_at_ms=whole,
        writer=maker,
        painter=maker,
    )


def card(data: Any, spec: object = "chara_card_v3") -> bytes:
    return json.dumps({"spec": spec, "spec_version": "3.0", "data": data}).encode()


@given(personas(), makings())
def test_what_goes_out_comes_in_again(persona: Persona, making: Making) -> None:
    assert from_card(to_card(persona, making)) == (persona, making)
    assert from_card(to_card_v2(persona, making)) == (persona, making)


def test_a_card_from_before_makers_were_kept_is_read() -> None:
    card = json.loads(to_card(PERSONA, MAKING))
    making = card["data"]["extensions"]["hatchery"]["making"]
    del making["writer"], making["painter"]
    making |= {"model": None, "steps": 0}
    assert from_card(json.dumps(card).encode()) == (
        PERSONA,
        msgspec.structs.replace(MAKING, writer=None, painter=None, steps=0),
    )


def test_a_card_has_all_that_the_specification_asks_for() -> None:
    v3 = json.loads(to_card(PERSONA, MAKING))
    assert (v3["spec"], v3["spec_version"]) == ("chara_card_v3", "3.0")
    data = v3["data"]
    assert {name: data[name] for name in ("name", "description", "first_mes", "system_prompt", "personality")} == {
        "name": "Ada",
        "description": PERSONA.backstory,
        "first_mes": "Hoo!",
        "system_prompt": "You are Ada.",
        "personality": "calm, curious, kind",
    }
    texts = {"scenario", "mes_example", "post_history_instructions", "creator", "character_version", "creator_notes"}
    assert all(isinstance(data[name], str) for name in texts)
    assert all(data[name] == [] for name in ("alternate_greetings", "group_only_greetings"))
    assert data["assets"] == [{"type": "icon", "uri": "ccdefault:", "name": "main", "ext": "png"}]
    assert data["creation_date"] == data["modification_date"] == 1_800_000_000, "seconds"
    assert set(data["extensions"]) == {"hatchery"}


def test_the_older_form_has_the_older_fields_and_says_what_it_is() -> None:
    v3, v2 = json.loads(to_card(PERSONA, MAKING)), json.loads(to_card_v2(PERSONA, MAKING))
    assert (v2["spec"], v2["spec_version"]) == ("chara_card_v2", "2.0")
    newer = {"assets", "group_only_greetings", "creation_date", "modification_date"}
    assert set(v3["data"]) - set(v2["data"]) == newer
    assert v2["data"]["creator_notes"].startswith(v3["data"]["creator_notes"])
    assert "V3" in v2["data"]["creator_notes"]


def test_what_another_tool_edited_counts_and_is_checked() -> None:
    edited = json.loads(to_card(PERSONA, MAKING))
    edited["spec_version"] = "3.7"
    edited["data"] |= {"name": "Ada II", "first_mes": "Hello again.", "nickname": "Addie", "new_field": [1]}
    edited["data"]["extensions"]["other"] = {"x": 1}
    renamed = msgspec.structs.replace(PERSONA, name="Ada II", greeting="Hello again.")
    assert from_card(json.dumps(edited).encode()) == (renamed, MAKING)
    edited["data"]["name"] = "A" * 61
    with pytest.raises(Invalid, match="name"):
        from_card(json.dumps(edited).encode())


@pytest.mark.parametrize("spec", ["chara_card_v3", "chara_card_v2"])
def test_of_another_tools_card_the_best_is_made(spec: str) -> None:
    persona, making = from_card(card(OTHERS, spec))
    assert making is None
    assert persona == Persona(
        name="Mira",
        species=NO_SPECIES,
        tagline="Mira keeps the light.",
        traits=["patient", "wry", "salt-worn", "human"],
        backstory="Mira keeps the light. She waits for the user.\nNobody comes.",
        greeting="Mind the stairs, friend!",
        system_prompt="Stay in the voice of Mira.",
        palette=list(NO_PALETTE),
        avatar_prompt="A portrait of Mira. Mira keeps the light. She waits for the user.\nNobody comes.",
    )


def test_what_is_too_long_is_cut_and_what_is_missing_is_made_up_from_the_rest() -> None:
    bare = {"name": "N" * 99, "description": "d" * 99_999, "personality": None, "tags": ["a", "a", "b", "c", "d" * 61]}
    persona, _ = from_card(card(bare))
    lengths = {name: SCHEMA[name]["maxLength"] for name in ("name", "backstory", "tagline", "avatar_prompt")}
    assert {name: len(getattr(persona, name)) for name in lengths} == lengths
    assert persona.traits == ["a", "b", "c"]
    assert persona.system_prompt.startswith("You are NNN")
    assert persona.greeting == "Hello."


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": " \x00"}, "data.name"),
        ({"name": None}, "data.name"),
        ({"description": "", "personality": "", "scenario": " "}, "data.description"),
        ({"personality": "shy", "tags": ["human"]}, "data.personality"),
    ],
)
def test_too_little_is_said_so(change: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        from_card(card({**OTHERS, **change}))
    assert refused.value.field == field


def test_another_kind_of_document_is_refused() -> None:
    with pytest.raises(Invalid, match="spec"):
        from_card(card(OTHERS, "chara_card_v9"))
    with pytest.raises(BadMessage, match="spec"):
        from_card(json.dumps(OTHERS).encode())


def hostile(path: str, value: Any) -> bytes:
    whole = json.loads(to_card(PERSONA, MAKING))
    inner = whole
    *parents, last = path.split(".")
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        card(OTHERS).replace(b"Mira", b"M\xffra"),
        b"null",
        b"[]",
        b'{"spec":"chara_card_v3","data":' + b"[" * 200_000,
        b'{"spec":"chara_card_v3","data":{"extensions":{"other":' + b'{"a":' * 200_000,
        b'{"spec":"chara_card_v3","data":{"name":"\\ud800"}}',
        hostile("spec", 3),
        hostile("data", []),
        hostile("data.name", ["Ada"]),
        hostile("data.tags", {"a": 1}),
        hostile("data.extensions", "x"),
        hostile("data.extensions.hatchery", []),
        hostile("data.extensions.hatchery.traits", ["one"]),
        hostile("data.extensions.hatchery.palette", ["red"] * 3),
        hostile("data.extensions.hatchery.making.seed", 2**53),
        hostile("data.extensions.hatchery.making.steps", -1),
        hostile("data.extensions.hatchery.making.engines", None),
    ],
)
def test_what_cannot_be_read_is_a_coded_error(raw: bytes) -> None:
    with pytest.raises(BadMessage):
        from_card(raw)


def test_a_control_character_in_our_own_part_is_named() -> None:
    with pytest.raises(Invalid) as refused:
        from_card(hostile("data.extensions.hatchery.species", "o\x1bwl"))
    assert refused.value.field == "/species"


def test_size_is_bounded_before_anything_is_read() -> None:
    padded = to_card(PERSONA, MAKING).ljust(MAX_CARD)
    assert from_card(padded)[0] == PERSONA
    with pytest.raises(TooLarge):
        from_card(padded + b" ")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=200), lambda inner: st.lists(inner, max_size=3)
)
FIELDS = ("name", "nickname", "description", "personality", "first_mes", "system_prompt", "scenario", "tags")
MACROS = st.lists(st.sampled_from(["{{char}}", "{{user}}", "<bot>", "{{original}}", "a", ",", "\r", "\x85", " "]))


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING | MACROS.map("".join)))
def test_whatever_stands_in_a_card_gives_a_valid_persona_or_a_coded_error(change: dict[str, Any]) -> None:
    try:
        persona, making = from_card(card({**OTHERS, **change}))
    except (BadMessage, Invalid):
        return
    assert validate_persona(msgspec.to_builtins(persona)) == persona
    assert making is None
