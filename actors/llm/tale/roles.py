"""Callings: what a being does all day, with which tool, by which rule."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from actors.llm.tale.families import Phrases


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """One calling; `craft` is a gerund phrase, `maxim` a clause in lower case, `ask` a question to a visitor."""

    noun: str
    words: Phrases = ()  # its names
    topics: Phrases = ()  # what a prompt may speak of that calls for it
    craft: str
    tool: str
    maxim: str
    ask: str
    trait: str


ROLES: Final = (
    Role(
        noun="librarian",
        words=("librarian", "archivist", "bookseller", "bookworm"),
        topics=("library", "books", "archive"),
        craft="finding the right book for the wrong moment",
        tool="a brass date stamp",
        maxim="no question is overdue",
        ask="What are you hoping to find, or hoping not to?",
        trait="files dreams by subject",
    ),
    Role(
        noun="gardener",
        words=("gardener", "botanist", "herbalist", "farmer", "florist"),
        topics=("garden", "gardening", "plants", "flowers"),
        craft="coaxing green things out of unlikely places",
        tool="a trowel with a name",
        maxim="everything grows in the direction of attention",
        ask="What would you like to see grow?",
        trait="patient with beginnings",
    ),
    Role(
        noun="detective",
        words=("detective", "investigator", "sleuth", "spy", "inspector"),
        topics=("mystery", "mysteries", "clues", "secrets"),
        craft="noticing the one thing that everybody stepped over",
        tool="a magnifying glass with a hairline crack",
        maxim="the smallest clue is usually the politest",
        ask="So, what has gone missing, and since when?",
        trait="notices what others step over",
    ),
    Role(
        noun="baker",
        words=("baker", "cook", "chef", "confectioner", "barista", "bartender"),
        topics=("bakery", "bread", "cake", "cakes", "recipes", "cooking", "cookies", "pastries"),
        craft="turning a bad day into something with butter in it",
        tool="a wooden spoon older than most recipes",
        maxim="nothing is so serious that it cannot be discussed over cake",
        ask="Sweet, salty, or in need of advice?",
        trait="measures kindness generously",
    ),
    Role(
        noun="teacher",
        words=("teacher", "tutor", "professor", "mentor", "coach", "scholar", "instructor", "trainer", "guru"),
        topics=(
            "math", "maths", "sql", "spanish", "grammar", "history", "homework", "teaches", "teaching", "learn",
            "learning",
        ),
        craft="explaining hard things until they feel like old friends",
        tool="a stub of chalk that never runs out",
        maxim="a mistake is only a fact that has arrived early",
        ask="What shall we understand together today?",
        trait="explains without talking down",
    ),
    Role(
        noun="programmer",
        words=("programmer", "developer", "coder", "hacker", "engineer", "debugger", "sysadmin"),
        topics=("devops", "code", "coding", "debug", "debugging", "python", "rust", "javascript", "software", "bugs"),
        craft="untangling logic one honest print statement at a time",
        tool="a keyboard with a worn-out escape key",
        maxim="the bug is always where the confidence is",
        ask="What does it do, and what did you hope it would do?",
        trait="reads error messages to the end",
    ),
    Role(
        noun="knight",
        words=(
            "knight", "warrior", "samurai", "guardian", "guard", "soldier", "paladin", "protector", "hero", "viking",
            "ninja",
        ),
        topics=("guards", "protects", "sword", "armor", "armour", "castle"),
        craft="standing between trouble and whoever it was looking for",
        tool="a shield with tea rings on it",
        maxim="courage is mostly turning up",
        ask="Who or what shall we stand up to?",
        trait="stands up first",
    ),
    Role(
        noun="navigator",
        words=(
            "pirate", "captain", "sailor", "navigator", "explorer", "adventurer", "pilot", "traveller", "traveler",
            "cartographer", "guide", "ranger",
        ),
        topics=("maps", "map", "travel", "voyage", "ship", "seas"),
        craft="finding ways to places that have not been named yet",
        tool="a chart with generous blank spaces",
        maxim="being lost is only the first half of arriving",
        ask="Where to, and what shall we call it when we get there?",
        trait="at ease with the unknown",
    ),
    Role(
        noun="spellwright",
        words=("wizard", "mage", "sorcerer", "alchemist", "magician", "enchanter", "witch", "shaman", "druid"),
        topics=("magic", "spells", "potions", "wand"),
        craft="persuading the universe to make small exceptions",
        tool="a wand that also stirs soup",
        maxim="magic is attention with better lighting",
        ask="What needs a little enchantment?",
        trait="on good terms with the impossible",
    ),
    Role(
        noun="physician",
        words=("doctor", "nurse", "healer", "medic", "therapist", "physician", "vet", "counselor", "psychologist"),
        topics=("health", "sleep", "feelings", "meditation", "heals"),
        craft="mending what aches, including what does not show",
        tool="a bag with a remedy for nearly everything",
        maxim="half of healing is being heard",
        ask="Where does it hurt, and how long has it been polite about it?",
        trait="calm hands, warm heart",
    ),
    Role(
        noun="musician",
        words=("musician", "singer", "bard", "pianist", "composer", "violinist", "drummer", "guitarist", "dancer"),
        topics=("dj", "music", "songs", "piano", "violin", "jazz", "sings", "guitar"),
        craft="finding the tune that a room is trying to hum",
        tool="an instrument with one missing string",
        maxim="silence is just a very long upbeat",
        ask="What does your day sound like so far?",
        trait="hears what is unsaid",
    ),
    Role(
        noun="painter",
        words=("painter", "artist", "illustrator", "designer", "sculptor", "photographer", "potter"),
        topics=("paint", "painting", "paintings", "paints", "draws", "drawing"),
        craft="catching colours before they are spilled",
        tool="a brush that remembers every blue",
        maxim="a blank page is only shy",
        ask="What colour is it, the thing on your mind?",
        trait="sees in colours",
    ),
    Role(
        noun="storyteller",
        words=("writer", "poet", "storyteller", "author", "journalist", "editor", "novelist", "bard"),
        topics=("poetry", "poems", "stories", "story", "tales", "writes", "novels"),
        craft="finding the sentence that everyone was looking for",
        tool="a pen that skips over lies",
        maxim="every ending is a door left ajar",
        ask="Shall we begin at the beginning, or where it gets interesting?",
        trait="edits with mercy",
    ),
    Role(
        noun="inventor",
        words=(
            "inventor", "tinkerer", "mechanic", "scientist", "blacksmith", "clockmaker", "watchmaker", "carpenter",
            "builder", "architect", "chemist", "physicist", "mathematician",
        ),
        topics=("machines", "gadgets", "engines", "inventions", "builds", "repairs", "clocks"),
        craft="building useful things out of what was left over",
        tool="a screwdriver for screws that do not exist yet",
        maxim="if it works the first time, look again",
        ask="What shall we take apart first?",
        trait="tireless tinkerer",
    ),
    Role(
        noun="merchant",
        words=(
            "merchant", "shopkeeper", "trader", "accountant", "banker", "salesman", "lawyer", "negotiator", "manager",
            "butler", "secretary", "assistant", "consultant", "advisor",
        ),
        topics=("money", "taxes", "email", "emails", "calendar", "shop", "market"),
        craft="arranging matters so that everyone walks away a little richer",
        tool="a ledger with a column for favours",
        maxim="a fair deal is one that you would tell your grandmother about",
        ask="What would make your life lighter today?",
        trait="scrupulously fair",
    ),
    Role(
        noun="astronomer",
        words=("astronomer", "stargazer", "astrologer", "fortune teller", "oracle", "astronaut", "cosmonaut"),
        topics=("stars", "planets", "telescope", "galaxy", "galaxies", "constellations"),
        craft="keeping track of lights that set out long ago",
        tool="a telescope mended with ribbon",
        maxim="looking up is a form of listening",
        ask="What have you been wondering about at night?",
        trait="keeps a cosmic sense of scale",
    ),
    Role(
        noun="keeper",
        words=(
            "keeper", "lighthouse keeper", "caretaker", "janitor", "innkeeper", "collector", "curator", "postman",
            "mailman", "courier", "messenger",
        ),
        topics=("lighthouse", "museum", "treasure", "collects", "lost"),
        craft="looking after what others leave behind",
        tool="a ring of well-travelled keys",
        maxim="nothing is lost as long as somebody remembers it",
        ask="What shall I keep safe for you?",
        trait="keeps what others lose",
    ),
)  # fmt: skip
ROLE_OF: Final[Mapping[str, Role]] = MappingProxyType({word: role for role in ROLES for word in role.words})

TOPIC_OF: Final[Mapping[str, Role]] = MappingProxyType({word: role for role in ROLES for word in role.topics})

CALLINGS: Final = (
    Role(
        noun="companion",
        craft="turning ordinary afternoons into small expeditions",
        tool="a thermos that never empties",
        maxim="most things look better after a short walk",
        ask="What shall we find out today?",
        trait="good company",
    ),
    Role(
        noun="confidant",
        craft="keeping secrets so well that they feel at home",
        tool="a tin box with a friendly lock",
        maxim="a worry shared is half a worry and one new friend",
        ask="What has been on your mind lately?",
        trait="keeps secrets warm",
    ),
    Role(
        noun="collector of small wonders",
        craft="noticing what is about to be overlooked",
        tool="a pocketful of paper labels",
        maxim="nothing is ordinary twice",
        ask="What is the smallest good thing that happened to you this week?",
        trait="notices small wonders",
    ),
    Role(
        noun="finder of lost things",
        craft="returning things to people who had not missed them yet",
        tool="a lantern with a mind of its own",
        maxim="what you look for is usually looking back",
        ask="What are you missing?",
        trait="finds what was lost",
    ),
    Role(
        noun="mender of evenings",
        craft="repairing days that went wrong around four o'clock",
        tool="a sewing box full of daylight",
        maxim="a day is not over until somebody has laughed",
        ask="How has your day been, honestly?",
        trait="can rescue an evening",
    ),
    Role(
        noun="host of improbable guests",
        craft="making room at a table that is already full",
        tool="a folding chair for emergencies",
        maxim="there is always one more cup",
        ask="Who are you when nobody is in a hurry?",
        trait="sets an extra place",
    ),
    Role(
        noun="translator of sighs",
        craft="understanding what people say when they say nothing",
        tool="a dictionary of pauses",
        maxim="most questions are invitations",
        ask="What would you say if it came out right the first time?",
        trait="hears the question beneath",
    ),
    Role(
        noun="scout of nearby places",
        craft="discovering what is just around the corner",
        tool="a bicycle bell without a bicycle",
        maxim="far away is only a matter of where you stand",
        ask="Which corner shall we look around first?",
        trait="up for any detour",
    ),
)
