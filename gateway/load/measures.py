"""What the swarm counts and times while it runs; times are seconds of one clock, memory is bounded."""

from collections import Counter
from typing import Final

import msgspec

from gateway.load.distribution import Distribution
from gateway.load.invariants import Violation
from protocol.events import Event

KEPT_VIOLATIONS: Final = 8  # of each invariant are quoted, of however many are counted

LATENCIES: Final = {
    "accept": "start to `accepted`",
    "first text": "start to the first character",
    "text age": "simulated writer to client, by the time that it writes into its text",
    "progress age": "simulated painter to client, by the time in its last message",
    "progress gap": "between two progress messages of a hatch that is drawn",
    "cancel": "cancel to its answer",
    "receipt": "cancel to `end` with its receipt",
    "sweep": "the same for all that still ran at last, which are cancelled at once",
    "end": "start to `end`",
    "overhead": "start to `end`, beyond what the receipt says the hatch took",
    "round trip": "`ping` to `pong`, on a connection of its own",
    "connect": "TCP, handshake and `hello` to `welcome`",
}

SERIES: Final = frozenset({"text age", "round trip"})  # are also looked at second by second


class Measures:
    """Everything that is counted; `sessions` and `connections` by what became of them."""

    def __init__(self) -> None:
        self.frames = 0
        self.bytes = 0
        self.messages: Counter[type[Event]] = Counter()
        self.sessions: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()  # by error code
        self.connections: Counter[str] = Counter()
        self.closes: Counter[str] = Counter()  # by the gateway, by code
        self.audited = 0
        self.times = {name: Distribution() for name in LATENCIES}
        self.recent: dict[str, Distribution] = {}  # the same, since the latest sample
        self.broken: Counter[str] = Counter()  # by invariant
        self.violations: list[Violation] = []
        self.running = 0
        self.running_at_most = 0

    def time(self, what: str, seconds: float) -> None:
        """Note how long something took."""
        self.times[what].add(seconds)
        if what in SERIES:
            self.recent.setdefault(what, Distribution()).add(seconds)

    def violate(self, violation: Violation) -> None:
        """Count a broken promise, and keep the first of them."""
        self.broken[violation.invariant] += 1
        if self.broken[violation.invariant] <= KEPT_VIOLATIONS:
            self.violations.append(violation)

    def began(self) -> None:
        """A hatch is started."""
        self.sessions["started"] += 1
        self.running += 1
        self.running_at_most = max(self.running, self.running_at_most)

    def ended(self, outcome: str) -> None:
        """A hatch is over, in one way or another."""
        self.sessions[outcome] += 1
        self.running -= 1


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One second of the run; rates are per second, `…_share` of one core, ages and lags milliseconds."""

    at_s: float
    running: int
    messages: float
    frames: float
    bytes: float
    text_age_ms: float | None = None
    round_trip_ms: float | None = None
    loop_lag_ms: float | None = None
    server_share: float | None = None
    server_mib: float | None = None
    tool_share: float | None = None
    tool_lag_ms: float = 0.0
