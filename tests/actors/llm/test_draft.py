import json
import time
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.llm.draft import MAX_CHARS, Draft
from protocol.errors import PersonaInvalid
from protocol.mail import PersonaRejected, TextGrew, ThoughtGrew
from protocol.persona import Persona, persona_strings, validate_persona

VALID: dict[str, Any] = {
    "name": "Bramble",
    "species": "fox",
    "tagline": "A fox with a lantern.",
    "traits": ["sly", "warm", "brave"],
    "backstory": "Once.\nTwice.",
    "greeting": 'Say "hi" 🦊',
    "system_prompt": "You are Bramble.",
    "palette": ["#aabbcc", "#112233", "#ffEE00"],
    "avatar_prompt": "a fox",
}


def strings(most: int) -> st.SearchStrategy[str]:
    alphabet = st.one_of(
        st.sampled_from('{}[]":\\,/<think>`\n\t é\u2028😀'), st.characters(exclude_categories=["Cc", "Cs"])
    )
    return st.text(alphabet, min_size=1, max_size=most)


colours = st.text("0123456789abcdefABCDEF", min_size=6, max_size=6).map("#{}".format)
personas = st.fixed_dictionaries(
    {
        "name": strings(60),
        "species": strings(60),
        "tagline": strings(140),
        "traits": st.lists(strings(60), min_size=3, max_size=5),
        "backstory": strings(200),
        "greeting": strings(80),
        "system_prompt": strings(80),
        "palette": st.lists(colours, min_size=3, max_size=5),
        "avatar_prompt": strings(80),
    }
)


def split(text: str, cuts: list[int]) -> list[str]:
    at = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(at)]


def read(pieces: list[str] | str) -> tuple[Persona, list[TextGrew], str]:
    draft, texts, thoughts = Draft(), [], ""
    for piece in pieces:
        for grown in draft.feed(piece):
            match grown:
                case TextGrew():
                    texts.append(grown)
                case ThoughtGrew(delta=delta):
                    thoughts += delta
                case PersonaRejected():
                    texts.clear()
    return draft.finish(), texts, thoughts


def joined(texts: list[TextGrew]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        assert text.delta
        text.delta.encode()  # no half surrogate pair
        found[text.path] = found.get(text.path, "") + text.delta
    return found


@settings(max_examples=150, deadline=None)
@given(
    persona=personas,
    order=st.permutations(list(VALID)),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 0, 2, "\t"]),
    before=st.sampled_from(
        ["", "```json\n", "Sure! {braces} and <tags>: ", '<think>{"name": "no"}</think>\n', "<th {"]
    ),
    after=st.sampled_from(["", "\n```", '\nHope {"that": "helps"}']),
    cuts=st.lists(st.integers(0, 20_000), max_size=60),
    every=st.booleans(),
)
def test_deltas_of_any_valid_persona_cut_anywhere_join_to_it(
    persona: dict[str, Any],
    order: list[str],
    ascii_only: bool,
    indent: int | str | None,
    before: str,
    after: str,
    cuts: list[int],
    every: bool,
) -> None:
    json_text = json.dumps({key: persona[key] for key in order}, ensure_ascii=ascii_only, indent=indent)
    text = before + json_text + after
    written, texts, thoughts = read(text if every else split(text, cuts))
    assert msgspec.to_builtins(written) == persona
    assert joined(texts) == dict(persona_strings(validate_persona(persona)))
    assert thoughts == ('{"name": "no"}' if "<think>" in before else "")


@settings(max_examples=150, deadline=None)
@given(
    text=st.text(st.sampled_from('{}[]":\\,ud83<think>/ab0\n'), max_size=120), name=st.sampled_from(["", '{"name":'])
)
def test_rubbish_costs_nothing_but_persona_invalid(text: str, name: str) -> None:
    with pytest.raises(PersonaInvalid):
        read(name + text)


def test_text_shows_while_it_is_written() -> None:
    draft = Draft()
    assert draft.feed('{"name": "Bra') == [TextGrew(path="/name", delta="Bra")]
    assert draft.feed('mble", "traits": ["s') == [
        TextGrew(path="/name", delta="mble"),
        TextGrew(path="/traits/0", delta="s"),
    ]
    assert draft.feed('ly", "w') == [TextGrew(path="/traits/0", delta="ly"), TextGrew(path="/traits/1", delta="w")]


def test_half_an_escape_waits_for_its_other_half() -> None:
    draft = Draft()
    assert draft.feed(r'{"name": "a\ud83d') == [TextGrew(path="/name", delta="a")]
    assert draft.feed(r"\ude0") == []
    assert draft.feed("0") == [TextGrew(path="/name", delta="😀")]
    assert draft.feed("\\") == []
    assert draft.feed("n") == [TextGrew(path="/name", delta="\n")]


