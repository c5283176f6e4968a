"""Agents: what every hatch that was done leaves behind, found again by its words; it outlives its session."""

from functools import partial
from typing import Final

import apsw
import msgspec

from actors.eventlog import cursor_number
from actors.store.database import Database
from actors.store.sql import select, select_one
from protocol.errors import NotFound
from protocol.events import Engines
from protocol.maker import Maker
from protocol.persona import Persona
from protocol.view import SessionView

MAX_WORDS: Final = 10  # of a search; what follows them is ignored

_KEPT: Final = "agent, owner, persona, prompt, seed, steps, engines, writer, painter, avatar, created_at_ms"
_COLUMNS: Final = f"number, {_KEPT}"


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """One agent; its id is that of the session that hatched it, `avatar` the SHA-256 of its picture.

    Of agents that an earlier Hatchery has kept, `steps`, `writer` and `painter` are unknown.
    """

    agent: str
    owner: str
    persona: Persona
    prompt: str
    seed: int | None
    steps: int | None
    engines: Engines
    writer: Maker | None
    painter: Maker | None
    avatar: str
    created_at_ms: int


class Gallery(msgspec.Struct, frozen=True):
    """One page of agents, newest first; `before` is the cursor of the next page, None on the last."""

    items: list[Agent]
    before: str | None


class Agents:
    """The agents of a store; owners see only their own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, owner: str, agent: str) -> Agent:
        """One agent. Raises NotFound."""
        return await self._database.read(partial(_get, owner=owner, agent=agent))

    async def list(self, owner: str, *, query: str = "", limit: int, before: str | None) -> Gallery:
        """The owner's agents whose texts hold words that begin with all those of `query`, newest first.

        Raises Invalid for a cursor that is not one.
        """
        below = None if before is None else cursor_number(before)
        found = await self._database.read(partial(_list, owner=owner, query=query, limit=limit + 1, below=below))
        page = found[:limit]
        return Gallery([agent for _, agent in page], str(page[-1][0]) if len(found) > limit else None)

    async def delete(self, owner: str, agent: str) -> None:
        """Forget an agent; its picture goes when nothing else refers to it. Raises NotFound."""
        await self._database.write(partial(_delete, owner=owner, agent=agent))


def insert_agent(connection: apsw.Connection, view: SessionView, now_ms: int) -> None:
    """Keep what a session that is done has hatched."""
    avatars = [artifact for artifact in view.artifacts if artifact.kind == "avatar"]
    if not (avatars and view.persona and view.end):
        return
    record, avatar = view.record, avatars[-1]
    connection.execute(
        f"INSERT INTO agents ({_KEPT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            view.session,
            record.owner,
            msgspec.json.encode(view.persona).decode(),
            record.hatch.prompt,
            record.hatch.image.seed if avatar.seed is None else avatar.seed,
            avatar.steps,
            msgspec.json.encode(view.end.receipt.engines).decode(),
            _text(view.writer),
            _text(avatar.painter),
            avatar.sha256,
            now_ms,
        ),
    )
    texts = (view.persona[name] for name in ("name", "species", "tagline", "backstory"))
    words = "\n".join((*texts, *view.persona["traits"], record.hatch.prompt))
    connection.execute("INSERT INTO agents_text (rowid, text) VALUES (?, ?)", (connection.last_insert_rowid(), words))


def _get(connection: apsw.Connection, owner: str, agent: str) -> Agent:
    rows = select(connection, f"SELECT {_COLUMNS} FROM agents WHERE agent = ? AND owner = ?", (agent, owner))
    if not rows:
        raise NotFound("no such agent")
    return _agent(*rows[0][1:])


def _list(
    connection: apsw.Connection, owner: str, query: str, limit: int, below: int | None
) -> list[tuple[int, Agent]]:
    values: list[str | int] = [owner]
    where = "owner = ?"
    if below is not None:
        where, values = f"{where} AND number < ?", [*values, below]
    if phrase := _phrase(query):
        where, values = f"{where} AND number IN (SELECT rowid FROM agents_text WHERE text MATCH ?)", [*values, phrase]
    rows = select(
        connection, f"SELECT {_COLUMNS} FROM agents WHERE {where} ORDER BY number DESC LIMIT ?", (*values, limit)
    )
    return [(number, _agent(*columns)) for number, *columns in rows]


def _phrase(query: str) -> str:
    """FTS5's query for words that begin so; quoted, a word is nothing but a word (https://sqlite.org/fts5.html)."""
    words = query.replace("\0", " ").split()[:MAX_WORDS]
    return " AND ".join('"' + word.replace('"', '""') + '"*' for word in words)


def _agent(
    agent: str,
    owner: str,
    persona: str,
    prompt: str,
    seed: int | None,
    steps: int | None,
    engines: str,
    writer: str | None,
    painter: str | None,
    avatar: str,
    created_at_ms: int,
) -> Agent:
    return Agent(
        agent=agent,
        owner=owner,
        persona=msgspec.json.decode(persona, type=Persona),
        prompt=prompt,
        seed=seed,
        steps=steps,
        engines=msgspec.json.decode(engines, type=Engines),
        writer=_maker(writer),
        painter=_maker(painter),
        avatar=avatar,
        created_at_ms=created_at_ms,
    )


def _text(maker: Maker | None) -> str | None:
    return None if maker is None else msgspec.json.encode(maker).decode()


def _maker(text: str | None) -> Maker | None:
    return None if text is None else msgspec.json.decode(text, type=Maker)


def _delete(connection: apsw.Connection, owner: str, agent: str) -> None:
    number = select_one(connection, "DELETE FROM agents WHERE agent = ? AND owner = ? RETURNING number", (agent, owner))
    if number is None:
        raise NotFound("no such agent")
    connection.execute("DELETE FROM agents_text WHERE rowid = ?", (number,))
