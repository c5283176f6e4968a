"""Sessions and their entries as rows: each function runs in the store's threads, within a transaction."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import apsw
import msgspec

from actors.store.agents import insert_agent
from actors.store.sql import select, select_one
from protocol.commands import StateName
from protocol.errors import Gone, NotFound
from protocol.events import Artifact, End, Progress, Reliable, SessionItem
from protocol.journal import Epitaph, EpochBegun, Kept, SessionRecord
from protocol.view import SessionView

_JSON: Final = msgspec.json.Encoder()
_KEPT: Final[msgspec.json.Decoder[Kept]] = msgspec.json.Decoder(Kept)
_RECORD: Final = msgspec.json.Decoder(SessionRecord)
_PROGRESS: Final = msgspec.json.Decoder(Progress)
_REMEMBER: Final = """
    INSERT INTO pruned (session, owner, epoch, seq, text_offset, state)
    SELECT
        sessions.session, owner, 1 + count(*) FILTER (WHERE seq IS NULL), max(seq), text_offset, state
    FROM sessions JOIN entries ON entries.session = sessions.number
    WHERE sessions.session = ?
    GROUP BY sessions.number
    """  # an entry without a `seq` begins an epoch


class Fleeting(msgspec.Struct, frozen=True):
    """What a session's end keeps of what else is not: code points of text, the last progress, a persona cut short."""

    offset: int = 0
    progress: Progress | None = None
    persona: dict[str, Any] | None = None


class Stored(msgspec.Struct, frozen=True):
    """A session as its rows tell it; `entries` counts those kept."""

    number: int
    view: SessionView
    entries: int


def insert_session(connection: apsw.Connection, record: SessionRecord) -> int:
    """Keep a new session; returns its number."""
    connection.execute(
        "INSERT INTO sessions (session, owner, state, created_at_ms, record) VALUES (?, ?, ?, ?, ?)",
        (record.session, record.owner, SessionView(record).state, record.created_at_ms, _text(record)),
    )
    return connection.last_insert_rowid()


def insert_entries(
    connection: apsw.Connection, number: int, place: int, entries: Sequence[Kept], fleeting: Fleeting, now_ms: int
) -> None:
    """Keep entries of a session, the first at `place`; with its end also what else remains, and the agent."""
    connection.executemany(
        "INSERT INTO entries (session, place, seq, body) VALUES (?, ?, ?, ?)",
        (
            (number, place + at, None if isinstance(entry, EpochBegun) else entry.seq, _text(entry))
            for at, entry in enumerate(entries)
        ),
    )
    state: StateName | None = None
    for entry in entries:
        match entry:
            case End():
                _end_session(connection, number, entry, fleeting, now_ms)
                state = None
            case Artifact():
                _insert_artifact(connection, number, entry)
            case EpochBegun(state=entered):
                state = entered
            case _:
                state = getattr(entry, "state", state)
    if state is not None:
        connection.execute("UPDATE sessions SET state = ? WHERE number = ?", (state, number))


def _insert_artifact(connection: apsw.Connection, number: int, artifact: Artifact) -> None:
    insert_file(connection, artifact.sha256, artifact.bytes, artifact.mime, artifact.width, artifact.height)
    connection.execute("INSERT OR IGNORE INTO session_artifacts VALUES (?, ?)", (number, artifact.sha256))


def insert_file(connection: apsw.Connection, sha256: str, size: int, mime: str, width: int, height: int) -> None:
    """Know a file of the artifact store, before anything refers to it."""
    connection.execute("INSERT OR IGNORE INTO artifacts VALUES (?, ?, ?, ?, ?)", (sha256, size, mime, width, height))


def _end_session(connection: apsw.Connection, number: int, end: End, fleeting: Fleeting, now_ms: int) -> None:
    progress = None if fleeting.progress is None else _text(fleeting.progress)
    persona = None if fleeting.persona is None else _JSON.encode(fleeting.persona).decode()
    connection.execute(
        "UPDATE sessions SET state = ?, ended = (SELECT coalesce(max(ended), 0) + 1 FROM sessions), ended_at_ms = ?,"
        " text_offset = ?, progress = ?, persona = ?, agent = ? WHERE number = ?",
        (end.outcome, now_ms, fleeting.offset, progress, persona, end.agent, number),
    )
    if end.outcome == "done":
        insert_agent(connection, _fold(connection, number).view, now_ms)


def load_session(connection: apsw.Connection, session: str) -> Stored:
    """A session as its rows tell it. Raises NotFound, or Gone when it was pruned."""
    return _fold(connection, _number(connection, session))


