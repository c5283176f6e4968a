"""A child program for the tests: hatches sessions in a loop and announces what is durable, until it is killed.

python -m tests.actors.store.appender DIRECTORY FIRST
"""

import os
import sys
from itertools import count
from pathlib import Path

import trio

from actors.eventlog import Claim, Created
from tests.actors.store.stores import QUICK, hatched, opened
from tests.helpers.fakes import record_of

TASKS = 20


async def hatch_for_ever(directory: Path, first: int) -> None:
    """Announce each kept session with its key, and each append with the last seq that it has made durable."""
    numbers = count(first)
    async with opened(directory, settings=QUICK) as store, trio.open_nursery() as nursery:

        async def work() -> None:
            for number in numbers:
                session = f"s{number}"
                created = await store.log.create(record_of(session), Claim(f"k{number}", b"1"))
                assert isinstance(created, Created)
                announce(session, 0)
                for entries in hatched(session):
                    await store.log.append(session, entries)
                    announce(session, created.view.seq)

        for _ in range(TASKS):
            nursery.start_soon(work)


def announce(session: str, seq: int) -> None:
    """One whole line, at once."""
    os.write(1, f"{session} {seq}\n".encode())


if __name__ == "__main__":
    trio.run(hatch_for_ever, Path(sys.argv[1]), int(sys.argv[2]))
