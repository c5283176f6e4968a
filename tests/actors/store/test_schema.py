from pathlib import Path

import apsw
import pytest

from actors.store.schema import APPLICATION_ID, MIGRATIONS, UnusableStore, connect, migrate
from actors.store.sql import select, select_one

THIRD = "ALTER TABLE pruned ADD COLUMN reason TEXT NOT NULL DEFAULT 'old'; CREATE TABLE more (a)"


@pytest.mark.parametrize(("platform", "flushes"), [("darwin", 1), ("linux", 0)])
def test_a_commit_reaches_the_disk_on_every_platform(tmp_path: Path, platform: str, flushes: int) -> None:
    connection = connect(tmp_path / "db", platform=platform)
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2, "FULL"
    assert (connection.pragma("fullfsync"), connection.pragma("checkpoint_fullfsync")) == (flushes, flushes)
    assert connection.pragma("foreign_keys") == 1
    connection.close()


def test_a_new_file_is_marked_as_ours_and_up_to_date(tmp_path: Path) -> None:
    connection = connect(tmp_path / "db")
    migrate(connection, MIGRATIONS)
    assert connection.pragma("application_id") == APPLICATION_ID
    assert connection.pragma("user_version") == len(MIGRATIONS)
    migrate(connection, MIGRATIONS)
    connection.close()


def test_a_file_of_version_1_comes_forward_with_all_that_is_in_it(tmp_path: Path) -> None:
    connection = connect(tmp_path / "db")
    migrate(connection, MIGRATIONS[:1])
    connection.execute("INSERT INTO pruned (session) VALUES ('s1')")
    migrate(connection, (*MIGRATIONS, THIRD))
    assert select(connection, "SELECT session, reason FROM pruned") == [("s1", "old")]
    assert connection.pragma("user_version") == len(MIGRATIONS) + 1
    connection.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    connection = connect(tmp_path / "db")
    migrate(connection, MIGRATIONS)
    with pytest.raises(apsw.SQLError):
        migrate(connection, (*MIGRATIONS, THIRD, "CREATE TABLE more (b)"))
    assert connection.pragma("user_version") == len(MIGRATIONS)
    assert not select_one(connection, "SELECT 1 FROM sqlite_schema WHERE name = 'more'")
    connection.close()


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    connection = connect(tmp_path / "db")
    migrate(connection, (*MIGRATIONS, THIRD))
    with pytest.raises(UnusableStore, match="newer"):
        migrate(connection, MIGRATIONS)
    connection.close()


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    connection = connect(tmp_path / "db")
    connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(UnusableStore, match="not one of Hatchery's"):
        migrate(connection, MIGRATIONS)
    assert select(connection, "SELECT name FROM sqlite_schema") == [("theirs",)]
    connection.close()
