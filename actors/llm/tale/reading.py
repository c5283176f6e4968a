"""What a prompt says, as far as a toy can read it: who, of what temper and calling, where, doing what."""

import re
import unicodedata
from typing import Final, Literal

import msgspec

from actors.llm.tale.creatures import CREATURES, singular
from actors.llm.tale.moods import MOOD_OF
from actors.llm.tale.palette import COLOURS
from actors.llm.tale.roles import ROLE_OF, TOPIC_OF

QUOTE_CHARS: Final = 150
CLAUSE_CHARS: Final = 110

_ADJECTIVES: Final = frozenset({  # that show, and so belong to the species
    "tiny", "giant", "small", "little", "big", "huge", "old", "young", "baby", "ancient", "fluffy", "one-eyed",
    "golden", "steam-powered", "wooden", "paper", "glass", "crystal", "clockwork", "mechanical", "flying", "floating",
    "talking", "singing", "invisible", "two-headed", "arctic", "desert", "space", "sea", "mountain", "forest", "moon",
    "ice", "fire", "cloud", "shadow", "river", "snow", "storm", "water", "stone", "iron", "copper", "brass", "silver",
    "velvet", "spotted", "striped", "winged",
}) | frozenset(COLOURS)  # fmt: skip
_GENERIC: Final = frozenset({
    "agent", "assistant", "bot", "ai", "chatbot", "character", "persona", "companion", "friend", "helper", "creature",
    "being", "someone", "something", "one", "thing", "buddy", "expert", "model", "pet", "animal", "mascot", "hero",
    "avatar", "story", "sentence", "group", "pair", "bunch", "family", "team",
})  # fmt: skip
_RELATIVES: Final = frozenset({
    "who", "that", "which", "with", "and", "of", "for", "in", "on", "at", "from", "by", "like",
})  # fmt: skip
_STOP: Final = r"(?=\s+(?:who|that|which|and|but|because|named|called|so|while|when)\b|\s*[,.;:!?()“”\"—–]|\s+-\s|$)"
_CLAUSE: Final = re.compile(r"\b(?:who|that|which)(?P<is>['’]s)?\s+(?P<text>[^.;:!?()“”\"—–]+)", re.IGNORECASE)
_DOING: Final = re.compile(
    r"^(?:\s+(?!(?:and|with|who|that|which|in|of|from)\b)[\w'’-]+){0,3}?"
    r"\s+(?!\w*thing\b|morning|evening|spring|string)(?P<text>[a-z]{2,}ing\s[^,.;:!?()“”\"—–]+)",
    re.IGNORECASE,
)
_WHERE: Final = re.compile(
    r"\b(?P<text>(?:in|at|on|under|inside|beneath|near|aboard|beyond|behind|beside)\s+(?:a|an|the)\s+[\w'’ -]+?)"
    + _STOP,
    re.IGNORECASE,
)
_WITH: Final = re.compile(
    r"\b(?P<text>with\s+(?:a|an|the|two|three|one|no|his|her|its|\w+(?:ed|en|y|ing)?)\s+[\w'’ -]+?)"
    r"(?=\s+(?:in|on|at|aboard|under|inside|near|beneath|behind|beyond)\b|" + _STOP[3:],
    re.IGNORECASE,
)
_NAMED: Final = re.compile(r"\b(?:named|called)\s+[“\"'‘]?(?P<text>\w[\w'’-]*(?:\s+[A-Z]\w*){0,2})")
_PHRASE: Final = re.compile(
    r"\b(?:a|an|the)\s+(?P<text>(?:[a-z'’-]+\s+){0,4}?[a-z'’-]+)"
    r"(?=\s+(?:who|that|which|with|in|from|of|for|on|at|by|and|but|named|called|to|under|inside|near|made|[a-z]{2,}ing)\b"
    r"|\s*[,.;:!?()—–]|\s+-\s|$)",
    re.IGNORECASE,
)
_OF: Final = re.compile(r"^\s+(?P<text>(?:of|for)\s+(?!me\b|my\b|us\b|our\b)[\w'’-]+(?:\s+[\w'’-]+){0,3}?)" + _STOP)
_ADVERBS: Final = frozenset({
    "can", "will", "has", "is", "does", "was", "never", "always", "only", "secretly", "once", "sometimes", "often",
    "loves", "really",
})  # fmt: skip
_SELF: Final = re.compile(
    r"\b(?P<are>i am|i['’]m|we are|we['’]re)\b|\b(?P<were>i was|we were)\b|\b(?P<their>my|our)\b|\b(?P<they>i|we)\b"
    r"|\b(?P<themselves>myself|ourselves)\b|\b(?P<theirs>mine|ours)\b|\b(?P<them>me|us)\b",
    re.IGNORECASE,
)
_PEOPLE: Final = {  # how whoever wrote the prompt is spoken of: at first, and from then on
    "are": ("people are", "they are"),
    "were": ("people were", "they were"),
    "their": ("people's", "their"),
    "they": ("people", "they"),
    "themselves": ("themselves", "themselves"),
    "theirs": ("theirs", "theirs"),
    "them": ("people", "them"),
}
_SHE: Final = frozenset({
    "she", "her", "hers", "girl", "woman", "queen", "princess", "grandmother", "witch", "mother", "lady", "grandma",
    "sister", "mermaid",
})  # fmt: skip
_HE: Final = frozenset({
    "he", "him", "his", "boy", "man", "king", "prince", "grandfather", "wizard", "father", "lord", "grandpa",
    "brother",
})  # fmt: skip


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What was understood; empty strings and None where nothing was."""

    quote: str  # the prompt's own words, short enough to be quoted
    species: str
    family: str | None
    role: str  # the calling as the prompt names it
    moods: tuple[str, ...]
    colours: tuple[str, ...]
    name: str
    where: str
    look: str
    clause: str  # third person: what comes after "who"
    doing: str  # a gerund phrase
    pronoun: Literal["she", "he", ""]


def read_prompt(prompt: str) -> Reading:
    """Read any text: it may be empty, in any script, or nothing but emoji."""
    text = _clean(prompt)
    words = re.findall(r"[a-z][a-z'’-]*", _spelled_out(text).lower())
    role = _role(text, words)
    species, family, rest = _being(text, words, role)
    clause = _clause(text)
    return Reading(
        quote=_shorten(text.strip(" .,;:"), QUOTE_CHARS),
        species=species,
        family=family,
        role=role,
        moods=tuple(dict.fromkeys(MOOD_OF[word] for word in words if word in MOOD_OF)),
        colours=tuple(dict.fromkeys(word for word in words if word in COLOURS)),
        name=_title(_first(_NAMED, text, 40)),
        where=_lower_first(_first(_WHERE, text, 70)) if not clause else "",
        look=_lower_first(_first(_WITH, text, 80)),
        clause=clause,
        doing=_people(_first(_DOING, rest, CLAUSE_CHARS)),
        pronoun="she" if _SHE & set(words) else "he" if _HE & set(words) else "",
    )


def _clean(prompt: str) -> str:
    """One line of visible characters; joiners of emoji stay, marks that turn the direction of text go."""
    spaced = (" " if c.isspace() else c for c in prompt)
    kept = (c for c in spaced if c == "\u200d" or unicodedata.category(c)[0] != "C")
    return re.sub(" +", " ", "".join(kept)).replace('"', "'").replace("“", "‘").replace("”", "’").strip()


def _spelled_out(text: str) -> str:
    """The text with each emoji's name after it: a fox face is a fox."""
    return "".join(f"{c} {unicodedata.name(c, '')} " if unicodedata.category(c) == "So" else c for c in text)


