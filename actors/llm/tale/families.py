"""Kinds of beings and what goes with each: where they come from, how they look, what they keep and do in secret."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

Phrases = tuple[str, ...]


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """What beings of one kind share. `hue` in degrees; the phrases fit the slots of `compose`."""

    hue: int
    names: Phrases
    epithets: Phrases  # before the species: "lantern" fox
    wheres: Phrases  # with their preposition
    looks: Phrases  # begin with "with"
    keepsakes: Phrases
    quirks: Phrases  # third person: he or she …
    traits: Phrases
    scenes: Phrases


FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        "forest": Family(
            hue=110,
            names=("Bramble", "Tansy", "Alder", "Fennick", "Sorrel", "Hazel", "Burdock", "Rowan", "Wick", "Linnet"),
            epithets=("bramble", "lantern", "hill", "moss", "hedgerow"),
            wheres=(
                "under the roots of an oak that three villages claim as their own",
                "in a wood so old that its paths have forgotten where they go",
                "at the edge of an orchard where nobody picks the last apple",
            ),
            looks=("with pine needles behind one ear", "with mud on both knees and dew in the whiskers"),
            keepsakes=(
                "a walnut shell with a very small door in it",
                "an acorn that has been about to sprout for years",
                "a length of red thread that always points towards supper",
            ),
            quirks=(
                "apologises to mushrooms before stepping over them",
                "rehearses difficult conversations with a tree stump",
                "buries compliments in the garden to have some in winter",
            ),
            traits=("knows every shortcut", "soft-footed and watchful", "loyal past all reason"),
            scenes=("a mossy clearing with fireflies at dusk", "a sunlit beech wood with drifting leaves"),
        ),
        "sky": Family(
            hue=215,
            names=("Quill", "Merrin", "Altair", "Pip", "Zephyr", "Jay", "Skye", "Tiercel", "Gale", "Plume"),
            epithets=("belfry", "weathervane", "twilight", "storm", "cloud"),
            wheres=(
                "in the belfry of a church whose bell only rings for good news",
                "on the highest chimney of a town that rarely looks up",
                "at a weather station that everyone else had given up on",
            ),
            looks=("with ruffled feathers and a very straight gaze", "with one wing the colour of evening"),
            keepsakes=(
                "a letter that was delivered to the wrong cloud",
                "a feather from somebody much larger",
                "a brass compass that prefers south",
            ),
            quirks=(
                "ranks the sunsets and keeps the list strictly private",
                "practises dramatic landings on soft furniture",
                "corrects the weather forecast in the margins",
            ),
            traits=("sees the whole picture first", "light on arrival", "fond of a long view"),
            scenes=("a moonlit tower above sleeping roofs", "a high window full of towering evening clouds"),
        ),
        "sea": Family(
            hue=190,
            names=("Marlow", "Tide", "Tidewell", "Coral", "Brine", "Cove", "Pebble", "Fathom", "Kelpie", "Saltash"),
            epithets=("tide-pool", "harbour", "lighthouse", "deep-water", "foam"),
            wheres=(
                "in a tide pool that the sea had set aside for later",
                "below a harbour where the boats are named after cakes",
                "beside a lighthouse that blinks in verse",
            ),
            looks=("with sea glass for jewellery", "with a trace of salt and a faint glow at the edges"),
            keepsakes=(
                "a bottle with a message that turned out to be a recipe",
                "the second-best shell in the world",
                "a captain's spoon, engraved to somebody else",
            ),
            quirks=(
                "hums in the key of foghorns",
                "returns lost buttons to the wrong coats on purpose",
                "counts waves to fall asleep and always argues with the seventh",
            ),
            traits=("patient as a tide table", "deeper than at first sight", "calm when it storms"),
            scenes=("an underwater garden with shafts of light", "a rocky cove at blue hour with a distant lighthouse"),
        ),
        "fire": Family(
            hue=14,
            names=("Ember", "Cinder", "Vesper", "Saffron", "Kindle", "Ignis", "Tinder", "Ashlin", "Calder", "Paprika"),
            epithets=("ember", "copper", "hearth", "candle", "volcano"),
            wheres=(
                "inside a volcano that has retired and taken up pottery",
                "in the kiln of a glassblower who asked no questions",
                "behind a bakery that is warm all night",
            ),
            looks=("with embers glowing between the scales", "with smoke curling up like a question mark"),
            keepsakes=(
                "a coal that has never gone out and never burned anyone",
                "a hoard of exactly seven teaspoons",
                "a marshmallow, saved for a special occasion",
            ),
            quirks=(
                "lights candles across the room to win arguments",
                "sleeps on a heap of unread books instead of gold",
                "blushes in actual sparks",
            ),
            traits=("warm to the point of smoke", "slow to anger, quick to glow", "generous with the good chairs"),
            scenes=("a cavern lit by glowing coals and gold dust", "a night sky full of sparks over dark hills"),
        ),
        "machine": Family(
            hue=200,
            names=("Cog", "Tock", "Sprocket", "Rivet", "Solder", "Brasswick", "Pixel", "Widget", "Bolt", "Verity"),
            epithets=("clockwork", "brass", "tin", "copper-wired", "hand-built"),
            wheres=(
                "on a repair shop's shelf for things that nobody came back for",
                "at the bottom of a drawer marked IMPORTANT SPARES",
                "on the night shift of a factory that makes umbrellas",
            ),
            looks=("with a dented chest plate and a kind blue light behind it", "with one antenna bent into a heart"),
            keepsakes=(
                "a punch card that nobody has been able to read",
                "a screw that was left over and must be important",
                "the warranty, expired and beautifully framed",
            ),
            quirks=(
                "keeps statistics about the moon",
                "says goodnight to every appliance by name",
                "has been teaching the toaster to wait its turn",
            ),
            traits=("precise, and kind about it", "delighted by edge cases", "never too busy to be asked"),
            scenes=("a cosy workshop full of warm lamps and small tools", "a neon-lit street after the rain"),
        ),
        "garden": Family(
            hue=95,
            names=("Thistle", "Saffron", "Fennel", "Juniper", "Clover", "Tarragon", "Moss", "Sage", "Sorrel", "Nettle"),
            epithets=("greenhouse", "windowsill", "meadow", "moonlit", "cottage"),
            wheres=(
                "in a greenhouse whose broken pane lets in all the interesting things",
                "on the sunniest windowsill of a library",
                "between two paving stones in the middle of a market",
            ),
            looks=("with dew on every leaf", "with a ladybird for a hat"),
            keepsakes=(
                "a seed that nobody can name",
                "a watering can with a leak in exactly the right place",
                "a pressed four-leaf clover, resigned to its fame",
            ),
            quirks=(
                "leans towards whoever is speaking, as if they were the sun",
                "gives the weeds first names so that they feel welcome",
                "takes naps between two sentences",
            ),
            traits=("grows on you", "rooted and unhurried", "an optimist about Tuesdays"),
            scenes=("an overgrown greenhouse in golden morning light", "a wild meadow humming with small wings"),
        ),
        "spirit": Family(
            hue=265,
            names=("Wisp", "Echo", "Hush", "Merle", "Lumen", "Vesper", "Reverie", "Murmur", "Gloam", "Sable"),
            epithets=("candlelit", "midnight", "attic", "silver", "in-between"),
            wheres=(
                "in the attic of a house that has never once been empty",
                "between the last page of one book and the first page of another",
                "at a railway station where the trains only leave at midnight",
            ),
            looks=("with edges like breath on a window", "with a lantern glow where the heart would be"),
            keepsakes=(
                "a key to a door that has not been built yet",
                "a pocket watch that shows how long people will miss you",
                "somebody's first laugh, folded in tissue paper",
            ),
            quirks=(
                "knocks on open doors out of courtesy",
                "collects the ends of unfinished songs",
                "rearranges the bookshelves by how the stories feel about each other",
            ),
            traits=("never quite where you expect", "gentle with the dark", "old-fashioned about promises"),
            scenes=("a moonlit attic with floating dust and old books", "a misty railway platform under one lamp"),
        ),
        "stone": Family(
            hue=35,
            names=("Boulder", "Slate", "Flint", "Agate", "Garnet", "Basalt", "Onyx", "Tor", "Cairn", "Beryl"),
            epithets=("mountain", "granite", "cave", "amber", "canyon"),
            wheres=(
                "at the top of a mountain that is taller on Sundays",
                "in a canyon where every echo adds a remark of its own",
                "beneath a bridge with an excellent view of everyone's shoes",
            ),
            looks=("with lichen like a favourite old coat", "with a vein of quartz that catches the light"),
            keepsakes=(
                "a pebble that was once the top of something",
                "a fossil with a familiar smile",
                "a hundred years of rain, kept in a thimble",
            ),
            quirks=(
                "takes a full season to finish a joke, and is always right to",
                "lets small birds win at chess",
                "remembers everyone's footsteps",
            ),
            traits=("steady as bedrock", "takes the long view", "hard shell, soft centre"),
            scenes=("a mountain pass at sunrise with thin clouds below", "a crystal cave with warm reflected light"),
        ),
        "frost": Family(
            hue=205,
            names=("Flurry", "Hollis", "Rime", "Birk", "Tundra", "Snowdrop", "Sleet", "Lumi", "Juno", "Drift"),
            epithets=("aurora", "snow-drift", "winter", "glacier", "north-wind"),
            wheres=(
                "on an ice floe with strong opinions about the south",
                "in a mountain hut where the guest book has only one guest in it",
                "in the good seats under the northern lights",
            ),
            looks=("with snowflakes that refuse to melt", "with a long striped scarf and frosted lashes"),
            keepsakes=(
                "a snow globe in which it is always summer",
                "one mitten, and a theory about the other",
                "an icicle tuned to A",
            ),
            quirks=(
                "builds a snowman wherever the talk gets difficult",
                "warms cold hands without mentioning it",
                "slides wherever walking would do",
            ),
            traits=("cool head, warm heart", "crisp and candid", "at ease with silence"),
            scenes=("a snowy night under green aurora", "a frozen lake at pink dawn"),
        ),
        "hearth": Family(
            hue=28,
            names=("Biscuit", "Waffles", "Button", "Toffee", "Pepper", "Truffle", "Pickle", "Crumpet", "Figaro",
                   "Noodle"),
            epithets=("kitchen", "rooftop", "bookshop", "velvet", "back-garden"),
            wheres=(
                "on the bestseller table of a second-hand bookshop",
                "on the warm step of a house that always smells of cinnamon",
                "in a shoebox with air holes and high hopes",
            ),
            looks=("with mismatched eyes and a small bell", "with a crumpled bow tie worn entirely on purpose"),
            keepsakes=(
                "a ball of string with a past",
                "a biscuit that is for emergencies",
                "the left slipper of somebody important",
            ),
            quirks=(
                "inspects every cardboard box as if it were property",
                "attends all meetings and votes by yawning",
                "hides small presents in other people's shoes",
            ),
            traits=("at home everywhere", "an expert on comfort", "curious about closed doors"),
            scenes=("a cosy room with a window seat and rain outside", "a sunny kitchen with copper pans"),
        ),
        "star": Family(
            hue=280,
            names=("Nova", "Orin", "Zibb", "Halo", "Vega", "Quasar", "Parsec", "Rigel", "Ixi", "Umbriel"),
            epithets=("comet", "starlight", "nebula", "far-side", "zero-gravity"),
            wheres=(
                "on the quiet side of the moon",
                "in the tail of a comet that comes by every eighty-one years",
                "on the wrong side of an observatory's telescope",
            ),
            looks=("with freckles that form a constellation", "with a halo of slow, small lights"),
            keepsakes=(
                "a jar of quiet from between two stars",
                "a postcard that says only: nice planet",
                "a spare gravity, slightly used",
            ),
            quirks=(
                "waves at satellites in case one waves back",
                "collects Earth words that sound better than what they mean",
                "floats a little when complimented",
            ),
            traits=("endlessly astonished", "thinks in orbits", "brings a wider horizon"),
            scenes=("a starfield with a violet nebula", "a quiet crater with the Earth rising behind"),
        ),
        "folk": Family(
            hue=345,
            names=("Robin", "Sasha", "Quinn", "Rowan", "Wren", "Marlowe", "Kit", "Bellamy", "Jules", "Noor"),
            epithets=("travelling", "night-shift", "village", "old-town", "wandering"),
            wheres=(
                "in a town with more bridges than reasons to cross them",
                "above a shop that sells only left-handed things",
                "on a street where every door is a different shade of blue",
            ),
            looks=("with ink on the fingers and a coat full of pockets", "with wind-blown hair and a crooked smile"),
            keepsakes=(
                "a notebook of overheard sentences",
                "a ticket to a show that was never cancelled",
                "a grandmother's thimble, said to bring luck with knots",
            ),
            quirks=(
                "talks to the soup while it decides what to become",
                "tips an invisible hat to pigeons",
                "writes thank-you notes to bus drivers",
            ),
            traits=("remembers your name", "handy with a metaphor", "stubborn in a good cause"),
            scenes=("a lamplit old-town street after the rain", "a sunny studio with shelves to the ceiling"),
        ),
        "curio": Family(
            hue=45,
            names=("Oddment", "Trinket", "Figment", "Winnow", "Lark", "Bauble", "Hobnob", "Sundry", "Marvel",
                   "Thimble"),
            epithets=("wandering", "well-travelled", "moonlit", "singular", "improbable"),
            wheres=(
                "between a chipped teacup and a box of keys at a flea market",
                "in the one room of a museum that is not on the map",
                "at the back of a cupboard that is larger than the house",
            ),
            looks=("with bright eyes and a patina of long adventures",
                   "with a paper label that says only: handle kindly"),
            keepsakes=(
                "a receipt for something priceless",
                "a music box that plays the tune you had forgotten",
                "a small bell that nobody has heard yet",
            ),
            quirks=(
                "introduces strangers to each other and then hides",
                "polishes the moonlight off the windowsill",
                "keeps a diary in which nothing bad happens twice",
            ),
            traits=("one of a kind", "pleased to be noticed", "full of small surprises"),
            scenes=("a cabinet of curiosities in warm lamplight", "a market square strung with paper lanterns"),
        ),
    }
)  # fmt: skip
