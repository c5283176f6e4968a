"""A day of a gateway in virtual time: crowds and quiet hours, failing engines, bad connections, a restart at noon.

`python -m tests.helpers.virtual_day SEED HATCHES` prints the day's digest.
"""

import hashlib
import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import structlog
import trio
from trio.testing import MockClock

from protocol.commands import Cancel, HatchRequest, ImageOptions, Start, Watch
from protocol.events import Accepted, End, Error, Ok
from tests.helpers.scheduling import seeded_scheduling
from tests.helpers.virtual import Temper, VirtualClient, VirtualGateway

DAY_S: Final = 86_400.0
RUSHES: Final = 6  # moments at which half of the visitors come
RUSH_S: Final = 30.0
A_VISIT: Final = 5  # hatches
DRAIN_S: Final = 8.0
FATES: Final = ("watched",) * 6 + ("cancelled", "cancelled by key", "cancelled first", "joined late", "deserted")
SETTINGS: Final[dict[str, Any]] = {
    "llm__slots": 8,
    "image__slots": 4,
    "hatch__running": 150,
    "wire__outbox_bytes": 4 * 1024,
    "wire__frame_bytes": 2 * 1024,
    "sim__tokens": 100,
    "sim__tokens_per_piece": 25,
    "sim__steps": 4,
    "sim__unavailable": 0.1,
    "sim__cut_off": 0.03,
    "sim__invalid": 0.1,
    "sim__failures": 0.03,
    "sim__crashes": 0.1,
    "sim__stalls": 0.01,
}


class Day:
    """What has happened: outcomes, last epochs, refusals and closes by their code, and a digest of it all."""

    def __init__(self, data: Path, seed: int, hatches: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.epochs: Counter[int] = Counter()
        self.refusals: Counter[str] = Counter()
        self.closes: Counter[int] = Counter()
        self.messages = 0
        self.gateway = VirtualGateway(data, seed, SETTINGS | {"sim__seed": seed})
        self._random = Random(seed)
        self._visits = hatches // A_VISIT
        self._length_s = DAY_S * hatches / 5000
        self._digests: dict[str, str] = {}
        self._told: dict[str, End] = {}

    @property
    def digest(self) -> str:
        """Of all that all clients have heard, with its times."""
        return hashlib.sha256(msgspec.json.encode(sorted(self._digests.items()))).hexdigest()

    async def run(self) -> None:
        """From the first visitor to the last, and until the gateway has stopped."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.gateway.run, 2, DRAIN_S)
            async with trio.open_nursery() as visits:
                for number in range(self._visits):
                    rush = self._random.randrange(RUSHES) * self._length_s / RUSHES + self._random.uniform(0, RUSH_S)
                    quiet = self._random.uniform(0, self._length_s)
                    comes_s = self._random.choice((rush, quiet))
                    visits.start_soon(self._visit, f"visitor {number}", comes_s, Random(self._random.random()))
                await trio.sleep(self._length_s / 2 + RUSH_S)
                self.gateway.stop()
            self.gateway.stop()
        for session, end in self._told.items():
            assert end == self.gateway.log[session][-1], "what a client was told is what was kept"

    async def _visit(self, name: str, comes_s: float, random: Random) -> None:
        await trio.sleep_until(comes_s)
        client = VirtualClient(self.gateway, name, random, _temper(random))
        async with trio.open_nursery() as connection:
            connection.start_soon(client.run)
            async with trio.open_nursery() as hatches:
                for number in range(A_VISIT):
                    hatches.start_soon(self._hatch, client, f"{name}/{number}", Random(random.random()))
                    await trio.sleep(random.uniform(0, 2))
            connection.cancel_scope.cancel()
        self._digests[name] = hashlib.sha256(msgspec.json.encode(client.heard)).hexdigest()
        self.closes += client.closes
        self.messages += len(client.heard)
        self.epochs.update(witness.cursor.epoch for witness in client.witnesses.values())
        self._told |= client.ends

    async def _hatch(self, client: VirtualClient, key: str, random: Random) -> None:
        fate = random.choice(FATES)
        if fate == "cancelled first":
            assert isinstance(await client.ask(Cancel, key=key), Ok)
        session = await self._start(client, key, fate, random)
        await trio.sleep(random.uniform(0, 12))
        match fate:
            case "cancelled":
                assert isinstance(await client.ask(Cancel, session=session), Ok | Error)
            case "cancelled by key":
                assert isinstance(await client.ask(Cancel, key=key), Ok)
            case "joined late":
                if isinstance(await client.ask(Watch, session=session), Error):
                    client.gone.add(session)  # with the gateway of the morning
            case "deserted":
                return
        end = await client.end(session)
        self.outcomes["lost" if end is None else end.outcome] += 1

    async def _start(self, client: VirtualClient, key: str, fate: str, random: Random) -> str:
        hatch = HatchRequest(prompt=key, image=ImageOptions(seed=random.getrandbits(32)))
        options = (
            {"on_disconnect": "cancel", "grace_s": 5.0} if fate == "deserted" else {"watch": fate != "joined late"}
        )
        while True:
            answer = await client.ask(Start, key=key, hatch=hatch, **options)
            if isinstance(answer, Accepted):
                return answer.session
            assert isinstance(answer, Error)
            self.refusals[answer.code] += 1
            assert answer.retry_after_ms
            await trio.sleep(random.uniform(1, 4) * answer.retry_after_ms / 1000)


def _temper(random: Random) -> Temper:
    match random.randrange(10):
        case 0 | 1:
            return Temper(drops_after_s=tuple(random.uniform(1, 40) for _ in range(3)))
        case 2 | 3:
            return Temper(capacity=1024, read_every_s=0.5)
        case 4:
            return Temper(capacity=1024, freezes_after_s=random.uniform(0, 10), freezes_for_s=50)
        case _:
            return Temper()


def play(seed: int, hatches: int) -> Day:
    """One day, as long as its hatches take at 5,000 in 24 hours."""

    async def main(data: str) -> Day:
        day = Day(Path(data), seed, hatches)
        with trio.fail_after(2 * DAY_S):  # nothing hangs
            await day.run()
        return day

    with seeded_scheduling(seed), tempfile.TemporaryDirectory() as data:
        return trio.run(main, data, clock=MockClock(autojump_threshold=0))


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(play(int(sys.argv[1]), int(sys.argv[2])).digest)
