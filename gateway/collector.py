"""The garbage collector of a gateway that serves: it stops the event loop, so it is to look at little, and seldom."""

import gc
from typing import Final

YOUNG: Final = 5000
"""New objects that are looked at together; Python has 700, fewer than wait for a tick in a gateway that is busy."""
MIDDLE_EVERY: Final = 2
"""Collections of young objects between two of all that are not old; Python has 10, of fewer objects each."""
FULL_EVERY: Final = 100
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
    gc.set_threshold(YOUNG, MIDDLE_EVERY, FULL_EVERY)
