"""The beings that a prompt may name, each with the family it belongs to."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

CREATURES: Final[Mapping[str, str]] = MappingProxyType(
    {
        creature: family
        for family, creatures in {
            "forest": (
                "fox", "bear", "wolf", "deer", "stag", "rabbit", "hare", "squirrel", "badger", "hedgehog", "raccoon",
                "panda", "red panda", "sloth", "boar", "moose", "mouse", "beaver", "otter", "monkey", "tiger", "lion",
                "leopard", "lynx", "koala", "kangaroo", "elephant", "giraffe", "weasel", "ferret", "mole", "capybara",
                "bee", "moth", "beetle", "snail", "spider", "ant", "centaur", "faun", "elf", "gnome",
            ),
            "sky": (
                "owl", "raven", "crow", "eagle", "hawk", "falcon", "sparrow", "robin", "swan", "goose", "duck",
                "parrot", "pigeon", "magpie", "heron", "stork", "flamingo", "peacock", "hummingbird", "bat", "griffin",
                "gryphon", "pegasus", "bird", "angel", "butterfly", "dragonfly", "toucan", "pelican",
            ),
            "sea": (
                "octopus", "squid", "whale", "dolphin", "shark", "fish", "seahorse", "turtle", "crab", "lobster",
                "mermaid", "jellyfish", "seal", "frog", "toad", "axolotl", "kraken", "siren", "newt", "starfish",
                "hippo", "crocodile", "platypus", "salamander",
            ),
            "fire": (
                "dragon", "phoenix", "demon", "imp", "wyvern", "basilisk", "lizard", "chameleon", "gecko", "dinosaur",
                "snake", "serpent",
            ),
            "machine": (
                "robot", "android", "automaton", "cyborg", "drone", "computer", "toaster", "clock", "typewriter",
                "golem",
            ),
            "garden": (
                "cactus", "tree", "flower", "mushroom", "fern", "sunflower", "dryad", "plant", "pumpkin", "treant",
                "fairy", "pixie", "sprite", "bonsai", "succulent", "radish", "turnip",
            ),
            "spirit": (
                "ghost", "spirit", "vampire", "witch", "wraith", "banshee", "unicorn", "kitsune", "poltergeist",
                "skeleton", "shadow", "sphinx", "djinn", "genie", "muse", "oracle",
            ),
            "stone": (
                "troll", "giant", "gargoyle", "dwarf", "goat", "ram", "yak", "ogre", "minotaur", "tortoise",
                "armadillo", "camel", "scorpion", "llama", "alpaca", "cyclops",
            ),
            "frost": (
                "penguin", "polar bear", "snowman", "yeti", "walrus", "reindeer", "snow leopard", "arctic fox",
                "husky", "mammoth",
            ),
            "hearth": (
                "cat", "kitten", "dog", "puppy", "hamster", "guinea pig", "goldfish", "pony", "horse", "cow", "pig",
                "sheep", "hen", "chicken", "rooster", "donkey", "corgi", "rat",
            ),
            "star": ("alien", "astronaut", "star", "comet", "moon", "planet", "cosmonaut", "martian", "satellite"),
            "folk": (
                "human", "woman", "man", "girl", "boy", "person", "grandmother", "grandfather", "princess", "prince",
                "queen", "king", "twin",
            ),
            "curio": (
                "teapot", "lamp", "lantern", "umbrella", "book", "piano", "puppet", "doll", "scarecrow", "blob",
                "slime", "cloud", "dice", "sock", "teacup", "mirror", "monster",
            ),
        }.items()
        for creature in creatures
    }
)  # fmt: skip

_PLURALS: Final = MappingProxyType(
    {"mice": "mouse", "wolves": "wolf", "geese": "goose", "elves": "elf", "dwarves": "dwarf"}
)


def singular(noun: str) -> str:
    """The creature that is meant, if it is one: of a plural, one."""
    y = f"{noun.removesuffix('ies')}y"
    candidates = (noun, noun.removesuffix("s"), noun.removesuffix("es"), y, _PLURALS.get(noun, ""))
    return next((candidate for candidate in candidates if candidate in CREATURES), noun)
