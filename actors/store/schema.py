"""The tables, how they came about, and how a connection is set up so that `durable` is true."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import apsw

from actors.store.sql import select_one

APPLICATION_ID: Final = 0x48544348  # "HTCH", in the file's head: https://www.sqlite.org/fileformat.html
BUSY_MS: Final = 5000  # somebody may look at the file with other tools

MIGRATIONS: Final = (
    """
    CREATE TABLE sessions (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        session TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        record TEXT NOT NULL,
        ended INTEGER UNIQUE,
        ended_at_ms INTEGER,
        text_offset INTEGER NOT NULL DEFAULT 0,
        progress TEXT,
        agent TEXT
    );
    CREATE INDEX sessions_of_owner ON sessions (owner, number);
    CREATE INDEX sessions_by_state ON sessions (owner, state, number);
    CREATE TABLE entries (
        session INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
        place INTEGER NOT NULL,
        seq INTEGER,
        body TEXT NOT NULL,
        PRIMARY KEY (session, place)
    ) WITHOUT ROWID;
    CREATE TABLE pruned (number INTEGER PRIMARY KEY AUTOINCREMENT, session TEXT NOT NULL UNIQUE);

    CREATE TABLE claims (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        owner TEXT NOT NULL,
        key TEXT NOT NULL,
        session TEXT NOT NULL,
        digest BLOB NOT NULL,
        at_s REAL NOT NULL,
        UNIQUE (owner, key)
    );
    CREATE TABLE tombstones (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        owner TEXT NOT NULL,
        key TEXT NOT NULL,
        reason TEXT NOT NULL,
        at_s REAL NOT NULL,
        UNIQUE (owner, key)
    );

    CREATE TABLE artifacts (
        sha256 TEXT PRIMARY KEY,
        bytes INTEGER NOT NULL,
        mime TEXT NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE session_artifacts (
        session INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
        sha256 TEXT NOT NULL REFERENCES artifacts,
        PRIMARY KEY (session, sha256)
    ) WITHOUT ROWID;
    CREATE INDEX session_artifacts_by_file ON session_artifacts (sha256);
    CREATE TABLE agents (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        agent TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        persona TEXT NOT NULL,
        prompt TEXT NOT NULL,
        seed INTEGER,
        engines TEXT NOT NULL,
        avatar TEXT NOT NULL REFERENCES artifacts,
        created_at_ms INTEGER NOT NULL
    );
    CREATE INDEX agents_of_owner ON agents (owner, number);
    CREATE INDEX agents_by_avatar ON agents (avatar);
    CREATE VIRTUAL TABLE agents_text USING fts5 (
        text, content='', contentless_delete=1, tokenize='unicode61 remove_diacritics 2'
    );
    CREATE TABLE uploads (
        upload TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        sha256 TEXT NOT NULL REFERENCES artifacts,
        created_at_ms INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX uploads_by_file ON uploads (sha256);
    CREATE INDEX uploads_by_age ON uploads (created_at_ms);

    CREATE TABLE durations (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        engine TEXT NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        steps INTEGER NOT NULL,
        quantization INTEGER,
        stage TEXT NOT NULL,
        seconds REAL NOT NULL,
        at_ms INTEGER NOT NULL
    );
    CREATE INDEX durations_of_work ON durations (engine, width, height, steps, quantization, stage, number);

    CREATE TABLE probe (padding BLOB NOT NULL);
    """,
    """
    ALTER TABLE agents ADD COLUMN steps INTEGER;
    ALTER TABLE agents ADD COLUMN writer TEXT;
    ALTER TABLE agents ADD COLUMN painter TEXT;

    CREATE TABLE lengths (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        writer TEXT NOT NULL,
        fields TEXT NOT NULL
    );
    CREATE INDEX lengths_of_writer ON lengths (writer, number);
    CREATE INDEX uploads_of_owner ON uploads (owner);
    """,
    """
    ALTER TABLE pruned ADD COLUMN owner TEXT NOT NULL DEFAULT '';
    ALTER TABLE pruned ADD COLUMN epoch INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE pruned ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE pruned ADD COLUMN text_offset INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE pruned ADD COLUMN state TEXT NOT NULL DEFAULT 'done';
    ALTER TABLE sessions ADD COLUMN persona TEXT;
    """,
)  # each brings the file one version forward; what was released is never edited, only followed by another one


class UnusableStore(Exception):
    """The file cannot serve as this gateway's store."""


def connect(path: Path, *, read_only: bool = False, platform: str = sys.platform) -> apsw.Connection:
    """A connection on which a commit has reached the disk when it returns. Raises apsw.Error."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(BUSY_MS)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "FULL")
    if platform == "darwin":  # there fsync leaves the data in the drive's cache: https://www.sqlite.org/pragma.html
        connection.pragma("fullfsync", 1)
        connection.pragma("checkpoint_fullfsync", 1)
    connection.pragma("foreign_keys", 1)
    connection.pragma("journal_size_limit", 64 * 2**20)
    connection.pragma("query_only", int(read_only))
    return connection


def migrate(connection: apsw.Connection, migrations: Sequence[str]) -> None:
    """Bring the file to version `len(migrations)`, in one transaction. Raises UnusableStore or apsw.Error."""
    version: int = connection.pragma("user_version")
    owner: int = connection.pragma("application_id")
    empty = select_one(connection, "SELECT count(*) FROM sqlite_schema") == 0
    if owner != APPLICATION_ID and not (owner == 0 and empty):
        raise UnusableStore(f"{connection.filename} is a database, but not one of Hatchery's")
    if version > len(migrations):
        raise UnusableStore(
            f"{connection.filename} was written by a newer Hatchery (version {version} of its tables, this one knows"
            f" {len(migrations)}): install that one, or take another data directory"
        )
    if version == len(migrations):
        return
    connection.execute("BEGIN EXCLUSIVE")
    try:
        for script in migrations[version:]:
            connection.execute(script)
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", len(migrations))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
