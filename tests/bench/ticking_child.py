"""The smallest child that draws tqdm bars: ten frames a second until it is stopped, whose count is the clock.

It runs without site-packages, so that hundreds fit on a machine; it takes mflux's flags by ignoring them.
"""

import os
import time

TICKS_PER_S = 10_000  # of the clock that the bar counts
HZ = 10


def main() -> None:
    """Draw until killed; `done` is time.monotonic() in ticks, the total far beyond it."""
    due = time.monotonic()
    while True:
        done = round(time.monotonic() * TICKS_PER_S)
        os.write(2, b"\r  1%%|#         | %d/1000000000000 [00:00<99:59,  10.00it/s]" % done)
        due += 1 / HZ
        time.sleep(max(due - time.monotonic(), 0))


if __name__ == "__main__":
    main()
