"""What a gateway does in numbers, for Prometheus: counted from published entries, gauged when somebody asks."""

import math
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, get_args

import prometheus_client
import trio
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from actors.hatch import Workshop
from gateway.live.hub import Hub
from gateway.live.ticker import Ticker
from gateway.tally import TallyHistogram
from protocol.commands import StateName
from protocol.events import End, Progress, Stage, State
from protocol.journal import Entry, EpochBegun
from protocol.lifecycle import TERMINAL
from protocol.outbox import Drop
from protocol.view import SessionView

LOOP_S: Final = 0.1  # between two looks at how late the event loop is
LOOP_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
STEP_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
CANCEL_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0)
ETA_BUCKETS: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
DRAWING: Final[frozenset[Stage]] = frozenset({"downloading", "loading", "encoding", "steps", "decoding", "saving"})
RUNNING: Final = tuple(state for state in get_args(StateName) if state not in TERMINAL)
CODES: Final = frozenset({1000, 1001, 1002, 1003, 1006, 1007, 1009, 1011, 1012, 1013})  # clients may say any other
OWN_CODES: Final = frozenset({4000, 4001, 4003, *range(4500, 4506)})


_Values = dict[tuple[str, ...], float]  # by label values


class _Course:
    """What is remembered of a running hatch; times are seconds of trio's clock."""

    __slots__ = ("attempt", "ends_p50", "ends_p90", "since", "state", "step", "told_at")

    def __init__(self, view: SessionView, now: float) -> None:
        self.state = view.state
        self.since = now
        self.attempt = view.attempt
        self.step = 0
        self.forget_eta()

    def forget_eta(self) -> None:
        self.told_at = self.ends_p50 = self.ends_p90 = math.nan  # of the first estimate of the drawing


class Metrics:
    """One gateway's numbers, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._courses: dict[str, _Course] = {}
        self._handlers: dict[type, Callable[[_Course, Any], None]] = {
            State: self._on_state,
            Progress: self._on_progress,
            EpochBegun: self._on_epoch,
            End: self._on_end,
        }
        self._ends = self._counter(
            "hatches_ended", "Hatches that have ended, by outcome and error code", "outcome", "code"
        )
        self._restarts = self._counter("restarts", "Attempts after the first, by who failed", "actor")
        self._closes = self._counter("websocket_closes", "WebSockets that were closed, by code", "code")
        self._drops = self._counter(
            "outbox_drops", "What slow clients lost: previews, progress, all for a snapshot", "kind"
        )
        self._steps = TallyHistogram("hatchery_step_seconds", "Time of one step of a picture", STEP_BUCKETS)
        self.registry.register(self._steps)
        self._cancels = self._histogram("cancel_latency_seconds", "From a cancel to its end", CANCEL_BUCKETS)
        self._eta_errors = self._histogram(
            "eta_error_ratio", "How far the first estimate of a drawing was off, as a share of the truth", ETA_BUCKETS
        )
        self._etas = self._counter("etas", "Drawings whose first estimate could be compared with the truth")
        self._late = self._counter("etas_exceeded", "Those of them that took longer than its p90")
        self._lag = self._histogram("loop_lag_seconds", "How late the event loop is, ten times a second", LOOP_BUCKETS)

    def hear(self, view: SessionView, entries: Sequence[Entry]) -> None:
        """Count what a session has said; most of it, such as text, costs a look into one table."""
        for entry in entries:
            handler = self._handlers.get(type(entry))
            if handler is not None:
                course = self._courses.get(view.session)
                if course is None:
                    course = self._courses[view.session] = _Course(view, trio.current_time())
                    if isinstance(entry, EpochBegun):  # an earlier process has left it
                        self._restarts.labels("gateway").inc()
                handler(course, entry)

    def count_close(self, code: int) -> None:
        """A WebSocket was closed; codes that only a client can have made up are counted as one."""
        self._closes.labels(str(code) if code in CODES or code in OWN_CODES else "other").inc()

    def count_drop(self, kind: Drop) -> None:
        """A slow client lost something."""
        self._drops.labels(kind).inc()

    def watch_loop(self, ticker: Ticker) -> None:
        """Measure how late the ticker's callbacks come, for as long as it runs."""
        due = trio.current_time() + LOOP_S

        def look() -> None:
            self._lag.observe(max(0.0, trio.current_time() - due))
            self.watch_loop(ticker)

        ticker.at(due, look)

    def watch(self, hub: Hub, workshop: Workshop) -> None:
        """Gauge these whenever the numbers are asked for, and count what clients of the hub lose from now on."""
        hub.on_drop = self.count_drop
        self.registry.register(_Gauges(self._courses, hub, workshop))

    def routes(self) -> list[Route]:
        """`/metrics`, for a Starlette application."""
        return [Route("/metrics", self._expose, methods=["GET"])]

    async def _expose(self, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.registry), headers={"content-type": content_type})

    # --- what sessions say

    def _on_state(self, course: _Course, entry: State) -> None:
        course.state, course.since = entry.state, trio.current_time()

    def _on_progress(self, course: _Course, entry: Progress) -> None:
        if math.isnan(course.told_at) and entry.eta_s is not None and entry.stage in DRAWING:
            course.told_at = trio.current_time()
            course.ends_p50, course.ends_p90 = (course.told_at + seconds for seconds in entry.eta_s)
        if entry.stage != "steps" or entry.step is None or entry.step <= course.step:
            return
        course.step = entry.step
        if entry.step_s is not None:
            self._steps.observe(entry.step_s)

    def _on_epoch(self, course: _Course, entry: EpochBegun) -> None:
        if entry.attempt > course.attempt:
            self._restarts.labels("mflux" if entry.keeps_persona else "llm").inc()
        course.attempt, course.step = entry.attempt, 0
        course.forget_eta()
        course.state, course.since = entry.state, trio.current_time()

    def _on_end(self, course: _Course, entry: End) -> None:
        del self._courses[entry.session]
        self._ends.labels(entry.outcome, "" if entry.error is None else entry.error.code).inc()
        now = trio.current_time()
        if entry.outcome == "cancelled" and entry.receipt.cancel_latency_ms is not None:
            self._cancels.observe(entry.receipt.cancel_latency_ms / 1000)
        if entry.outcome == "done" and now > course.told_at:
            self._eta_errors.observe(abs(course.ends_p50 - now) / (now - course.told_at))
            self._etas.inc()
            if now > course.ends_p90:
                self._late.inc()

    def _counter(self, name: str, what: str, *labels: str) -> prometheus_client.Counter:
        return prometheus_client.Counter(f"hatchery_{name}", what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: Sequence[float]) -> prometheus_client.Histogram:
        return prometheus_client.Histogram(f"hatchery_{name}", what, registry=self.registry, buckets=buckets)


