from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import msgspec
import pytest
import trio

from actors.eventlog import Claim, Created
from actors.store.keys import KeyClock, KeyLimits
from actors.store.schema import connect
from actors.store.sql import select_one
from actors.store.store import DATABASE, Store, StoreSettings
from protocol.errors import KeyConflict
from tests.actors.store.stores import QUICK, opened
from tests.helpers.fakes import record_of

DAY = 86_400.0
NOON = 1_800_000_000.0
LIMITS = KeyLimits(kept_s=DAY, tombstone_s=60.0, capacity=3)
SETTINGS = StoreSettings(keys=LIMITS)


class Walls:
    """A wall clock that somebody may put."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


async def begun(store: Store, session: str, key: str = "k", digest: bytes = b"1") -> str:
    """The session that a start with this key leads to."""
    return (await store.log.create(record_of(session), Claim(key, digest))).view.session


Step = Callable[[Store], Awaitable[None]]


async def test_a_key_outlasts_the_process(tmp_path: Path) -> None:
    for session in ("s1", "s2"):
        async with opened(tmp_path) as store:
            assert await begun(store, session) == "s1"
            with pytest.raises(KeyConflict):
                await begun(store, "s3", digest=b"2")


async def test_an_early_cancel_outlasts_the_process_and_is_told_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert await store.log.bury("ann", "k", "enough") is None
    async with opened(tmp_path) as store:
        created = await store.log.create(record_of(), Claim("k", b"1"))
        assert isinstance(created, Created)
        assert created.doom == "enough"
    async with opened(tmp_path) as store:
        assert await store.log.bury("ann", "k", "late") == "s1"


@pytest.mark.parametrize(("away_s", "expected"), [(DAY - 1, "s1"), (DAY + 1, "s2")])
async def test_a_key_is_kept_for_its_time_over_a_restart(tmp_path: Path, away_s: float, expected: str) -> None:
    walls = Walls()
    async with opened(tmp_path, settings=SETTINGS, now_s=walls) as store:
        await begun(store, "s1")
    walls.now += away_s
    async with opened(tmp_path, settings=SETTINGS, now_s=walls) as store:
        assert await begun(store, "s2") == expected


@pytest.mark.parametrize(("away_s", "doom"), [(59.0, "enough"), (61.0, None)])
async def test_an_early_cancel_is_kept_for_a_minute_over_a_restart(
    tmp_path: Path, away_s: float, doom: str | None
) -> None:
    walls = Walls()
    async with opened(tmp_path, settings=SETTINGS, now_s=walls) as store:
        await store.log.bury("ann", "k", "enough")
    walls.now += away_s
    async with opened(tmp_path, settings=SETTINGS, now_s=walls) as store:
        created = await store.log.create(record_of(), Claim("k", b"1"))
        assert isinstance(created, Created)
        assert created.doom == doom


@pytest.mark.parametrize("jump_s", [-10 * DAY, 10 * DAY])
async def test_a_jump_of_the_wall_clock_changes_nothing_while_the_process_runs(tmp_path: Path, jump_s: float) -> None:
    walls = Walls()
    async with opened(tmp_path, settings=SETTINGS, now_s=walls) as store:
        await begun(store, "s1")
        await store.log.bury("ann", "other", "enough")
        walls.now += jump_s
        assert await begun(store, "s2") == "s1"
        created = await store.log.create(record_of("s3"), Claim("other", b"1"))
        assert isinstance(created, Created)
        assert created.doom == "enough"


async def test_a_clock_put_back_before_a_restart_prolongs_no_key_beyond_its_time_of_running(tmp_path: Path) -> None:
    walls = Walls()
    async with opened(tmp_path, settings=SETTINGS, now_s=walls) as store:
        await begun(store, "s1")
    walls.now -= 10 * DAY
    async with opened(tmp_path, settings=SETTINGS, now_s=walls) as store:
        assert await begun(store, "s2") == "s1"


def test_the_clock_of_keys_begins_at_the_later_time_and_never_jumps() -> None:
    for wall_s, latest, expected in ((100.0, 50.0, 100.0), (50.0, 100.0, 100.0)):
        monotonic = [7.0]
        clock = KeyClock(wall_s, latest, lambda: monotonic[0])  # noqa: B023 - called within this turn
        assert clock() == expected
        monotonic[0] += 5
        assert clock() == expected + 5


async def test_the_oldest_keys_give_way(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=SETTINGS) as store:
        for number in range(4):
            await begun(store, f"s{number}", key=f"k{number}")
        again = [await store.log.claimed("ann", Claim(f"k{number}", b"1")) for number in range(4)]
        assert [view and view.session for view in again] == [None, "s1", "s2", "s3"]


async def test_the_oldest_early_cancels_give_way(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=SETTINGS) as store:
        for number in range(4):
            await store.log.bury("ann", f"k{number}", "enough")
        dooms = []
        for number in range(4):
            created = await store.log.create(record_of(f"s{number}"), Claim(f"k{number}", b"1"))
            assert isinstance(created, Created)
            dooms.append(created.doom)
        assert dooms == [None, "enough", "enough", "enough"]


async def test_expired_keys_and_early_cancels_go_with_the_upkeep(tmp_path: Path) -> None:
    def rows(connection: apsw.Connection) -> int:
        return int(select_one(connection, "SELECT (SELECT count(*) FROM claims) + (SELECT count(*) FROM tombstones)"))

    keys = KeyLimits(kept_s=0.2, tombstone_s=0.2, capacity=100)
    async with opened(tmp_path, settings=msgspec.structs.replace(QUICK, keys=keys)) as store:
        await store.log.create(record_of(), Claim("k", b"1"))
        await store.log.bury("ann", "other", "early")
        connection = connect(tmp_path / DATABASE, read_only=True)
        assert rows(connection) == 2
        with trio.fail_after(10):
            while rows(connection):
                await store.log.prune(beyond=100, before_ms=0)
        connection.close()
