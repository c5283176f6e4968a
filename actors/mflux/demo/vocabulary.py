"""The words the demo renderer understands, in lower case."""

from typing import Final


def singular(word: str) -> str:
    """The word with its plural ending off: near enough to English for matching, where both sides go through it."""
    endings = (("ves", "f"), ("ies", "y"), ("xes", "x"), ("ches", "ch"), ("ss", "ss"), ("us", "us"), ("s", ""))
    for ending, instead in endings:
        if len(word) > 3 and word.endswith(ending):
            return word.removesuffix(ending) + instead
    return word


def _signs(text: str) -> frozenset[str]:
    return frozenset(singular(word) for word in text.split())


KINDS: Final = {
    "dragon": _signs(
        "dragon drake wyvern wyrm dinosaur dino lizard salamander gecko basilisk serpent snake dragonling"
    ),
    "fox": _signs("fox kitsune vixen fennec fennek squirrel raccoon redpanda foxling"),
    "cat": _signs("cat kitten feline lynx tiger lion panther leopard sphinx kitty jaguar cheetah"),
    "wolf": _signs("wolf dog hound husky coyote puppy jackal werewolf canine corgi"),
    "owl": _signs("owl owlet owlbear gryphon griffin"),
    "bird": _signs(
        "bird raven crow parrot sparrow phoenix robin penguin chick duck eagle hawk finch falcon toucan heron"
    ),
    "robot": _signs("robot android automaton golem machine droid bot cyborg mech construct clockwork ai drone"),
    "octopus": _signs("octopus squid kraken cephalopod cuttlefish"),
    "jellyfish": _signs("jellyfish jelly medusa"),
    "rabbit": _signs("rabbit bunny hare jackalope"),
    "mouse": _signs("mouse mice rat hamster dormouse gerbil vole hedgehog monkey"),
    "bear": _signs("bear panda cub bearling koala badger otter beaver wombat pig"),
    "frog": _signs("frog toad newt axolotl tadpole treefrog turtle tortoise"),
    "ghost": _signs("ghost spirit phantom spectre specter wisp wraith banshee poltergeist djinn genie"),
    "sprout": _signs("plant sprout tree flower cactus dryad treant bonsai seedling fern leafling ent succulent vine"),
    "mushroom": _signs("mushroom fungus toadstool fungi myconid shroom"),
    "fish": _signs("fish goldfish koi shark betta salmon seahorse pufferfish anglerfish merfolk mermaid"),
    "whale": _signs("whale dolphin orca narwhal manatee seal porpoise walrus"),
    "beast": _signs("unicorn deer stag fawn goat sheep lamb cow bull horse pony llama alpaca monster yeti"),
}

FOLK: Final = {
    "elf": _signs(
        "elf elven fairy fae faerie pixie nymph goblin gnome imp vampire demon demigod fey sprite vulcan alien"
    ),
    "person": _signs(
        "human person man woman girl boy child people wizard witch pirate knight dwarf detective chef astronaut "
        "captain grandmother grandfather monk samurai ninja sorcerer sorceress mage explorer scientist professor "
        "hero cowboy"
    ),
}

HOMES: Final = {
    "octopus": "sea",
    "jellyfish": "sea",
    "fish": "sea",
    "whale": "sea",
    "ghost": "night",
    "owl": "night",
    "robot": "city",
    "dragon": "mountain",
    "wolf": "mountain",
    "sprout": "meadow",
    "mushroom": "forest",
    "fox": "forest",
    "bear": "forest",
}

AIR: Final = {"sea": 225.0, "meadow": 240.0}
"""The hue (OKLCh, degrees) that the air of a place leans to, whatever the palette."""

SCENERIES: Final = {
    "library": _signs("library librarian bookshelf bookshop book archive archivist scholar study"),
    "sea": _signs("sea ocean underwater reef coral tide aquarium diver submarine lagoon"),
    "space": _signs("space star galaxy cosmic cosmo planet astronaut nebula orbit astronomer stargazer"),
    "night": _signs("night moon midnight moonlit dream lunar nocturnal lullaby haunted"),
    "mountain": _signs("mountain cliff peak snow volcano cave alpine summit"),
    "forest": _signs("forest wood woodland grove jungle tree"),
    "city": _signs("city street neon town rooftop factory workshop laboratory lab tinkerer engineer"),
    "meadow": _signs("meadow garden hill flower spring farm gardener picnic sunny"),
}

