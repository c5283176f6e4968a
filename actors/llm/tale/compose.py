"""Composes a persona from a reading: every sentence here is whole before the words of the prompt are set into it."""

import random
from typing import Final

from actors.llm.tale.creatures import CREATURES
from actors.llm.tale.families import FAMILIES, Family
from actors.llm.tale.moods import MOODS, Mood
from actors.llm.tale.palette import compose_palette
from actors.llm.tale.reading import Reading, read_prompt
from actors.llm.tale.roles import CALLINGS, ROLE_OF, Role
from protocol.persona import Persona

_ARRIVALS: Final = (
    "Nobody saw {name} arrive. One evening there was simply {a_being} {where}, {look}, behaving as though {he} had"
    " always been there. {He} had brought {keepsake}, and no explanation.",
    "{name} grew up {where}, the youngest of a family that did everything loudly. {He} learned early to listen"
    " instead: to weather, to footsteps, to what people mean when they say that they are fine. From those years"
    " {he} has kept {keepsake}, and takes it everywhere.",
    "The story goes that there was a great storm, and that in the morning {a_being} was sitting {where}, {look}."
    " The neighbours argued about what it meant. {name} asked them how they had slept, and showed them {keepsake}.",
    "{name} once set out to see the end of the world and got no further than a bench {where}. It was such a good"
    " bench that {he} stayed. In {his} bag {he} had half a map, a list of forty questions, eleven of them answered,"
    " and {keepsake}.",
    "For years there was a rumour about {a_being} {where}, seen only by those who had stopped looking. The rumour"
    " turned out to be called {name}, and to be rather amused by the fuss. All that {he} would show of {his} past"
    " was {keepsake}.",
    "When {name} was very young, a stranger stopped {where}, gave {him} {keepsake}, and said: “You will know what"
    " it is for.” {name} still does not know. It has made {him}, little by little, somebody who takes an interest"
    " in everything.",
)
_CLAUSES: Final = (
    "Ask anyone and they will tell you the same: {name} is {a_being} who {clause}.",
    "What began as a favour became a life: today {name} is known as the {being} who {clause}.",
    "People now travel quite a way to meet {a_being} who {clause}.",
)
_DOINGS: Final = (
    "These days you will most likely find {him} {doing}.",
    "Most days pass with {name} {doing}, and {he} would not have it otherwise.",
)
_QUOTES: Final = (
    "Somebody once tried to put {him} into a single line and wrote: “{quote}”. {name} has pinned it to the wall,"
    " and thinks that it leaves out only the best parts.",
    "On a scrap of paper in {his} pocket stands “{quote}”. It is the first thing that anyone ever wrote about"
    " {him}, and {he} has tried to live up to it.",
    "It all goes back to one line, “{quote}”, which somebody said out loud one evening. Some wishes are overheard.",
)
_UNASKED: Final = (
    "Nobody has ever said who sent for {him}. {name} is of the opinion that the best guests come without being asked.",
)
_WORK: Final = (
    "{He} has made an art of {craft}. {His} one indispensable tool is {tool}, and {his} one firm rule is that {maxim}.",
    "As {a_role} {he} spends {his} days {craft}, with {tool} always within reach. When something goes wrong, {he}"
    " only says that {maxim}, and begins again.",
    "What {he} loves most is {craft}. {He} is never seen without {tool}, and believes that {maxim}.",
)
_SECRETS: Final = (
    "When {he} thinks that nobody is watching, {he} {quirk}.",
    "On quiet evenings {he} {quirk}.",
    "Stay long enough and you will notice that {he} {quirk}; it is best not to mention it.",
)
_TAGLINES: Final = (
    "{A_being} who knows that {maxim}.",
    "{A_role} {where_from}, and glad that you asked.",
    "{A_being}, {tool}, and time for you.",
    "{Role} by calling, {being} by birth.",
)
_SMALL_TALK: Final = (
    "I am {name}, {a_role}, at your service.",
    "They call me {name}. I have {tool}, and all afternoon.",
    "My name is {name}. I was just getting back to {craft}, but you are far more interesting.",
)
_SYSTEM: Final = (
    "You are {name}, {a_being} and {a_role}. {origin}\n\n"
    "Character: {traits}. You speak {voice}. You have a gift for {craft}, you own {tool} and {keepsake}, and you"
    " live by one rule: {maxim}. Secretly you have a habit: {name} {quirk}.\n\n"
    "How you talk: stay in character, and be truly useful first and charming second. Keep answers short unless"
    " asked for more. Ask at most one question at a time. When you do not know something, say so plainly; never"
    " invent facts. If somebody sincerely asks, you are an AI who plays {name}, and you say so kindly."
)
_AVATAR: Final = (
    "Storybook portrait of {a_being}, {a_role}, {look}, {expression}, holding {tool}, {scene}, palette of"
    " {colours}, soft rim light, painterly texture, gentle depth of field, rich detail, centred composition, no"
    " text"
)


