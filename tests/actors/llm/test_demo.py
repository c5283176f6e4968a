import colorsys

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.llm.backend import Finished, LlmRequest, TextChunk
from actors.llm.demo import DemoWriter
from actors.llm.draft import Draft
from actors.llm.tale.compose import compose_persona
from protocol.persona import Persona, persona_strings, validate_persona

PROMPTS = [
    "a grumpy owl librarian who secretly loves poetry",
    "a tiny dragon running a bakery in a lighthouse",
    "steam-powered robot bartender, sarcastic, copper and teal",
    "",
    "🦊",
    "一只会写诗的小狐狸",
    "wise old turtle — patient, kind — teaching meditation",
]
WORDS = [
    *(
        "a",
        "an",
        "the",
        "fox",
        "robot",
        "witch",
        "librarian",
        "knight",
        "grumpy",
        "tiny",
        "red",
        "who",
        "that",
        "which",
    ),
    *(
        "with",
        "in",
        "of",
        "for",
        "at",
        "called",
        "named",
        "running",
        "loves",
        "my",
        "me",
        "I'm",
        "helps",
        "keeper",
        "code",
    ),
    *("lighthouse", ",", ".", "—", "{name}", "“", '"', "🐙", "ю", "\u202e", "\x00", "\n", "queen", "children"),
]


def valid(persona: Persona) -> Persona:
    return validate_persona({name: getattr(persona, name) for name in Persona.__struct_fields__})


@settings(max_examples=300, deadline=None)
@given(
    prompt=st.one_of(st.text(max_size=2000), st.lists(st.sampled_from(WORDS), max_size=80).map(" ".join)),
    seed=st.integers(0, 99),
)
@example(prompt="x" * 2000, seed=1)
@example(prompt="a " + "🦊" * 1998, seed=1)
@example(prompt="a cat called " + "Q" * 1900, seed=1)
@example(prompt="a cat who " + "loves tea and " * 140, seed=1)
@example(prompt="a " + "knight of " * 190, seed=1)
@example(prompt="an astonishingly-" + "long" * 100 + "-thing", seed=1)
def test_any_prompt_gives_a_valid_persona(prompt: str, seed: int) -> None:
    persona = valid(compose_persona(prompt, seed))
    for path, text in persona_strings(persona):
        text.encode()
        assert "  " not in text, path
        assert "{" not in text or "{" in prompt, path
    assert persona.backstory.count("\n\n") == 1


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_seed_fixes_the_persona_and_another_varies_it(prompt: str) -> None:
    assert compose_persona(prompt, 5) == compose_persona(prompt, 5)
    assert len({compose_persona(prompt, seed).backstory for seed in range(20)}) > 15


@pytest.mark.parametrize(
    ("prompt", "species", "told"),
    [
        ("a grumpy owl librarian who secretly loves poetry", "owl", "owl who secretly loves poetry"),
        ("a tiny dragon running a bakery in a lighthouse", "tiny dragon", "running a bakery"),
        ("🦊", "fox", "🦊"),
        ("a witch with a black cat", "witch", "“a witch with a black cat”"),
        ("a baker who feeds stray cats", "", "who feeds stray cats"),
        ("a choir of field mice", "mouse", "“a choir of field mice”"),
        ("two penguins", "penguin", "“two penguins”"),
        ("a sentient teapot that remembers every guest", "teapot", "who remembers every guest"),
        ("a cat who helps me when I'm sad", "cat", "who helps people when they are sad"),
        ("a space whale", "space whale", "“a space whale”"),
        ("写诗的人", "", "“写诗的人”"),
    ],
)
def test_the_prompt_is_heard(prompt: str, species: str, told: str) -> None:
    for seed in range(8):
        persona = compose_persona(prompt, seed)
        assert persona.species.lower().endswith(species)
        assert told in persona.backstory
        assert species in persona.avatar_prompt


def test_name_calling_look_and_place_come_from_the_prompt() -> None:
    for seed in range(8):
        persona = compose_persona("a fox detective named Quibble with one green eye in a night train", seed)
        assert persona.name == "Quibble"
        assert "detective" in persona.system_prompt
        assert "with one green eye" in persona.avatar_prompt
        assert "in a night train" in persona.avatar_prompt
    assert "keeper of lost umbrellas" in compose_persona("a keeper of lost umbrellas", 1).avatar_prompt


def test_long_words_of_the_prompt_still_leave_one_line() -> None:
    prompt = (
        "a lighthouse keeper of extraordinary melancholies,"
        " in the inconspicuous antediluvian subterranean library of Babylonia"
    )
    for seed in range(20):
        valid(compose_persona(prompt, seed))


def test_a_grumpy_one_sounds_grumpy_and_a_cheerful_one_does_not() -> None:
    grumpy = {compose_persona("a grumpy cat", seed).greeting.split(". ")[0] for seed in range(12)}
    cheerful = {compose_persona("a cheerful cat", seed).greeting.split(". ")[0] for seed in range(12)}
    assert not grumpy & cheerful


def hue(colour: str) -> float:
    r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 360 * colorsys.rgb_to_hls(r, g, b)[0]


def test_colour_words_set_the_palette() -> None:
    for seed in range(8):
        palette = compose_persona("a red fox with a teal scarf", seed).palette
        assert min(hue(palette[0]), 360 - hue(palette[0])) < 15
        assert abs(hue(palette[2]) - 180) < 15


def lightness(colour: str) -> float:
    return sum(int(colour[i : i + 2], 16) for i in (1, 3, 5)) / 3


def test_every_palette_has_a_deep_and_a_pale_end() -> None:
    for seed in range(40):
        palette = compose_persona("hello", seed).palette
        assert len(set(palette)) == 5
        assert min(map(lightness, palette)) < 60
        assert max(map(lightness, palette)) > 215


async def test_it_streams_small_pieces_over_about_three_seconds(autojump_clock: trio.testing.MockClock) -> None:
    request = LlmRequest(messages=(), prompt="a fox", seed=2)
    draft, pieces, began = Draft(), [], trio.current_time()
    async with DemoWriter().open_stream(request) as chunks:
        async for chunk in chunks:
            match chunk:
                case TextChunk(text):
                    pieces.append(text)
                    draft.feed(text)
                case last:
                    assert last == Finished("stop")
    assert draft.finish() == compose_persona("a fox", 2)
    assert trio.current_time() - began == pytest.approx(3, rel=0.05)
    assert len(pieces) > 300
    assert max(map(len, pieces)) < 30


async def test_without_an_interval_no_time_passes(autojump_clock: trio.testing.MockClock) -> None:
    began = trio.current_time()
    async with DemoWriter(0).open_stream(LlmRequest(messages=(), prompt="a fox")) as chunks:
        assert [chunk async for chunk in chunks][-1] == Finished("stop")
    assert trio.current_time() == began