MOODS: Final = {
    "shy": _signs("shy timid bashful quiet nervous anxious introverted modest reserved blushing"),
    "grumpy": _signs("grumpy grumbling cranky angry gruff cynical stern sarcastic sulky cantankerous surly dour"),
    "sleepy": _signs("sleepy drowsy tired lazy dreamy calm serene mellow yawning relaxed"),
    "brave": _signs("brave bold fearless heroic valiant courageous fierce loyal determined proud confident daring"),
    "wise": _signs("wise learned scholarly ancient thoughtful sage patient bookish knowledgeable philosophical"),
    "cheerful": _signs("cheerful happy joyful bubbly playful merry jolly sunny enthusiastic excited optimistic funny"),
    "curious": _signs("curious inquisitive clever wondering inventive adventurous eager mischievous witty sly"),
    "gentle": _signs("gentle kind soft warm caring sweet tender helpful friendly compassionate"),
}

THINGS: Final = {
    "head": {
        "hat": _signs("wizard witch mage sorcerer sorceress magic magical magician spell warlock enchanter"),
        "crown": _signs("crown king queen prince princess royal monarch emperor noble regal"),
        "headphones": _signs("headphone music musician dj melody song singer composer podcast"),
        "flower": _signs("flower garden gardener bloom blossom florist petal spring"),
        "leaf": _signs("leaf herbalist druid herb tea healer forager"),
    },
    "face": {
        "glasses": _signs("glasses spectacles wise librarian scholar scholarly bookish professor learned monocle")
    },
    "neck": {
        "scarf": _signs("scarf cold winter snow cosy cozy shawl traveller traveler wandering knitted autumn"),
        "bow": _signs("bow ribbon elegant dapper butler waiter polite gentleman fancy"),
        "gear": _signs("gear tinkerer inventor engineer mechanic clockwork steampunk pilot"),
    },
    "hands": {
        "book": _signs("book library librarian reading archivist poet writer storyteller scribe story"),
        "lantern": _signs("lantern lamp lighthouse keeper candle guide wanderer nightwatch watchman"),
    },
    "air": {"stars": _signs("star stargazer cosmic astronomer magic sparkle wish fairy dream glitter wizard")},
}

NATURAL: Final = {
    "bear": "#a9744a",
    "fox": "#e8823a",
    "frog": "#6bb352",
    "ghost": "#c3d6f2",
    "mouse": "#b5a397",
    "mushroom": "#d9594c",
    "owl": "#a67c52",
    "rabbit": "#d3b8a4",
    "sprout": "#7cc27a",
    "whale": "#4f86c6",
    "wolf": "#8793a8",
}
"""The coat of a kind for which nobody named a colour."""

COLOURS: Final = {
    "red": "#e5484d",
    "crimson": "#b91c3c",
    "scarlet": "#e0312f",
    "orange": "#f58a3c",
    "copper": "#c4713b",
    "amber": "#f5b041",
    "gold": "#e8b923",
    "golden": "#e8b923",
    "yellow": "#f5d547",
    "green": "#4caf6d",
    "emerald": "#2a9d6f",
    "mint": "#9be3c3",
    "olive": "#8a9a4b",
    "teal": "#2a9d9d",
    "turquoise": "#40c9c6",
    "cyan": "#4fc3f7",
    "blue": "#4a7fe0",
    "azure": "#5aa9f5",
    "navy": "#23366e",
    "indigo": "#4b4aa8",
    "violet": "#8a5cd6",
    "purple": "#8e4ec6",
    "lavender": "#b8a6e8",
    "lilac": "#c8a2d8",
    "magenta": "#d6409f",
    "pink": "#f48fb1",
    "rose": "#e8788a",
    "coral": "#ff7f6b",
    "peach": "#ffbf98",
    "brown": "#9a6b45",
    "cream": "#f3e3c3",
    "white": "#eceff4",
    "silver": "#b4bcc8",
    "grey": "#8b93a1",
    "gray": "#8b93a1",
    "black": "#2a2a35",
}