class _Gauges(Collector):
    """What is looked up when somebody asks."""

    def __init__(self, courses: dict[str, _Course], hub: Hub, workshop: Workshop) -> None:
        self._courses = courses
        self._hub = hub
        self._slots = {"llm": workshop.llm_slots, "render": workshop.render_slots}

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing: registering is no reason to look."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All gauges as they are now."""
        yield from self._sessions()
        yield from self._queues()
        yield _gauge("connections", "Open WebSockets", {(): len(self._hub.clients)})
        owed = [watcher.outbox.bytes for watcher in self._hub.clients]
        yield _gauge("outbox_bytes", "Bytes that wait for all clients", {(): sum(owed)})
        yield _gauge("outbox_max_bytes", "Bytes that wait for the client that lags most", {(): max(owed, default=0)})

    def _sessions(self) -> Iterator[GaugeMetricFamily]:
        tally = Tally(course.state for course in self._courses.values())
        yield _gauge("sessions", "Running hatches", {(state,): tally[state] for state in RUNNING}, "state")

    def _queues(self) -> Iterator[GaugeMetricFamily]:
        now = trio.current_time()
        ages: _Values = {
            (slots,): max((now - c.since for c in self._courses.values() if c.state == state), default=0.0)
            for slots, state in (("llm", "queued"), ("render", "waiting"))
        }
        yield _gauge("queue_age_seconds", "How long the first in line has waited", ages, "slots")
        waiting: _Values = {(name,): slots.waiting for name, slots in self._slots.items()}
        yield _gauge("queue_length", "Hatches that wait for a slot", waiting, "slots")
        uses: _Values = {
            (name, use): number
            for name, slots in self._slots.items()
            for use, number in (
                ("held", slots.held),
                ("quarantined", slots.quarantined),
                ("free", slots.capacity - slots.held - slots.quarantined),
            )
        }
        yield _gauge("slots", "Slots by use", uses, "slots", "use")


def _gauge(name: str, what: str, values: _Values, *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"hatchery_{name}", what, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
