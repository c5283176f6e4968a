"""The swarm: members on their connections, hatches that arrive, are cancelled and make room for the next, to an end."""

import heapq
import itertools
from collections.abc import Callable
from random import Random
from typing import Final

import trio

from gateway.load.invariants import Testimony
from gateway.load.line import Address
from gateway.load.measures import Measures
from gateway.load.member import Hatch, Member
from gateway.load.plan import arrivals, leaves, plan_hatch, plan_members
from gateway.load.profile import Profile

TICK_S: Final = 0.01
CONNECTING: Final = 50  # members that connect at a time
CONNECT_S: Final = 60.0
AGAIN_S: Final = 1.0  # until the next start after one that was refused
KEPT_SESSIONS: Final = 4000  # the latest that have ended are audited


class Agenda:
    """What is to be done when; `due` gives out what is over, in order of time."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Do something at a time in seconds."""
        heapq.heappush(self._heap, (when, next(self._count), what))

    def due(self, now: float) -> list[Callable[[], None]]:
        """What is to be done by now."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap)[2])
        return found


class Swarm:
    """A profile under way; `testimonies` are by session, `phase` says what it does."""

    def __init__(self, profile: Profile, address: Address, measures: Measures, run: str) -> None:
        self.testimonies: dict[str, list[Testimony]] = {}
        self.phase = "connecting"
        self._profile = profile
        self._measures = measures
        self._run = run
        self._agenda = Agenda()
        self._random = Random(f"{profile.seed}/swarm")
        self._members = [
            Member(plan, leaves(profile, plan.number), address, measures, self) for plan in plan_members(profile)
        ]
        self._free = [member for member in self._members for _ in range(profile.sessions_per_connection)]
        self._random.shuffle(self._free)
        self._running: dict[Hatch, Member] = {}
        self._started = 0
        self._closes_at = 0.0  # no more starts from then on

    async def connect(self, nursery: trio.Nursery) -> None:
        """Bring all members to their places, where they stay until the nursery is cancelled."""
        with trio.move_on_after(CONNECT_S):
            for batch in range(0, len(self._members), CONNECTING):
                members = self._members[batch : batch + CONNECTING]
                for member in members:
                    nursery.start_soon(member.run)
                for member in members:
                    await member.connected.wait()

    async def play(self) -> None:
        """Do what the profile says; what has then not been answered or not ended is a violation."""
        profile, now = self._profile, trio.current_time()
        self._closes_at = now + profile.duration_s
        for after_s in arrivals(profile):
            self._agenda.at(now + after_s, self._arrive)
        self.phase = "running"
        await self._work(0.0, idle=lambda: self._started >= profile.sessions and not self._running)
        self.phase = "finishing"
        for member in self._members:
            member.hurry()  # or slow readers would be told of ends long after them
        await self._work(profile.finish_s / 2, idle=self._is_idle)
        for hatch, member in self._running.items():
            member.cancel(hatch, swept=True)
        await self._work(profile.finish_s, idle=self._is_idle)
        for member in self._members:
            for violation in member.unanswered():
                self._measures.violate(violation)
        for _ in self._running:
            self._measures.ended("unfinished")

    def close(self) -> None:
        """Start no more hatches."""
        self._closes_at = min(self._closes_at, trio.current_time())

    async def _work(self, after_s: float, *, idle: Callable[[], bool]) -> None:
        """Do what is due until so long after the last start, or until there is nothing to wait for."""
        while trio.current_time() < self._closes_at + after_s and not idle():
            for what in self._agenda.due(trio.current_time()):
                what()
            await trio.sleep(TICK_S)

    def _is_idle(self) -> bool:
        return not self._running and not any(member.waits for member in self._members)

    def _arrive(self) -> None:
        """A hatch begins, where there is room for it."""
        now = trio.current_time()
        if now >= self._closes_at or self._started >= self._profile.sessions:
            return
        if not self._free:
            self._measures.sessions["turned away"] += 1
            return
        member = self._free.pop()
        hatch = Hatch(plan_hatch(self._profile, self._started), f"{self._run}-{self._started}", now)
        self._started += 1
        self._running[hatch] = member
        self._measures.began()
        member.start(hatch)
        if hatch.plan.cancel_after_s is not None:
            self._agenda.at(now + hatch.plan.cancel_after_s, lambda: member.cancel(hatch))

    # --- what members report

    def accepted(self, member: Member, hatch: Hatch) -> None:
        """See Audience."""
        wanted = min(self._profile.watchers, len(self._members) - 1)
        chosen = self._random.sample(self._members, wanted + 1 if wanted else 0)
        for other in [other for other in chosen if other is not member][:wanted]:
            other.watch(hatch.session)

    def over(self, member: Member, hatch: Hatch) -> None:
        """See Audience."""
        del self._running[hatch]
        self._free.append(member)
        if self._profile.arrival != "poisson":
            pause_s = 0.0 if hatch.accepted else AGAIN_S
            self._agenda.at(trio.current_time() + pause_s, self._arrive)

    def testify(self, testimony: Testimony) -> None:
        """See Audience."""
        self.testimonies.setdefault(testimony.session, []).append(testimony)
        if len(self.testimonies) > KEPT_SESSIONS:
            del self.testimonies[next(iter(self.testimonies))]
