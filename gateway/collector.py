"""The garbage collector of a gateway that serves: it stops the event loop, so it is to look at little, and seldom."""

import gc
from typing import Final

FULL_EVERY: Final = 200
"""Collections of the middle generation, each of thousands of new objects, between two of everything; Python has 10.

Neither hatches that end nor connections that close leave anything to it: it is there for what we do not know of.
"""


def calm_collector() -> None:
    """Leave what start-up has made, which stays anyway, out of all collections, and look at everything less often.

    A full collection takes about 0.2 µs an object: with thousands of hatches it is the longest pause of the event loop,
    and when they begin together Python runs one each time that they have grown by a quarter.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_EVERY)