def _being(text: str, words: list[str], role: str) -> tuple[str, str | None, str]:
    """The species with the adjectives that show, its family, and the text behind it."""
    head = next((i for i, word in enumerate(words) if word in _RELATIVES), len(words))
    found = _creature(words[:head])
    if found is None and not role:
        found = _creature(words)
    if found:
        at, creature = found
        shown = [word for word in words[max(0, at - 2) : at] if word in _ADJECTIVES]
        return " ".join([*shown, creature]), CREATURES[creature], _behind(creature, text)
    if phrase := _PHRASE.search(text):
        *before, noun = phrase["text"].lower().split()
        rest = text[phrase.end() :]
        if noun in _GENERIC or noun in ROLE_OF or noun in MOOD_OF:
            return "", None, rest
        return " ".join([*(word for word in before[-2:] if word in _ADJECTIVES), noun])[:40], "curio", rest
    return "", None, ""


def _creature(words: list[str]) -> tuple[int, str] | None:
    """The first creature and its place; people and callings only if there is no other: a pirate parrot is a parrot."""
    ranked: list[tuple[bool, int, str]] = []
    for i in range(len(words)):
        pair = singular(" ".join(words[i : i + 2]))
        creature, behind = (pair, i + 2) if pair in CREATURES else (singular(words[i]), i + 1)
        describes = behind < len(words) and CREATURES.get(words[behind], "folk") != "folk"  # as in "moon rabbit"
        if creature in CREATURES and not describes:
            ranked.append((CREATURES[creature] == "folk" or creature in ROLE_OF, i, creature))
    return min(ranked)[1:] if ranked else None


