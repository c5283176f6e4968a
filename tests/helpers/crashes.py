"""A gateway that dies and comes back on the same data directory, and a client that goes on where it was."""

import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import trio
import websockets.exceptions

from protocol.events import (
    Accepted,
    Artifact,
    End,
    Error,
    Ok,
    PersonaReady,
    Reliable,
    ServerMessage,
    Snapshot,
    State,
    Text,
    Welcome,
)
from tests.helpers.children import Child, hatchery
from tests.helpers.wire import Closed, Message, open_wire

LOST: Final = (OSError, Closed, websockets.exceptions.WebSocketException)
RETRY_S: Final = 0.05


class Site:
    """One data directory, and where the gateway that works on it now can be reached."""

    def __init__(
        self, directory: Path, environ: Mapping[str, str], *arguments: str, within: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.url = ""
        self._environ = environ
        self._arguments = arguments
        self._within = within

    async def run(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        task_status: trio.TaskStatus[Child] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """A gateway until it ends; started when it listens."""
        command: tuple[str | Path, ...] = ("serve", "--port", "0", "--data", self.data, *self._arguments)
        environ = {**self._environ, **(environ or {})}
        async with hatchery(*command, cwd=self.directory, environ=environ, within=self._within) as child:
            self.url = (await child.until("listens at")).split()[3]
            task_status.started(child)
            await child.ended(within_s=300)


async def stop(child: Child, number: signal.Signals) -> int:
    """Send a signal and return the exit code."""
    child.process.send_signal(number)
    return await child.ended()


class Ledger:
    """All that one client was told, over all its connections."""

    def __init__(self) -> None:
        self.heard: list[ServerMessage] = []
        self.sessions: dict[str, str] = {}  # by key
        self.resumed: list[str] = []  # results, one for each cursor ever sent

    def note(self, heard: list[ServerMessage]) -> None:
        """What one more connection has brought."""
        self.heard += heard
        for message in heard:
            match message:
                case Accepted(id=str(key), session=session):
                    assert self.sessions.setdefault(key, session) == session, "one session a key"
                case Welcome(resumed=resumed):
                    self.resumed += [one.result for one in resumed]
                case Error(retryable=False):
                    raise AssertionError(message)
                case _:
                    pass

    def of(self, session: str) -> list[ServerMessage]:
        """What was said of a session, answers aside."""
        return [
            message
            for message in self.heard
            if getattr(message, "session", None) == session and not isinstance(message, Accepted | Ok | Error)
        ]

    def reliable(self, session: str) -> list[Reliable]:
        """Its reliable messages, in the order in which they came."""
        return [m for m in self.of(session) if isinstance(m, State | PersonaReady | Artifact | End)]

    def end(self, session: str) -> End | None:
        """How it ended, as far as this client knows."""
        for message in self.of(session):
            if isinstance(message, End):
                return message
            if isinstance(message, Snapshot) and isinstance(message.end, End):
                return message.end
        return None

    def artifacts(self, session: str) -> list[Artifact]:
        """Every picture that it was shown, also those in snapshots."""
        said = self.of(session)
        snapshots = [artifact for m in said if isinstance(m, Snapshot) for artifact in m.artifacts]
        return [*snapshots, *(m for m in said if isinstance(m, Artifact))]

    def cursor(self, session: str) -> Message | None:
        """Where it stands, as `hello.resume` wants it; None before the first snapshot."""
        at: Message | None = None
        for message in self.of(session):
            match message:
                case Snapshot(epoch=epoch, seq=seq, offset=offset):
                    at = {"session": session, "epoch": epoch, "seq": seq, "offset": offset}
                case State(seq=seq) | PersonaReady(seq=seq) | Artifact(seq=seq) | End(seq=seq) if at:
                    at["seq"] = seq
                case Text(offset=offset, delta=delta) if at:
                    at["offset"] = offset + len(delta)
                case _:
                    pass
        return at

    def cursors(self, sessions: Iterable[str]) -> list[Message]:
        """Those of the sessions of which it has seen anything."""
        return [cursor for session in sessions if (cursor := self.cursor(session)) is not None]

    def snapshot(self, session: str, *, since: int = 0) -> Snapshot | None:
        """The first snapshot among all that was heard after so many messages."""
        told = (m for m in self.heard[since:] if isinstance(m, Snapshot) and m.session == session)
        return next(told, None)


class Persistent:
    """A client that wants its hatches, one for each key, and reconnects until all of them have ended."""

    def __init__(self, site: Site, hatches: Mapping[str, Message]) -> None:
        self.ledger = Ledger()
        self._site = site
        self._hatches = hatches

    async def run(self) -> None:
        """Until every hatch has ended, as far as this client was told."""
        while not self.is_content:
            try:
                await self._visit()
            except BaseExceptionGroup as group:
                _, others = group.split(LOST)
                if others is not None:
                    raise
            except LOST:
                pass
            await trio.sleep(RETRY_S)  # polls: nobody tells a client that a gateway is back

    @property
    def is_content(self) -> bool:
        """Whether it has seen the end of everything that it wants."""
        sessions = self.ledger.sessions
        return sessions.keys() == self._hatches.keys() and all(
            self.ledger.end(session) for session in sessions.values()
        )

    async def _visit(self) -> None:
        wanted = [key for key in self._hatches if key not in self.ledger.sessions]
        running = [session for session in self.ledger.sessions.values() if self.ledger.end(session) is None]
        async with open_wire(self._site.url, greet=False) as wire:
            try:
                await wire.ask("hello", resume=self.ledger.cursors(running))
                await wire.send(
                    *({"type": "start", "id": key, "key": key, "hatch": self._hatches[key]} for key in wanted)
                )
                answers = [await wire.answer(key) for key in wanted]
                started = [answer["session"] for answer in answers if answer["type"] == "accepted"]
                for session in (*running, *started):
                    await wire.end(session)
            finally:
                self.ledger.note(wire.typed())
