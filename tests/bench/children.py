"""Children of a benchmark's gateway: their command lines, and hatches that have come as far as drawing."""

import shlex
import sys
from collections.abc import Sequence
from typing import Final

from protocol.events import Progress
from tests.bench import ticking_child
from tests.bench.line import DRAWN, Line
from tests.bench.server import ELSEWHERE

TICKING: Final = ELSEWHERE + shlex.join([sys.executable, "-S", "-E", "-I", ticking_child.__file__])
DEMO: Final = ELSEWHERE + shlex.join([sys.executable, "-m", "actors.mflux.demo_renderer"])


def draw(line: Line, count: int) -> list[str]:
    """Start hatches with a given persona; returns their sessions once a step of each was seen."""
    sessions = line.start(DRAWN, count)
    wait_for_steps(line, sessions)
    return sessions


def wait_for_steps(line: Line, sessions: Sequence[str]) -> None:
    """Listen until a step of each session was seen."""
    waiting = set(sessions)
    for message in line.hear_out():
        if isinstance(message, Progress) and message.step:
            waiting.discard(message.session)
            if not waiting:
                return