def test_thoughts_stream_apart_from_the_text() -> None:
    draft = Draft()
    assert draft.feed("<thi") == []
    assert draft.feed("nk>Let me <se") == [ThoughtGrew(delta="Let me <se")]
    assert draft.feed("e></thin") == [ThoughtGrew(delta="e>")]
    assert draft.feed('k>{"name": "x') == [TextGrew(path="/name", delta="x")]


def test_unknown_keys_are_neither_shown_nor_refused() -> None:
    text = json.dumps({"mood": "grim", "extra": {"name": ["x"], "traits": {"deep": [[["y"]]]}}, **VALID})
    persona, texts, _ = read(text)
    assert joined(texts) == dict(persona_strings(persona))


def test_bare_newlines_and_tabs_in_strings_are_repaired() -> None:
    text = json.dumps(VALID).replace(r"Once.\nTwice.", "Once.\n\tTwice.")
    persona, texts, _ = read(text)
    assert persona.backstory == "Once.\n\tTwice." == joined(texts)["/backstory"]


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ('{"name": "' + "x" * 61, "/name", "60"),
        ('{"traits": ["' + "x" * 61, "/traits/0", "60"),
        ('{"traits": ["a", "b", "c", "d", "e", "f', "/traits", "5"),
        ('{"palette": ["blue', "/palette/0", "#rrggbb"),
        ('{"palette": ["#1234567', "/palette/0", "#rrggbb"),
        ('{"name": {', "/name", "string"),
        ('{"name": null,', "/name", "string"),
        ('{"traits": "sly', "/traits", "list"),
        ('{"traits": [["', "/traits/0", "string"),
        (r'{"name": "a\u0000', "/name", "control"),
        ('{"name": "a", "name": "a', None, "uplicate"),
        (r'{"name": "a", "n\u0061me": "b', None, "uplicate"),
        (r'{"name": "\ud83d"', None, "JSON"),
        ('{"name" "x', None, "JSON"),
        ('{"x": ' + "[" * 5000, None, "JSON"),
        ('{"x": "' + "y" * MAX_CHARS, None, str(MAX_CHARS)),
        ('{"name": "\ud83d', None, "surrogate"),
    ],
)
def test_what_cannot_become_valid_is_refused_at_once(text: str, field: str | None, reason: str) -> None:
    draft = Draft()
    with pytest.raises(PersonaInvalid, match=reason) as caught:
        draft.feed(text)
    assert caught.value.field == field


@pytest.mark.parametrize("name", VALID)
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(PersonaInvalid, match=name):
        read(json.dumps({key: value for key, value in VALID.items() if key != name}))


def test_every_truncation_is_noticed() -> None:
    text = json.dumps(VALID)
    for end in range(len(text)):
        with pytest.raises(PersonaInvalid):
            read([text[:end]])
    read([text])


def test_two_thousand_tokens_stay_cheap() -> None:
    value = VALID | {"backstory": "The old road. " * 107, "system_prompt": "You are a fox" * 153, "x": "y " * 2000}
    text = json.dumps(value)
    tokens = [text[at : at + 4] for at in range(0, len(text), 4)]
    began = time.process_time()
    read(tokens)
    assert len(tokens) >= 1900
    assert (time.process_time() - began) / len(tokens) < 0.000_5  # measured: 11 µs


def test_an_empty_item_is_refused_before_a_later_one_is_shown() -> None:
    draft = Draft()
    assert draft.feed('{"traits": ["') == []
    with pytest.raises(PersonaInvalid, match="/traits/0 is empty") as refused:
        draft.feed('", "brave"')
    assert refused.value.field == "/traits/0"


def test_thinking_without_its_opening_tag_is_never_the_persona() -> None:
    draft = Draft()
    assert draft.feed('Perhaps {"name": "No') == [TextGrew(path="/name", delta="No")]
    assert draft.feed('body"}? Better a fox.</thi') == [TextGrew(path="/name", delta="body")]
    text = json.dumps(VALID)
    rejected, thought, *texts = draft.feed(f"nk>\n{text}")
    assert isinstance(rejected, PersonaRejected)
    assert thought == ThoughtGrew(delta='Perhaps {"name": "Nobody"}? Better a fox.')
    assert all(isinstance(letter, TextGrew) for letter in texts)
    assert msgspec.to_builtins(draft.finish()) == VALID


def test_prose_before_a_bare_closing_tag_is_told_as_thinking_and_takes_nothing_back() -> None:
    draft = Draft()
    assert draft.feed("A fox, then.</think>") == [ThoughtGrew(delta="A fox, then.")]
    assert draft.feed('{"name": "Bra') == [TextGrew(path="/name", delta="Bra")]