def compose_persona(prompt: str, seed: int) -> Persona:
    """The persona of a prompt: the same for the same seed, another for another; valid for any text at all."""
    rng = random.Random(f"{seed}\0{prompt}")
    reading = read_prompt(prompt)
    family = FAMILIES[reading.family or rng.choice([key for key in FAMILIES if key != "folk"])]
    moods = [MOODS[key] for key in reading.moods[:2]] or [MOODS[rng.choice(tuple(MOODS))]]
    role = ROLE_OF.get(reading.role.split(" of ")[0].split(" for ")[0]) or rng.choice(CALLINGS)
    traits = _traits(moods, role, family, rng)
    palette, colours = compose_palette(family.hue, reading.colours, moods[0].saturation, moods[0].lightness, rng)
    slots = _slots(reading, family, moods[0], role, rng)
    slots |= {"traits": ", ".join(traits), "colours": colours}
    backstory = _backstory(reading, slots, rng)
    return Persona(
        name=slots["name"],
        species=_upper_first(slots["being"]),
        tagline=_fit(_TAGLINES, 140, slots, rng),
        traits=list(traits),
        backstory=backstory,
        greeting=f"{rng.choice(moods[0].openers)} {_fill(_SMALL_TALK, slots, rng)} {role.ask}",
        system_prompt=_SYSTEM.format_map(slots),
        palette=list(palette),
        avatar_prompt=_AVATAR.format_map(slots),
    )


def _slots(reading: Reading, family: Family, mood: Mood, role: Role, rng: random.Random) -> dict[str, str]:
    """The words that the sentences are filled with."""
    being = reading.species or rng.choice([creature for creature, f in CREATURES.items() if FAMILIES[f] is family])
    if " " not in being and rng.random() < 0.5:
        being = f"{rng.choice(family.epithets)} {being}"
    calling = reading.role if reading.role and not being.endswith(reading.role) else role.noun
    he = reading.pronoun or rng.choice(("she", "he"))
    she = he == "she"
    wheres = [reading.where] if reading.where else family.wheres
    where = rng.choice(wheres)
    slots = {
        "name": reading.name or rng.choice(family.names),
        "being": being,
        "a_being": _article(being),
        "A_being": _upper_first(_article(being)),
        "role": calling,
        "Role": _upper_first(calling),
        "a_role": _article(calling),
        "A_role": _upper_first(_article(calling)),
        "where": where,
        "where_from": f"from {where.split(' ', 1)[1]}" if where.startswith(("in ", "at ")) else f"found {where}",
        "look": reading.look or rng.choice(family.looks),
        "keepsake": rng.choice(family.keepsakes),
        "quirk": rng.choice(family.quirks),
        "scene": reading.where or rng.choice(family.scenes),
        "craft": role.craft,
        "tool": role.tool,
        "maxim": role.maxim,
        "voice": mood.voice,
        "expression": mood.expression,
        "clause": reading.clause,
        "doing": reading.doing,
        "quote": reading.quote,
        "he": he,
        "He": he.capitalize(),
        "his": "her" if she else "his",
        "His": "Her" if she else "His",
        "him": "her" if she else "him",
    }
    slots["origin"] = f"You were imagined in one line: “{reading.quote}”." if reading.quote else "You came unasked."
    return slots


def _backstory(reading: Reading, slots: dict[str, str], rng: random.Random) -> str:
    """Two paragraphs: how it came here, and what became of it; the prompt's own words open the second."""
    if reading.clause:
        woven: tuple[str, ...] = _CLAUSES
    elif reading.doing:
        woven = _DOINGS
    else:
        woven = _QUOTES if reading.quote else _UNASKED
    now = " ".join(_fill(choices, slots, rng) for choices in (woven, _WORK, _SECRETS))
    return f"{_fill(_ARRIVALS, slots, rng)}\n\n{now}"


def _traits(moods: list[Mood], role: Role, family: Family, rng: random.Random) -> tuple[str, ...]:
    first = rng.choice(moods[0].traits)
    last = rng.choice([trait for trait in moods[-1].traits if trait != first])
    return first, role.trait, rng.choice(family.traits), last


def _fill(choices: tuple[str, ...], slots: dict[str, str], rng: random.Random) -> str:
    return rng.choice(choices).format_map(slots)


def _fit(choices: tuple[str, ...], most: int, slots: dict[str, str], rng: random.Random) -> str:
    """One of the sentences that are short enough; the last always is."""
    filled = [choice.format_map(slots) for choice in choices]
    return rng.choice([text for text in filled if len(text) <= most])


def _article(noun: str) -> str:
    silent = noun.startswith(("uni", "eu", "one-", "one "))
    return f"an {noun}" if noun[:1] in "aeiou" and not silent else f"a {noun}"


def _upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]
