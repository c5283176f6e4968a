"""A report as one HTML page: what was tested, plots over time, latencies, and what was broken. Nothing is loaded."""

from collections.abc import Callable
from html import escape
from typing import Final

import msgspec

from gateway.load.measures import Sample
from gateway.load.plots import Curve, plot
from gateway.load.report import Report
from gateway.load.table import facts_of

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2330; --paper: #fbfaf7; --dim: #6b7280; --line: #e2e0d9; --card: #fff;
  --good: #15803d; --bad: #b91c1c; --a: #0e7490; --b: #c2410c; --c: #7c3aed; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e3; --paper: #14161a; --dim: #9aa1ad; --line: #2c3038;
  --card: #1b1e24; --good: #4ade80; --bad: #f87171; --a: #22d3ee; --b: #fb923c; --c: #a78bfa; } }
body { margin: 0 auto; padding: 2rem 1rem; max-width: 84rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.5rem; } h2 { margin: 2rem 0 .5rem; font-size: 1.1rem; }
.dim, dt, th { color: var(--dim); font-weight: 400; }
.verdict { margin: 1rem 0; padding: .6rem 1rem; border-radius: .5rem; border: 1px solid; font-weight: 600; }
.good { color: var(--good); } .bad { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.5rem; margin: 0; } dd { margin: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, th.words, td.words { text-align: left; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(34rem, 1fr)); gap: 1rem; }
svg { width: 100%; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
svg path { fill: none; stroke-width: 1.8; stroke-linejoin: round; } svg .grid { stroke: var(--line); }
svg text { fill: var(--ink); font: 600 13px system-ui, sans-serif; }
svg .tick { fill: var(--dim); font: 11px system-ui, sans-serif; }
pre { overflow-x: auto; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
@media (max-width: 40rem) { .plots { grid-template-columns: 1fr; } }
"""

_Pick = Callable[[Sample], float | None]


def report_page(report: Report) -> str:
    """The whole page."""
    verdict = "bad" if report.broken else "good"
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts_of(report))
    profile = msgspec.json.format(msgspec.json.encode(report.profile), indent=2).decode()
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>hatchery load: {escape(report.profile_name)}</title><style>{_STYLE}</style></head><body>
<h1>hatchery load <span class="dim">{escape(report.profile_name)}</span></h1>
<p class="dim">{escape(report.profile.about)}</p>
<p class="verdict {verdict}">{escape(report.verdict)}</p>
<dl>{facts}</dl>
<h2>Over time</h2><div class="plots">{"".join(_plots(report.samples))}</div>
<h2>Times</h2>{_latencies(report)}
<p class="dim">Of connections that read at once and never leave; percentiles are at most two percent too high.</p>
{_violations(report)}
<h2>Profile</h2><pre>{escape(profile)}</pre>
</body></html>
"""


def _plots(samples: list[Sample]) -> list[str]:
    times_s = [sample.at_s for sample in samples]

    def drawn(title: str, unit: str, *curves: tuple[str, str, _Pick]) -> str:
        lines = [Curve(name, f"var(--{colour})", [pick(s) for s in samples]) for name, colour, pick in curves]
        seen = [line for line in lines if any(value is not None for value in line.values)]
        return plot(title, unit, times_s, seen) if seen else ""

    return [
        drawn("Hatches that run", "", ("hatches", "a", lambda s: s.running)),
        drawn("Received a second", "", ("messages", "a", lambda s: s.messages), ("frames", "b", lambda s: s.frames)),
        drawn(
            "Age, p99 of each second",
            "ms",
            ("text", "a", lambda s: s.text_age_ms),
            ("round trip", "b", lambda s: s.round_trip_ms),
        ),
        drawn(
            "Lag of event loops",
            "ms",
            ("gateway, mean", "a", lambda s: s.loop_lag_ms),
            ("tool, worst", "b", lambda s: s.tool_lag_ms),
        ),
        drawn(
            "Processor, of one core",
            "%",
            ("gateway", "a", lambda s: _percent(s.server_share)),
            ("tool", "b", lambda s: _percent(s.tool_share)),
        ),
        drawn("Memory of the gateway", "MiB", ("resident", "a", lambda s: s.server_mib)),
    ]


def _latencies(report: Report) -> str:
    rows = []
    for latency in report.latencies:
        q = latency.quantiles
        cells = "".join(f"<td>{value:,.1f}</td>" for value in (q.p50_ms, q.p90_ms, q.p99_ms, q.max_ms))
        words = f'<td class="words dim">{escape(latency.meaning)}</td>'
        rows.append(f"<tr><td>{escape(latency.name)}</td><td>{q.count:,}</td>{cells}{words}</tr>")
    head = "".join(f"<th>{name}</th>" for name in ("ms", "count", "p50", "p90", "p99", "max"))
    return f'<table><tr>{head}<th class="words">from, to</th></tr>{"".join(rows)}</table>'


def _violations(report: Report) -> str:
    if not report.violations:
        return ""
    rows = "".join(
        f'<tr><td>{escape(v.invariant)}</td><td class="words">{escape(v.session)}</td>'
        f'<td class="words">{escape(v.detail)}</td></tr>'
        for v in sorted(report.violations, key=lambda v: v.invariant)
    )
    return f'<h2 class="bad">Broken, the first of each kind</h2><table>{rows}</table>'


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
