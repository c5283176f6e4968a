"""The artifact store's files seen from the tables: which of them somebody refers to, and which are whole."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import apsw
import msgspec

from actors.store.schema import APPLICATION_ID, connect
from actors.store.sql import select

_UNUSED = """
    NOT EXISTS (SELECT 1 FROM session_artifacts AS shown WHERE shown.sha256 = artifacts.sha256)
    AND NOT EXISTS (SELECT 1 FROM uploads WHERE uploads.sha256 = artifacts.sha256)
    AND NOT EXISTS (SELECT 1 FROM agents WHERE avatar = artifacts.sha256)
"""


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it should be; `what` is "database" or the SHA-256 of a file."""

    what: str
    problem: str


def check_store(path: Path, artifacts: Path) -> list[Finding]:
    """Look at every page of the database and every byte of the files it refers to; blocks for long."""
    try:
        connection = connect(path, read_only=True)
        try:
            return [*_check_database(connection), *_check_files(connection, artifacts)]
        finally:
            connection.close()
    except apsw.Error as error:
        return [Finding("database", str(error))]


def _check_database(connection: apsw.Connection) -> Iterator[Finding]:
    if select(connection, "PRAGMA application_id") != [(APPLICATION_ID,)]:
        yield Finding("database", "it is not one of Hatchery's")
    for (text,) in select(connection, "PRAGMA integrity_check"):
        if text != "ok":
            yield Finding("database", text)
    for table, _, parent, _ in select(connection, "PRAGMA foreign_key_check"):
        yield Finding("database", f"a row of {table} refers to nothing in {parent}")


def _check_files(connection: apsw.Connection, artifacts: Path) -> Iterator[Finding]:
    for sha256, size in select(connection, "SELECT sha256, bytes FROM artifacts ORDER BY sha256"):
        yield from _check_file(artifacts / sha256[:2] / sha256, sha256, size)


def _check_file(file: Path, sha256: str, size: int) -> Iterator[Finding]:
    try:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if digest != sha256 or file.stat().st_size != size:
            yield Finding(sha256, "its file is damaged")
    except FileNotFoundError:
        yield Finding(sha256, "its file is missing")
    except OSError as error:
        yield Finding(sha256, f"its file cannot be read: {error.strerror}")


def back_up(path: Path, artifacts: Path, target: Path) -> None:
    """Copy the store, while it is in use, to a directory that can serve as a data directory; blocks for long.

    What is already there from an earlier backup is not copied again. Raises OSError and apsw.Error; the database of an
    earlier backup then stays as it was.
    """
    (target / artifacts.name).mkdir(parents=True, exist_ok=True)
    unfinished = target / f".{path.name}.part"
    unfinished.unlink(missing_ok=True)
    copy, source = apsw.Connection(str(unfinished)), connect(path, read_only=True)
    try:
        with copy.backup("main", source, "main") as backup:
            backup.step(-1)
        copy.pragma("journal_mode", "delete")  # one file, with nothing beside it
        for (sha256,) in select(copy, "SELECT sha256 FROM artifacts"):
            _copy_file(artifacts / sha256[:2] / sha256, target / artifacts.name / sha256[:2] / sha256)
    finally:
        copy.close()
        source.close()
    unfinished.replace(target / path.name)


def _copy_file(file: Path, target: Path) -> None:
    if target.is_file() or not file.is_file():  # it was pruned in the meantime, or `check_store` tells of it
        return
    target.parent.mkdir(exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(file, part)
    part.replace(target)


def files_before(artifacts: Path, before_s: float) -> list[Path]:
    """All files of the artifact store that were last adopted before a time."""
    return [file for file in artifacts.glob("??/*") if _is_older(file, before_s)]


def find_unused(connection: apsw.Connection) -> list[str]:
    """The SHA-256 of every file that nobody refers to any more."""
    return [sha256 for (sha256,) in select(connection, f"SELECT sha256 FROM artifacts WHERE {_UNUSED}")]


def touch(artifacts: Path, files: Iterable[str], now_s: float) -> None:
    """Note in files, by their SHA-256, that they have been of use until now."""
    for sha256 in files:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.utime(artifacts / sha256[:2] / sha256, (now_s, now_s))


def forget(connection: apsw.Connection, unused: Iterable[str]) -> None:
    """Forget files that nobody refers to, if that is still so."""
    connection.executemany(f"DELETE FROM artifacts WHERE sha256 = ? AND {_UNUSED}", [(sha256,) for sha256 in unused])


def find_unknown(connection: apsw.Connection, files: Iterable[Path]) -> list[Path]:
    """Those files that the tables do not know."""
    known = {sha256 for (sha256,) in select(connection, "SELECT sha256 FROM artifacts")}
    return [file for file in files if file.name not in known]


def remove(files: Iterable[Path], before_s: float) -> int:
    """Remove files, but for those that were adopted anew meanwhile; returns how many."""
    removed = 0
    for file in files:
        if _is_older(file, before_s):
            file.unlink(missing_ok=True)
            removed += 1
    return removed


def _is_older(file: Path, before_s: float) -> bool:
    try:
        return file.stat().st_mtime < before_s
    except FileNotFoundError:
        return False
