"""A connection beside the swarm: it times pings while that runs, and asks at last what became of its sessions."""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio
import trio_websocket

from gateway.load.invariants import Testimony, Violation, audit
from gateway.load.line import Address, Line, Refused, Unreadable, open_line
from gateway.load.measures import Measures
from protocol.codec import Codec
from protocol.commands import Command, Hello, Ping, Watch
from protocol.events import Error, ServerMessage, Snapshot, Welcome

PING_S: Final = 0.1
ANSWER_S: Final = 10.0
AUDIT_S: Final = 60.0
BATCH: Final = 50  # sessions that are asked for at a time


class NoAnswer(Exception):
    """The gateway has hung up, or said nothing in time, or refused; the message says which."""


class Probe:
    """A connection that asks and waits for the answer; `welcome` is what the gateway said of itself."""

    def __init__(self, line: Line) -> None:
        self.welcome: Welcome
        self._line = line
        self._heard: deque[ServerMessage] = deque()

    async def greet(self, token: str) -> None:
        """Say `hello`. Raises NoAnswer."""
        answer = await self.ask(Hello(id=0, token=token or None, client="hatchery load"))
        if not isinstance(answer, Welcome):
            raise NoAnswer(answer.message if isinstance(answer, Error) else "it does not answer `hello` by `welcome`")
        self.welcome = answer

    async def ask(self, *commands: Command) -> ServerMessage:
        """The answer to the first of these commands. Raises NoAnswer."""
        self._line.post(*commands)
        return await self.answer()

    async def answer(self) -> ServerMessage:
        """The next message that has an id. Raises NoAnswer."""
        try:
            with trio.fail_after(ANSWER_S):
                while True:
                    while self._heard:
                        message = self._heard.popleft()
                        if isinstance(getattr(message, "id", None), int):
                            return message
                    self._heard += await self._line.receive()
        except trio.TooSlowError:
            raise NoAnswer(f"it did not answer within {ANSWER_S:g} s") from None
        except trio_websocket.ConnectionClosed:
            raise NoAnswer(f"it closed the connection with {self._line.close_code}") from None
        except Unreadable as error:
            raise NoAnswer(f"its answer cannot be read: {error}") from error


@asynccontextmanager
async def open_probe(address: Address) -> AsyncIterator[Probe]:
    """A probe that has been let in. Raises Refused or NoAnswer; the block must not raise."""
    refusal: NoAnswer | None = None
    async with open_line(address, Codec.JSON) as line:
        probe = Probe(line)
        try:
            await probe.greet(address.token)
        except NoAnswer as error:
            refusal = error
        else:
            yield probe
    if refusal is not None:
        raise refusal


async def greet(address: Address) -> Welcome:
    """What a gateway says of itself. Raises Refused or NoAnswer."""
    async with open_probe(address) as probe:
        return probe.welcome


async def time_pings(address: Address, measures: Measures) -> None:
    """Ping until cancelled, or until no answer comes: then the swarm's own connections will tell."""
    try:
        async with open_probe(address) as probe:
            await _time_pings(probe, measures)
    except (Refused, NoAnswer):
        return


async def _time_pings(probe: Probe, measures: Measures) -> None:
    try:
        for number in range(1, 1 << 53):
            asked_at = trio.current_time()
            await probe.ask(Ping(id=number))
            measures.time("round trip", trio.current_time() - asked_at)
            await trio.sleep(PING_S)
    except NoAnswer:
        return


async def audit_sessions(address: Address, testimonies: Mapping[str, Sequence[Testimony]], measures: Measures) -> None:
    """Compare what clients were told of sessions with what the gateway, asked now, says of them."""
    try:
        with trio.move_on_after(AUDIT_S) as scope:
            async with open_probe(address) as probe:
                await _audit(probe, testimonies, measures)
        if scope.cancelled_caught:
            measures.violate(Violation("audit", "", f"not over after {AUDIT_S:g} s"))
    except (Refused, NoAnswer) as error:
        measures.violate(Violation("audit", "", f"the gateway could not be asked: {error}"))


async def _audit(probe: Probe, testimonies: Mapping[str, Sequence[Testimony]], measures: Measures) -> None:
    sessions = list(testimonies)
    try:
        for at in range(0, len(sessions), BATCH):
            batch = sessions[at : at + BATCH]
            answer = await probe.ask(*(Watch(id=number, session=session) for number, session in enumerate(batch)))
            for number in range(len(batch)):
                _compare(answer, batch, testimonies, measures)
                if number + 1 < len(batch):
                    answer = await probe.answer()
    except NoAnswer as error:
        measures.violate(Violation("audit", "", str(error)))


def _compare(
    answer: ServerMessage, batch: Sequence[str], testimonies: Mapping[str, Sequence[Testimony]], measures: Measures
) -> None:
    match answer:
        case Snapshot(id=int(number), session=session) if 0 <= number < len(batch) and batch[number] == session:
            measures.audited += 1
            for testimony in testimonies[session]:
                for violation in audit(testimony, answer):
                    measures.violate(violation)
        case Error(id=int(number), code=code) if 0 <= number < len(batch):
            measures.violate(Violation("audit", batch[number], f"asked at last: {code}"))
        case _:
            measures.violate(Violation("audit", "", "a watch was answered by something else"))
