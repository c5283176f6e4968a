"""Shared by the tests of the store: stores in a directory, and what a session says."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from actors.store.database import StoreLimits
from actors.store.eventlog import LogLimits, SqliteLog
from actors.store.store import Store, StoreSettings, open_store
from protocol import mail
from protocol.journal import Entry
from protocol.lifecycle import Lifecycle
from protocol.persona import Persona
from protocol.view import SessionView
from tests.helpers.fakes import ENGINES, PERSONA, PICTURE, WRITER, Recorder, record_of

QUICK = StoreSettings(writes=StoreLimits(queue=100, retry_s=0.05), log=LogLimits(cached=0, patience_s=60))


@asynccontextmanager
async def opened(
    directory: Path,
    recorder: Recorder | None = None,
    settings: StoreSettings = QUICK,
    now_s: Callable[[], float] = time.time,
) -> AsyncIterator[Store]:
    """A store in a directory, which keeps no ended session in memory unless told to."""
    async with open_store(directory, (recorder or Recorder()).publish, settings=settings, now_s=now_s) as store:
        yield store


def hatched(
    session: str = "s1", *, picture: mail.PictureStored = PICTURE, persona: Persona = PERSONA
) -> list[list[Entry]]:
    """Everything one session says from its first word to `done`, in the portions in which it says it."""
    lifecycle = Lifecycle(session, engines=ENGINES, steps=2, persona=None, now=0.0)
    letters: list[mail.AnyMail] = [
        mail.WritingBegan(),
        mail.TextGrew(path="/name", delta="Ada"),
        mail.WritingAdvanced(fraction=0.5, basis="estimated"),
        mail.PersonaRejected(reason="no, again"),
        mail.TextGrew(path="/name", delta=persona.name),
        mail.PersonaWritten(persona=persona, writer=WRITER),
        mail.DrawingBegan(steps=2),
        mail.StepFinished(step=1, steps=2),
        picture,
    ]
    return [*(lifecycle.handle(letter, 1.0) for letter in letters), lifecycle.finish(None, 2.0)]


async def say(log: SqliteLog, session: str, portions: Sequence[Sequence[Entry]]) -> None:
    """Append portions one after the other."""
    for entries in portions:
        await log.append(session, entries)


async def hatch(log: SqliteLog, session: str, *, owner: str = "ann", **said: mail.PictureStored | Persona) -> None:
    """Let one session hatch."""
    await log.create(record_of(session, owner=owner))
    await say(log, session, hatched(session, **said))  # type: ignore[arg-type]  # by name, which mypy cannot tell apart


def essence(view: SessionView) -> dict[str, object]:
    """All that a view holds."""
    return {name: getattr(view, name) for name in SessionView.__slots__}
