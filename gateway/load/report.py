"""What a run has shown: one frozen Struct, from which the table, the JSON file and the page are made."""

import math
import os
import platform
import sys
from typing import Final

import msgspec

from gateway.load.distribution import Distribution, Quantiles
from gateway.load.invariants import Violation
from gateway.load.measures import LATENCIES, Measures, Sample
from gateway.load.observer import Observer, Reading
from gateway.load.profile import Profile

BUSY_SHARE: Final = 0.9  # of a core, above which the tool itself is the bottleneck
LATE_MS: Final = 50.0  # p99 of its own lag, likewise


class Latency(msgspec.Struct, frozen=True):
    """How long something took: what it is from and to, and its quantiles."""

    name: str
    meaning: str
    quantiles: Quantiles


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """What the swarm received, in all and per second of the run; bytes are of payload."""

    messages: int
    frames: int
    bytes: int
    messages_per_s: float
    frames_per_s: float
    bytes_per_s: float
    by_type: dict[str, int]


class ServerUse(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway's process took, as seen from outside; None for what could not be seen.

    Shares are of one core: what it had, and what it wanted but others had (`starved`). `cpu_us_per_message` counts
    messages that the swarm received; memory is resident, per connection before there were hatches, per hatch from then
    to the peak.
    """

    cpu_share: float | None = None
    starved_share: float | None = None
    cpu_us_per_message: float | None = None
    cpu_ms_per_session: float | None = None
    idle_mib: float | None = None
    peak_mib: float | None = None
    kib_per_connection: float | None = None
    kib_per_session: float | None = None
    loop_lag_p50_ms: float | None = None
    loop_lag_p99_ms: float | None = None
    loop_lag_mean_ms: float | None = None
    drops: dict[str, int] | None = None


class ToolUse(msgspec.Struct, frozen=True, kw_only=True):
    """What the tool itself took, and whether that was too much for its figures to be trusted."""

    cpu_share: float | None
    starved_share: float | None
    lag: Quantiles
    bottleneck: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    version: str
    url: str
    own_gateway: bool
    server: str
    engines: str
    machine: str
    profile_name: str
    profile: Profile
    seconds: float
    sessions: dict[str, int]
    most_at_a_time: int
    refusals: dict[str, int]
    connections: dict[str, int]
    closes: dict[str, int]
    audited: int
    latencies: list[Latency]
    throughput: Throughput
    gateway: ServerUse
    tool: ToolUse
    broken: dict[str, int]
    violations: list[Violation]
    samples: list[Sample]

    @property
    def verdict(self) -> str:
        """The result in a line."""
        if not self.broken:
            return f"all invariants held; {self.audited} sessions were audited"
        return "broken: " + ", ".join(f"{name} ({count})" for name, count in sorted(self.broken.items()))


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway before anybody was connected, when all were, and when the last hatch had ended."""

    idle: Reading
    connected: Reading
    over: Reading


def server_use(readings: Readings, peak_rss: int, measures: Measures, connections: int) -> ServerUse:
    """From readings to what the gateway took."""
    idle, connected, over = readings.idle, readings.connected, readings.over
    use = ServerUse()
    if connected.exposition is not None and over.exposition is not None:
        since = over.exposition.since(connected.exposition)
        use = msgspec.structs.replace(
            use,
            loop_lag_p50_ms=_bounded_ms(since.lag_within_s(0.5)),
            loop_lag_p99_ms=_bounded_ms(since.lag_within_s(0.99)),
            loop_lag_mean_ms=round(1000 * since.lag_sum_s / since.looks, 3) if since.looks else None,
            drops={kind: round(count) for kind, count in since.drops.items()},
        )
    if idle.server is None or connected.server is None or over.server is None:
        return use
    cpu_s = over.server.cpu_s - connected.server.cpu_s
    return msgspec.structs.replace(
        use,
        cpu_share=round(cpu_s / (over.at - connected.at), 3),
        starved_share=round((over.server.starved_s - connected.server.starved_s) / (over.at - connected.at), 3),
        cpu_us_per_message=round(1e6 * cpu_s / max(measures.messages.total(), 1), 1),
        cpu_ms_per_session=round(1e3 * cpu_s / max(measures.sessions["started"], 1), 2),
        idle_mib=round(idle.server.rss_bytes / 2**20, 1),
        peak_mib=round(peak_rss / 2**20, 1),
        kib_per_connection=round((connected.server.rss_bytes - idle.server.rss_bytes) / 2**10 / connections, 1),
        kib_per_session=round((peak_rss - connected.server.rss_bytes) / 2**10 / max(measures.running_at_most, 1), 1),
    )


def tool_use(readings: Readings, lag: Distribution) -> ToolUse:
    """From readings to what the tool took."""
    before, after = readings.connected, readings.over
    share = starved = None
    if before.tool is not None and after.tool is not None:
        share = round((after.tool.cpu_s - before.tool.cpu_s) / (after.at - before.at), 3)
        starved = round((after.tool.starved_s - before.tool.starved_s) / (after.at - before.at), 3)
    quantiles = lag.quantiles()
    bottleneck = quantiles.p99_ms > LATE_MS or (share or 0.0) > BUSY_SHARE
    return ToolUse(cpu_share=share, starved_share=starved, lag=quantiles, bottleneck=bottleneck)


def throughput(measures: Measures, seconds: float) -> Throughput:
    """What was received in so many seconds."""
    messages = measures.messages.total()
    return Throughput(
        messages=messages,
        frames=measures.frames,
        bytes=measures.bytes,
        messages_per_s=round(messages / seconds, 1),
        frames_per_s=round(measures.frames / seconds, 1),
        bytes_per_s=round(measures.bytes / seconds, 1),
        by_type={str(kind.__struct_config__.tag): count for kind, count in measures.messages.most_common()},
    )


def latencies(measures: Measures) -> list[Latency]:
    """Those of which there is at least one."""
    return [
        Latency(name, meaning, measures.times[name].quantiles())
        for name, meaning in LATENCIES.items()
        if measures.times[name].count
    ]


def make_report(
    *,
    version: str,
    url: str,
    own_gateway: bool,
    server: str,
    engines: str,
    profile_name: str,
    profile: Profile,
    measures: Measures,
    observer: Observer,
    readings: Readings,
) -> Report:
    """The report of a run that is over."""
    seconds = readings.over.at - readings.connected.at
    return Report(
        version=version,
        url=url,
        own_gateway=own_gateway,
        server=server,
        engines=engines,
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
        profile_name=profile_name,
        profile=profile,
        seconds=round(seconds, 2),
        sessions=dict(measures.sessions),
        most_at_a_time=measures.running_at_most,
        refusals=dict(measures.refusals),
        connections=dict(measures.connections),
        closes=dict(measures.closes),
        audited=measures.audited,
        latencies=latencies(measures),
        throughput=throughput(measures, seconds),
        gateway=server_use(readings, observer.peak_rss, measures, profile.connections),
        tool=tool_use(readings, observer.tool_lag),
        broken=dict(measures.broken),
        violations=measures.violations,
        samples=observer.samples,
    )


def _bounded_ms(seconds: float) -> float | None:
    """A histogram's bound; None for the one that is none."""
    return None if math.isinf(seconds) else 1000 * seconds