def _number(connection: apsw.Connection, session: str) -> int:
    number: int | None = select_one(connection, "SELECT number FROM sessions WHERE session = ?", (session,))
    if number is not None:
        return number
    if select_one(connection, "SELECT 1 FROM pruned WHERE session = ?", (session,)):
        raise Gone("this session has ended long ago and is no longer kept")
    raise NotFound("no such session")


def load_epitaph(connection: apsw.Connection, session: str) -> Epitaph | None:
    """What stays known of a session that was pruned."""
    found = select(connection, "SELECT owner, epoch, seq, text_offset, state FROM pruned WHERE session = ?", (session,))
    if not found:
        return None
    ((owner, epoch, seq, offset, state),) = found
    return Epitaph(session=session, owner=owner, epoch=epoch, seq=seq, offset=offset, state=state)


def load_unfinished(connection: apsw.Connection) -> list[Stored]:
    """All sessions without an end, oldest first."""
    numbers = select(connection, "SELECT number FROM sessions WHERE ended IS NULL ORDER BY number")
    return [_fold(connection, number) for (number,) in numbers]


def _fold(connection: apsw.Connection, number: int) -> Stored:
    ((record, offset, progress, half_persona),) = select(
        connection, "SELECT record, text_offset, progress, persona FROM sessions WHERE number = ?", (number,)
    )
    view = SessionView(_RECORD.decode(record))
    entries = _load_entries(connection, number)
    for entry in entries:
        view.apply(entry)
    view.offset = offset
    if progress is not None:
        view.progress = _PROGRESS.decode(progress)
    if half_persona is not None and not view.persona:
        view.persona = msgspec.json.decode(half_persona)
    return Stored(number, view, len(entries))


def _load_entries(connection: apsw.Connection, number: int) -> list[Kept]:
    bodies = select(connection, "SELECT body FROM entries WHERE session = ? ORDER BY place", (number,))
    return [_KEPT.decode(body) for (body,) in bodies]


def load_tail(connection: apsw.Connection, session: str, after_seq: int) -> list[Reliable]:
    """The reliable messages after a cursor. Raises NotFound or Gone."""
    entries = _load_entries(connection, _number(connection, session))
    return [entry for entry in entries if not isinstance(entry, EpochBegun) and entry.seq > after_seq]


def load_items(
    connection: apsw.Connection, owner: str, states: Iterable[StateName] | None, limit: int, below: int | None
) -> list[tuple[int, SessionItem]]:
    """At most `limit` of the owner's sessions with their numbers, newest first, all below a number if there is one."""
    values: list[str | int] = [owner]
    where = "owner = ?"
    if below is not None:
        where, values = f"{where} AND number < ?", [*values, below]
    if states is not None:
        states = sorted(states)
        where, values = f"{where} AND state IN ({', '.join('?' * len(states))})", [*values, *states]
    rows = select(
        connection,
        f"SELECT number, state, record, progress, agent FROM sessions WHERE {where} ORDER BY number DESC LIMIT ?",
        (*values, limit),
    )
    return [(number, _item(*columns)) for number, *columns in rows]


def _item(state: StateName, record: str, progress: str | None, agent: str | None) -> SessionItem:
    begun = _RECORD.decode(record)
    return SessionItem(
        session=begun.session,
        state=state,
        percent=0.0 if progress is None else _PROGRESS.decode(progress).percent,
        created_at_ms=begun.created_at_ms,
        prompt=begun.hatch.prompt,
        agent=agent,
    )


def prune_sessions(connection: apsw.Connection, *, beyond: int, before_ms: int | None, remembered: int) -> list[str]:
    """Forget ended sessions but the latest `beyond`, and all that ended before a time if given; returns their ids.

    Of at most `remembered` of those that were forgotten the epitaph stays.
    """
    rows = select(
        connection,
        "SELECT session FROM sessions WHERE ended <= (SELECT max(ended) FROM sessions) - ? ORDER BY ended",
        (beyond,),
    )
    if before_ms is not None:
        rows += select(connection, "SELECT session FROM sessions WHERE ended_at_ms < ? ORDER BY ended", (before_ms,))
    pruned = [*dict.fromkeys(session for (session,) in rows)]
    connection.executemany(_REMEMBER, [(session,) for session in pruned])
    connection.executemany("DELETE FROM sessions WHERE session = ?", [(session,) for session in pruned])
    if pruned:
        connection.execute("DELETE FROM pruned WHERE number <= last_insert_rowid() - ?", (remembered,))
    return pruned


def _text(value: msgspec.Struct) -> str:
    return _JSON.encode(value).decode()
