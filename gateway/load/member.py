"""One connection of the swarm: it starts, cancels and watches as it is told, leaves and comes back as planned."""

import re
import time
from collections.abc import Iterator
from typing import Final, Protocol

import trio
import trio_websocket

from gateway.load.invariants import Invariant, Testimony, Violation, Witness
from gateway.load.line import Address, Line, Refused, Unreadable, open_line
from gateway.load.measures import Measures
from gateway.load.plan import HatchPlan, Leave, MemberPlan
from protocol.commands import Cancel, Command, HatchRequest, Hello, ImageOptions, Start, Watch
from protocol.events import (
    Accepted,
    End,
    Error,
    Event,
    GoingAway,
    Ok,
    Pong,
    Progress,
    ServerMessage,
    SessionEvent,
    Sessions,
    Snapshot,
    Text,
    Welcome,
)

ATTEMPTS: Final = 8  # to connect, one after the other
BACKOFF_S: Final = 0.25
MAY_CLOSE: Final = frozenset({1001, 1012, 1013})  # by a gateway that goes away, whoever reads
SLOW_CLOSES: Final = frozenset({4000, 4001})  # what a slow reader has to expect
KEPT_PAST: Final = 64  # sessions that have ended, to notice what is said of them afterwards
STAMP: Final = re.compile(r"@(\d{13})")
STAMP_RANGE_S: Final = 60.0  # what is older was not written by this clock


class Hatch:
    """One hatch of the swarm, as its starter sees it; times are seconds, `nan` for not yet."""

    __slots__ = ("accepted", "asked_at", "cancelled_at", "is_over", "key", "plan", "session", "swept", "told_text")

    def __init__(self, plan: HatchPlan, key: str, now: float) -> None:
        self.plan = plan
        self.key = key
        self.asked_at = now
        self.session = ""
        self.accepted = False
        self.cancelled_at: float | None = None
        self.swept = False  # cancelled together with all that ran at last
        self.told_text = False
        self.is_over = False


class Audience(Protocol):
    """What a member reports to."""

    def accepted(self, member: "Member", hatch: Hatch) -> None:
        """A hatch has its session: others may watch it."""

    def over(self, member: "Member", hatch: Hatch) -> None:
        """A hatch has ended, or was refused: its place is free."""

    def testify(self, testimony: Testimony) -> None:
        """A session has ended, as one client was told."""


class _Asked:
    """A request that has not been answered; `again` if it was sent on an earlier connection too."""

    __slots__ = ("again", "command", "hatch", "sent_at")

    def __init__(self, command: Command, hatch: Hatch | None, now: float) -> None:
        self.command = command
        self.hatch = hatch
        self.sent_at = now
        self.again = False


