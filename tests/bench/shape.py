"""What a fan-out benchmark asks of a server: how many sessions say how much, and who watches them."""

import os
import sys
import time
from collections.abc import Iterator
from typing import Final

import msgspec

from protocol.events import Progress, Text, Thinking

SLOT_S: Final = 0.01  # the events of all sessions are spread over time in slots of this length
WORD: Final = "word "


class Shape(msgspec.Struct, frozen=True):
    """`hz` events a second of each session for `seconds`, or `push` events in all, as fast as they are taken."""

    name: str
    sessions: int
    connections: int
    hz: float = 0.0
    seconds: float = 0.0
    push: int = 0

    def watched(self, connection: int) -> list[str]:
        """The sessions that one connection watches: an equal share of all, or the only one."""
        return [
            session_name(n) for n in range(self.sessions) if self.sessions == 1 or n % self.connections == connection
        ]

    @property
    def deliveries(self) -> int:
        """How many events clients receive in all, when nobody misses one."""
        watchers = self.connections if self.sessions == 1 else 1
        return self.push or round(self.sessions * self.hz * self.seconds) * watchers


def session_name(number: int) -> str:
    """The id of a session in a benchmark."""
    return f"{number:020x}"


def slots(shape: Shape) -> Iterator[tuple[float, list[Progress]]]:
    """When to send what: seconds after the beginning, and the events that are then due; each tells when it was made."""
    per_round = max(1, round(1 / shape.hz / SLOT_S))
    names = [session_name(n) for n in range(shape.sessions)]
    for number in range(round(shape.seconds / SLOT_S)):
        step = number // per_round
        yield number * SLOT_S, [_progress(name, step) for name in names[number % per_round :: per_round]]


def pushes(shape: Shape) -> Iterator[Text | Thinking]:
    """Words, round robin: of one session its thoughts, which may be long, of many their text."""
    names = [session_name(n) for n in range(shape.sessions)]
    for round_ in range(shape.push // shape.sessions):
        for name in names:
            if shape.sessions == 1:
                yield Thinking(session=name, delta=WORD)
            else:
                yield Text(session=name, offset=round_ * len(WORD), path="/backstory", delta=WORD)


def _progress(session: str, step: int) -> Progress:
    return Progress(
        session=session,
        percent=33.0 + step % 60,
        stage="steps",
        basis="measured",
        message=f"at {time.monotonic():.6f}",
        step=step,
        steps=1000,
        step_s=0.1,
        eta_s=(12.5, 20.5),
    )


def asked() -> Shape:
    """The shape that this process was started with."""
    return msgspec.json.decode(sys.argv[1], type=Shape)


def ready(port: int) -> None:
    """Tell the benchmark where this process listens."""
    os.write(1, b"%d\n" % port)


def finished() -> None:
    """Tell the benchmark that all has been sent."""
    os.write(1, b"sent\n")


def wait_for_go() -> None:
    """Block until the benchmark's clients are in their places; at the end of input until it stops this process."""
    os.read(0, 1)
