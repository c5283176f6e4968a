"""How a run looks on a terminal: a live table while it goes on, and the whole report at the end."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gateway.load.distribution import Quantiles
from gateway.load.measures import LATENCIES, Measures, Sample
from gateway.load.profile import Profile
from gateway.load.report import Report

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 40  # samples in a sparkline


def live_table(profile_name: str, profile: Profile, phase: str, measures: Measures, samples: list[Sample]) -> Panel:
    """The run as it is now."""
    now = samples[-1] if samples else None
    head = Table.grid(padding=(0, 2))
    head.add_column(style="dim")
    head.add_column(justify="right")
    head.add_column()
    running = f"{measures.running:,} of {profile.places:,}"
    head.add_row("hatches", running, _spark([sample.running for sample in samples]))
    if now is not None:
        head.add_row("messages/s", f"{now.messages:,.0f}", _spark([sample.messages for sample in samples]))
        if now.text_age_ms is not None:
            head.add_row("text age p99", _ms(now.text_age_ms), _spark([s.text_age_ms or 0 for s in samples]))
        if now.server_share is not None:
            head.add_row("gateway's core", f"{now.server_share:.0%}", _spark([s.server_share or 0 for s in samples]))
        if now.server_mib is not None:
            head.add_row("gateway's memory", f"{now.server_mib:,.0f} MiB", _spark([s.server_mib or 0 for s in samples]))
        if now.tool_share is not None:
            head.add_row("tool's core", f"{now.tool_share:.0%}", _spark([s.tool_share or 0 for s in samples]))
    times = {name: measures.times[name].quantiles() for name in LATENCIES if measures.times[name].count}
    title = f"[bold]hatchery load[/] · {profile_name} · {phase}"
    parts: list[RenderableType] = [head, Text(_counts(measures.sessions)), _latency_table(times, meanings=False)]
    return Panel(Group(*parts, _broken(measures.broken)), title=title, border_style="cyan", expand=False)


def report_table(report: Report) -> RenderableType:
    """The whole report."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column()
    for name, value in facts_of(report):
        facts.add_row(name, value)
    times = {latency.name: latency.quantiles for latency in report.latencies}
    title = f"[bold]hatchery load[/] · {report.profile_name}"
    verdict = Text(report.verdict, style="bold green" if not report.broken else "bold red")
    first = {violation.invariant: violation for violation in reversed(report.violations)}
    quoted = [
        Text(f"{name}: {first[name].detail} {first[name].session}".rstrip(), style="red") for name in sorted(first)
    ]
    parts: list[RenderableType] = [facts, _latency_table(times, meanings=True), verdict, *quoted]
    colour = "green" if not report.broken else "red"
    return Panel(Group(*parts), title=title, border_style=colour, expand=False)


def facts_of(report: Report) -> list[tuple[str, str]]:
    """The report in words and numbers, but for the latencies."""
    flow, server, tool = report.throughput, report.gateway, report.tool
    facts = [
        ("gateway", f"{report.server} at {report.url}, {report.engines}"),
        ("machine", report.machine),
        ("time", f"{report.seconds:.1f} s"),
        ("hatches", f"{_counts(report.sessions)}; at most {report.most_at_a_time:,} at a time"),
        ("connections", _counts(report.connections)),
        ("received", f"{flow.messages:,} messages in {flow.frames:,} frames, {flow.bytes / 1e6:,.1f} MB"),
        (
            "a second",
            f"{flow.messages_per_s:,.0f} messages, {flow.frames_per_s:,.0f} frames, {flow.bytes_per_s / 1e6:.2f} MB",
        ),
    ]
    if report.refusals:
        facts.append(("refusals", _counts(report.refusals)))
    if report.closes:
        facts.append(("closed by it", _counts(report.closes)))
    if server.drops is not None:
        facts.append(("slow clients lost", _counts(server.drops) or "nothing"))
    if server.loop_lag_mean_ms is not None:
        p99 = "beyond all buckets" if server.loop_lag_p99_ms is None else f"at most {server.loop_lag_p99_ms:g} ms"
        facts.append(("gateway's loop lag", f"p99 {p99}, mean {server.loop_lag_mean_ms:.2f} ms"))
    if server.cpu_share is not None:
        cost = f"{server.cpu_us_per_message} µs a message, {server.cpu_ms_per_session} ms a hatch"
        facts.append(
            ("gateway's processor", f"{server.cpu_share:.0%} of a core{_starved(server.starved_share)}; {cost}")
        )
    if server.peak_mib is not None:
        each = f"{server.kib_per_connection} KiB a connection, {server.kib_per_session} KiB a hatch"
        facts.append(("gateway's memory", f"{server.idle_mib} MiB idle, {server.peak_mib} MiB at most; {each}"))
    share = "" if tool.cpu_share is None else f"{tool.cpu_share:.0%} of a core{_starved(tool.starved_share)}, "
    warning = "; IT WAS THE BOTTLENECK: the times are its own" if tool.bottleneck else ""
    facts.append(("this tool", f"{share}its own lag p99 {_ms(tool.lag.p99_ms)}{warning}"))
    return facts


def _starved(share: float | None) -> str:
    """What other processes had of the core, if it is worth a word."""
    return "" if share is None or share < 0.02 else f" (and {share:.0%} more, had other processes not taken it)"


def _latency_table(times: Mapping[str, Quantiles], *, meanings: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for name in ("count", "p50", "p90", "p99", "max"):
        table.add_column(name, justify="right")
    if meanings:
        table.add_column("", style="dim")
    for name, times_of in times.items():
        cells = [_ms(t) for t in (times_of.p50_ms, times_of.p90_ms, times_of.p99_ms, times_of.max_ms)]
        table.add_row(name, f"{times_of.count:,}", *cells, *([LATENCIES[name]] if meanings else []))
    return table


def _broken(broken: Mapping[str, int]) -> Text:
    if not broken:
        return Text("no invariant is broken", style="green")
    return Text(f"broken: {_counts(broken)}", style="bold red")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.1f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.2f} s"


def _spark(values: list[float] | list[int]) -> Text:
    latest = values[-_WIDTH:]
    top = max(latest, default=0) or 1
    return Text("".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in latest), style="cyan")