class Member:
    """A client with its requests and its attachments, through all of its connections."""

    def __init__(
        self, plan: MemberPlan, leaves: Iterator[Leave], address: Address, measures: Measures, audience: Audience
    ) -> None:
        self.plan = plan
        self.connected = trio.Event()
        self._leaves = leaves
        self._pause_s = plan.pause_s
        self._address = address
        self._measures = measures
        self._audience = audience
        self._line: Line | None = None
        self._asked: dict[int, _Asked] = {}
        self._next_id = 1
        self._hatches: dict[str, Hatch] = {}  # by session
        self._witnesses: dict[str, Witness] = {}  # of sessions that have not ended
        self._past: dict[str, Witness] = {}  # the latest that have
        self._hundreds: list[Witness] = []  # told 100 % in this frame
        self._progress_at: dict[str, float] = {}
        self._steady = not plan.pause_s and not plan.leaves  # fit to be timed

    @property
    def waits(self) -> bool:
        """Whether something is still to be told: an answer or an end."""
        return bool(self._asked or self._witnesses)

    # --- what it is told to do

    def start(self, hatch: Hatch) -> None:
        """Ask for a hatch."""
        request = HatchRequest(prompt=f"load {hatch.plan.number}", image=ImageOptions(seed=hatch.plan.seed))
        self._ask(Start(id=self._next_id, key=hatch.key, hatch=request), hatch)

    def cancel(self, hatch: Hatch, *, swept: bool = False) -> None:
        """Ask for the end of a hatch: by its session, or by its key if that is all there is."""
        if hatch.is_over or hatch.cancelled_at is not None:
            return
        hatch.swept = swept
        hatch.cancelled_at = trio.current_time()
        if hatch.accepted:
            self._ask(Cancel(id=self._next_id, session=hatch.session), hatch)
        else:
            self._ask(Cancel(id=self._next_id, key=hatch.key), hatch)

    def watch(self, session: str) -> None:
        """Watch what another member has started."""
        self._witnesses[session] = Witness(session)
        self._ask(Watch(id=self._next_id, session=session), None)

    def hurry(self) -> None:
        """Read as fast as it can from now on."""
        self._pause_s = 0.0

    def unanswered(self) -> Iterator[Violation]:
        """What it still waits for, once the time is up."""
        for asked in self._asked.values():
            session = asked.hatch.session if asked.hatch else ""
            yield Violation("answer", session, f"none to {_name(asked.command)}")
        for session in self._witnesses:
            yield Violation("one-end", session, f"none on connection {self.plan.number}")

    def _ask(self, command: Command, hatch: Hatch | None) -> None:
        self._asked[self._next_id] = _Asked(command, hatch, trio.current_time())
        self._next_id += 1
        if self._line is not None:
            self._line.post(command)

    # --- its connections

    async def run(self) -> None:
        """Be connected until cancelled; gives up, with a violation, when no connection can be made any more."""
        failures, why, away_s = 0, "", BACKOFF_S
        while failures < ATTEMPTS:
            leave = next(self._leaves) if self.plan.leaves else None
            began = trio.current_time()
            try:
                async with open_line(self._address, self.plan.codec, slow=bool(self.plan.pause_s)) as line:
                    away_s = await self._converse(line, leave, began)
                failures = 0
            except Refused as refusal:
                failures += 1
                away_s = BACKOFF_S * 2**failures
                why = str(refusal)
            await trio.sleep(away_s)
        self._measures.violate(Violation("connection", "", f"connection {self.plan.number}: {why}"))
        self.connected.set()

    async def _converse(self, line: Line, leave: Leave | None, began: float) -> float:
        """Talk until one side leaves; returns for how many seconds to be away."""
        hello = Hello(
            id=0,
            token=self._address.token or None,
            client="hatchery load",
            resume=[witness.cursor for witness in self._witnesses.values()],
        )
        self._asked = {id_: asked for id_, asked in self._asked.items() if not isinstance(asked.command, Watch)}
        line.post(hello)  # its cursors are as good as a watch
        with trio.CancelScope() as stay:
            try:
                await self._listen(line, leave, began, stay)
            except Unreadable as error:
                self._measures.violate(Violation("unreadable", "", str(error)))
            except trio_websocket.ConnectionClosed:
                self._lost(line.close_code)
            finally:
                self._line = None
                for witness in self._witnesses.values():
                    witness.detached()
                self._progress_at.clear()
        if not stay.cancelled_caught or leave is None:
            return BACKOFF_S
        self._measures.connections["dropped" if leave.abrupt else "left"] += 1
        if leave.abrupt:
            await line.reset()
        return leave.away_s

    async def _listen(self, line: Line, leave: Leave | None, began: float, stay: trio.CancelScope) -> None:
        measures = self._measures
        while True:
            frame = await line.receive()
            now = trio.current_time()
            measures.frames += 1
            measures.bytes += line.frame_bytes
            for message in frame:
                if isinstance(message, Welcome):
                    self._welcomed(line, message, now - began)
                    if leave is not None:
                        stay.deadline = now + leave.after_s
                else:
                    self._hear(message, now)
            self._settle()
            if self._pause_s:
                await trio.sleep(self._pause_s)

    def _welcomed(self, line: Line, welcome: Welcome, took_s: float) -> None:
        self._measures.messages[Welcome] += 1
        self._measures.connections["made"] += 1
        self._measures.time("connect", took_s)
        for resumed in welcome.resumed:
            if resumed.result == "current":
                self._witnesses[resumed.session].attached = True
            elif resumed.result == "gone":
                self._violate("snapshot", resumed.session, "gone when it was to be resumed")
        for asked in self._asked.values():
            asked.again = asked.again or self.connected.is_set()
        line.post(*(asked.command for asked in self._asked.values()))
        self._line = line
        self.connected.set()

    def _lost(self, code: int) -> None:
        """The gateway has closed the connection."""
        self._measures.closes[str(code)] += 1
        self._measures.connections["lost"] += 1
        expected = code in MAY_CLOSE or (self.plan.pause_s and code in SLOW_CLOSES)
        if not expected:
            self._violate("connection", "", f"connection {self.plan.number} was closed with {code}")

    # --- what it hears

    def _hear(self, message: ServerMessage, now: float) -> None:
        self._measures.messages[type(message)] += 1
        match message:
            case Accepted() | Ok() | Error() | Pong() | Sessions():
                self._take_answer(message, now)
            case Welcome() | GoingAway():
                pass
            case _:
                if isinstance(message, Snapshot) and isinstance(message.id, int):
                    self._take_answer(message, now)
                self._take_event(message, now)

    def _take_answer(self, message: Accepted | Ok | Error | Pong | Sessions | Snapshot, now: float) -> None:
        asked = self._asked.pop(message.id, None) if isinstance(message.id, int) else None
        if asked is None:
            self._violate("answer", "", f"{_name(message)} to {message.id!r}, which was not asked or is answered")
            return
        took_s = now - asked.sent_at if self._steady and not asked.again else None
        match asked.command, message:
            case Start(), Accepted() if asked.hatch is not None:
                self._time("accept", took_s)
                self._accepted(asked.hatch, message, again=asked.again)
            case Start(), Error(code=code) if asked.hatch is not None:
                self._measures.refusals[code] += 1
                self._over(asked.hatch, "refused")
            case Cancel(), Ok():
                if asked.hatch is not None and not asked.hatch.swept:
                    self._time("cancel", took_s)
            case Watch(), Snapshot():
                pass
            case _, Error(code=code, retryable=True):
                self._measures.refusals[code] += 1
            case command, _:
                detail = f"{_name(command)} was answered by {_name(message)} {getattr(message, 'code', '')}"
                self._violate("answer", asked.hatch.session if asked.hatch else "", detail)

    def _accepted(self, hatch: Hatch, accepted: Accepted, *, again: bool) -> None:
        if accepted.existing and not again:
            self._violate("answer", accepted.session, "a hatch that was asked for once exists already")
        hatch.session, hatch.accepted = accepted.session, True
        self._hatches[hatch.session] = hatch
        self._witnesses[hatch.session] = Witness(hatch.session)
        self._audience.accepted(self, hatch)

    def _take_event(self, message: SessionEvent | Snapshot, now: float) -> None:
        witness = self._witnesses.get(message.session) or self._past.get(message.session)
        if witness is None:
            self._violate("snapshot", message.session, f"{_name(message)} of a session that is not watched")
            return
        for violation in witness.hear(message):
            self._measures.violate(violation)
        if isinstance(message, Progress):
            if message.percent >= 100:
                self._hundreds.append(witness)
            self._time_progress(message, now)
        elif isinstance(message, Text):
            self._time_text(message, now)
        if witness.testimony is not None and message.session in self._witnesses:
            self._ended(witness, witness.testimony, message, now)

    def _ended(self, witness: Witness, testimony: Testimony, message: SessionEvent | Snapshot, now: float) -> None:
        session = testimony.session
        self._past[session] = self._witnesses.pop(session)
        if len(self._past) > KEPT_PAST:
            del self._past[next(iter(self._past))]
        self._progress_at.pop(session, None)
        self._audience.testify(testimony)
        hatch = self._hatches.pop(session, None)
        if hatch is None:
            return
        if self._steady and isinstance(message, End):
            self._time("end", now - hatch.asked_at)
            self._time("overhead", max(0.0, now - hatch.asked_at - message.receipt.total_ms / 1000))
            if hatch.cancelled_at is not None and testimony.outcome == "cancelled":
                self._time("sweep" if hatch.swept else "receipt", now - hatch.cancelled_at)
        self._over(hatch, testimony.outcome)

    def _over(self, hatch: Hatch, outcome: str) -> None:
        hatch.is_over = True
        self._measures.ended(outcome)
        self._audience.over(self, hatch)

    def _settle(self) -> None:
        """The frame is over."""
        for witness in self._hundreds:
            for violation in witness.settle():
                self._measures.violate(violation)
        self._hundreds.clear()

    # --- what it times

    def _time(self, what: str, seconds: float | None) -> None:
        if seconds is not None:
            self._measures.time(what, seconds)

    def _time_text(self, text: Text, now: float) -> None:
        if not self._steady:
            return
        hatch = self._hatches.get(text.session)
        if hatch is not None and not hatch.told_text:
            hatch.told_text = True
            self._time("first text", now - hatch.asked_at)
        if "@" in text.delta:
            self._time_stamps("text age", text.delta)

    def _time_progress(self, progress: Progress, now: float) -> None:
        if not self._steady:
            return
        if "@" in progress.message:
            self._time_stamps("progress age", progress.message)
        if progress.stage == "steps":
            before = self._progress_at.get(progress.session)
            self._progress_at[progress.session] = now
            if before is not None:
                self._time("progress gap", now - before)

    def _time_stamps(self, what: str, text: str) -> None:
        now_ms = time.time() * 1000
        for stamp in STAMP.findall(text):
            age_s = (now_ms - int(stamp)) / 1000
            if -1 < age_s < STAMP_RANGE_S:
                self._time(what, max(age_s, 0.0))

    def _violate(self, invariant: Invariant, session: str, detail: str) -> None:
        self._measures.violate(Violation(invariant, session, detail))


def _name(message: Event | Command) -> str:
    return str(message.__struct_config__.tag)