def _behind(word: str, text: str) -> str:
    """What follows the first occurrence of the word."""
    found = re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE)
    return text[found.end() :] if found else ""


def _role(text: str, words: list[str]) -> str:
    """The calling, with what it is for ("keeper of lost umbrellas"), or else one that suits the prompt's topic."""
    for i, word in enumerate(words):
        pair = " ".join(words[i : i + 2])
        known = pair if pair in ROLE_OF else word if word in ROLE_OF else ""
        if known and known not in _GENERIC:
            of = _OF.match(_behind(known, text))
            return f"{known} {of['text']}" if of and len(of["text"]) < 36 else known
    return next((TOPIC_OF[word].noun for word in words if word in TOPIC_OF), "")


def _clause(text: str) -> str:
    """What the being does, if the words after "who" begin with a verb in the third person."""
    for found in _CLAUSE.finditer(text):
        clause = ("is " if found["is"] else "") + found["text"].strip(" ,-'")
        first, _, _ = clause.lower().partition(" ")
        if re.search(r"\b(?:who|that|which)\b", clause) is None and (
            first in _ADVERBS or re.fullmatch(r"[a-z]+[^s\W]s", first)
        ):
            if len(clause) > CLAUSE_CHARS:
                clause = clause[:CLAUSE_CHARS].rpartition(",")[0]
            return _people(clause.strip(" ,"))
    return ""


def _people(text: str) -> str:
    """Whoever wrote the prompt, in the third person: "helps me" helps people."""
    mentioned = False

    def replace(found: re.Match[str]) -> str:
        nonlocal mentioned
        first, later = _PEOPLE[found.lastgroup or "they"]
        word, mentioned = (later if mentioned else first), True
        return word

    return _SELF.sub(replace, text)


def _first(pattern: re.Pattern[str], text: str, most: int) -> str:
    found = pattern.search(text)
    return found["text"].strip(" -'") if found and len(found["text"]) <= most else ""


def _shorten(text: str, most: int) -> str:
    """Whole words of at most that many characters, with an ellipsis if something is left out."""
    if len(text) <= most:
        return text
    cut = text[: most - 2]
    return (cut.rpartition(" ")[0] or cut).rstrip(" ,;:-–—") + " …"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _title(name: str) -> str:
    return name[:1].upper() + name[1:]
