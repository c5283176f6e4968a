from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
import trio

from actors.store.database import Database, StoreLimits, open_database
from actors.store.schema import UnusableStore
from actors.store.sql import select
from protocol.errors import HatcheryError, Internal, KeyConflict, NotFound, Overloaded

LIMITS = StoreLimits(queue=10, retry_s=0.02)
FULL = 2**32 - 2


def remember(session: str) -> Callable[[apsw.Connection], int]:
    def work(connection: apsw.Connection) -> int:
        connection.execute("INSERT INTO pruned (session) VALUES (?)", (session,))
        return connection.last_insert_rowid()

    return work


async def remembered(database: Database) -> list[str]:
    rows = await database.read(lambda connection: select(connection, "SELECT session FROM pruned ORDER BY number"))
    return [session for (session,) in rows]


def leave_no_room(database: Database) -> None:
    """From now on every new page is a real SQLITE_FULL."""
    database._writer.pragma("max_page_count", 1)


def make_room(database: Database) -> None:
    database._writer.pragma("max_page_count", FULL)


async def test_what_is_written_can_be_read_also_after_reopening(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db", LIMITS) as database:
        assert await database.write(remember("a")) == 1
        assert await remembered(database) == ["a"]
    async with open_database(tmp_path / "db", LIMITS) as database:
        assert await remembered(database) == ["a"]


async def test_what_gathers_is_one_commit_in_order(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db", StoreLimits(queue=1000)) as database:
        commits = 0

        def count() -> bool:
            nonlocal commits
            commits += 1
            return False

        database._writer.set_commit_hook(count)
        settled: list[int | None] = []
        for number in range(500):
            database.submit(remember(f"s{number}"), lambda result, _error: settled.append(result))
        await database.write(lambda _writer: None)
        assert settled == list(range(1, 501))
        assert await remembered(database) == [f"s{number}" for number in range(500)]
        assert commits <= 2


@pytest.mark.parametrize("error", [KeyConflict("no"), ValueError("no")])
async def test_a_job_that_fails_is_undone_alone(tmp_path: Path, error: Exception) -> None:
    async with open_database(tmp_path / "db", LIMITS) as database:

        def fail(connection: apsw.Connection) -> None:
            remember("half")(connection)
            raise error

        raised: list[HatcheryError] = []

        async def failing() -> None:
            try:
                await database.write(fail)
            except HatcheryError as refusal:
                raised.append(refusal)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.write, remember("a"))
            nursery.start_soon(failing)
            nursery.start_soon(database.write, remember("b"))
        assert sorted(await remembered(database)) == ["a", "b"]
        assert [type(refusal) for refusal in raised] == [type(error) if isinstance(error, KeyConflict) else Internal]
        assert database.healthy


async def test_a_cancelled_write_is_carried_out_all_the_same(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db", LIMITS) as database:
        with trio.CancelScope() as scope:
            scope.cancel()
            await database.write(remember("a"))
        assert await remembered(database) == ["a"]


async def test_beyond_the_bound_writes_are_refused_and_those_in_line_are_not(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db", LIMITS) as database:
        outcomes: list[str] = []

        async def one(number: int) -> None:
            try:
                await database.write(remember(f"s{number}"))
                outcomes.append("written")
            except Overloaded:
                outcomes.append("refused")

        async with trio.open_nursery() as nursery:
            for number in range(25):
                nursery.start_soon(one, number)
        assert sorted(outcomes) == ["refused"] * 15 + ["written"] * 10
        assert len(await remembered(database)) == 10


async def test_a_full_disk_refuses_writes_and_later_takes_them_again(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db", LIMITS) as database:
        await database.write(remember("before"))
        leave_no_room(database)
        with pytest.raises(Overloaded) as refusal:
            await database.write(remember("x" * 100_000))
        assert "full" in refusal.value.message
        assert refusal.value.retryable
        assert not database.healthy
        assert await remembered(database) == ["before"], "what is there can still be read"
        with pytest.raises(Overloaded):
            await database.write(remember("small"))
        make_room(database)
        with trio.fail_after(10):
            while not database.healthy:  # noqa: ASYNC110 - nobody writes, and nobody is told
                await trio.sleep(0.01)
        await database.write(remember("after"))
        assert await remembered(database) == ["before", "after"]


async def test_what_lasts_is_written_in_order_when_there_is_room_again(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db", LIMITS) as database:
        settled: list[int | None] = []
        last = trio.Event()
        leave_no_room(database)
        for number in range(5):
            database.submit(remember(f"{number}" * 50_000), lambda result, _error: settled.append(result))
            await trio.sleep(0.01)
        assert not database.healthy
        database.submit(remember("end"), lambda _result, _error: last.set())
        assert settled == []
        make_room(database)
        await last.wait()
        assert settled == [1, 2, 3, 4, 5]
        assert [session[:1] for session in await remembered(database)] == ["0", "1", "2", "3", "4", "e"]


async def test_closing_writes_what_is_in_line(tmp_path: Path) -> None:
    settled: list[int | None] = []
    async with open_database(tmp_path / "db", LIMITS) as database:
        database.submit(remember("a"), lambda result, _error: settled.append(result))
    assert settled == [1]
    with pytest.raises(Internal):
        await database.write(remember("late"))
    async with open_database(tmp_path / "db", LIMITS) as database:
        assert await remembered(database) == ["a"]


async def test_closing_ends_also_when_nothing_can_be_written_and_says_so(tmp_path: Path) -> None:
    errors: list[HatcheryError | None] = []
    async with open_database(tmp_path / "db", LIMITS) as database:
        leave_no_room(database)
        database.submit(remember("x" * 100_000), lambda _result, error: errors.append(error))
    assert [type(error) for error in errors] == [Overloaded]
    async with open_database(tmp_path / "db", LIMITS) as database:
        assert await remembered(database) == []


async def test_a_cancellation_from_outside_stops_no_write(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_database(tmp_path / "db", LIMITS) as database:
            scope.cancel()
            await database.write(remember("a"))
    async with open_database(tmp_path / "db", LIMITS) as database:
        assert await remembered(database) == ["a"]


async def test_a_read_sees_one_moment_and_may_not_write(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db", LIMITS) as database:
        counted = trio.Event()

        def twice(connection: apsw.Connection) -> list[int]:
            first = len(select(connection, "SELECT 1 FROM pruned"))
            trio.from_thread.run_sync(counted.set)
            trio.from_thread.run(database.write, remember("meanwhile"))
            return [first, len(select(connection, "SELECT 1 FROM pruned"))]

        assert await database.read(twice) == [0, 0]
        assert await remembered(database) == ["meanwhile"]
        with pytest.raises(apsw.ReadOnlyError):
            await database.read(remember("x"))


async def test_errors_of_a_read_are_its_own(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db", LIMITS) as database:

        def fail(_connection: apsw.Connection) -> None:
            raise NotFound("nothing")

        with pytest.raises(NotFound):
            await database.read(fail)
        assert await remembered(database) == []


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\1" * 4096])
async def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "db").write_bytes(content)
    with pytest.raises(UnusableStore):
        async with open_database(tmp_path / "db", LIMITS):
            pass
    assert (tmp_path / "db").read_bytes() == content
