"""The report: numbers from readings, a table, a page that loads nothing, plots that stay in their frame."""

import re
from io import StringIO
from typing import Final
from xml.etree import ElementTree

import msgspec
import pytest
from rich.console import Console

from gateway.load.distribution import Distribution, Quantiles
from gateway.load.invariants import Violation
from gateway.load.measures import KEPT_VIOLATIONS, LATENCIES, Measures, Sample
from gateway.load.observer import Reading
from gateway.load.page import report_page
from gateway.load.plots import HEIGHT, WIDTH, Curve, plot
from gateway.load.profile import Profile
from gateway.load.report import Latency, Readings, Report, ServerUse, latencies, server_use, throughput, tool_use
from gateway.load.table import live_table, report_table
from gateway.load.usage import Exposition, Usage
from protocol.events import Pong, Welcome

MIB: Final = 2**20


def reading(at: float, cpu_s: float, mib: float, looks: float) -> Reading:
    usage = Usage(cpu_s=cpu_s, rss_bytes=round(mib * MIB), starved_s=cpu_s / 10)
    lags = {0.001: looks, 0.1: looks, float("inf"): looks}
    exposition = Exposition({"progress": looks}, lags, looks / 1000)
    return Reading(at=at, server=usage, tool=usage, exposition=exposition)


READINGS: Final = Readings(idle=reading(0, 1, 50, 0), connected=reading(2, 2, 60, 10), over=reading(12, 7, 70, 60))


def measures() -> Measures:
    made = Measures()
    made.messages[Pong], made.messages[Welcome] = 900, 100
    made.frames, made.bytes = 50, 10_000
    for _ in range(40):
        made.began()
    for outcome, count in (("done", 30), ("cancelled", 10)):
        for _ in range(count):
            made.ended(outcome)
    return made


def test_what_the_gateway_took_is_per_message_hatch_and_connection() -> None:
    use = server_use(READINGS, 100 * MIB, measures(), connections=10)
    assert (use.cpu_share, use.starved_share) == (0.5, 0.05)
    assert (use.cpu_us_per_message, use.cpu_ms_per_session) == (5000.0, 125.0)
    assert (use.idle_mib, use.peak_mib) == (50.0, 100.0)
    assert (use.kib_per_connection, use.kib_per_session) == (1024.0, 1024.0)
    assert (use.loop_lag_p99_ms, use.loop_lag_mean_ms, use.drops) == (1.0, 1.0, {"progress": 50})


def test_what_cannot_be_seen_is_not_made_up() -> None:
    blind = [
        msgspec.structs.replace(one, server=None, tool=None, exposition=None)
        for one in (READINGS.idle, READINGS.connected, READINGS.over)
    ]
    readings = Readings(idle=blind[0], connected=blind[1], over=blind[2])
    assert server_use(readings, 0, Measures(), connections=1) == ServerUse()
    assert tool_use(readings, Distribution()).cpu_share is None


@pytest.mark.parametrize(("lag_s", "cpu_s", "bottleneck"), [(0.001, 7, False), (0.2, 7, True), (0.001, 11.5, True)])
def test_a_tool_that_is_late_or_busy_says_that_it_was_the_bottleneck(
    lag_s: float, cpu_s: float, bottleneck: bool
) -> None:
    lag = Distribution()
    lag.add(lag_s)
    readings = msgspec.structs.replace(READINGS, over=reading(12, cpu_s, 70, 60))
    assert tool_use(readings, lag).bottleneck is bottleneck


def test_throughput_is_per_second() -> None:
    flow = throughput(measures(), 10.0)
    assert (flow.messages_per_s, flow.frames_per_s, flow.bytes_per_s) == (100.0, 5.0, 1000.0)
    assert flow.by_type == {"pong": 900, "welcome": 100}


def test_violations_are_all_counted_and_a_few_of_each_kind_are_kept() -> None:
    counted = Measures()
    for number in range(1000):
        counted.violate(Violation("seq" if number % 2 else "percent", f"s{number}", ""))
    assert counted.broken == {"seq": 500, "percent": 500}
    assert len(counted.violations) == 2 * KEPT_VIOLATIONS


def report(*, broken: bool = False) -> Report:
    counted = measures()
    counted.time("accept", 0.0015)
    if broken:
        counted.violate(Violation("seq", "<s1>", "state has 7, after 5"))
    samples = [
        Sample(at_s=float(s), running=s, messages=10.0 * s, frames=s, bytes=s, loop_lag_ms=None if s == 3 else 1.0)
        for s in range(1, 8)
    ]
    return Report(
        version="0",
        url="http://127.0.0.1:1",
        own_gateway=True,
        server="hatchery/0",
        engines="writer sim, painter sim",
        machine="a machine",
        profile_name="smoke",
        profile=Profile(about="<b>bold</b>"),
        seconds=10.0,
        sessions=dict(counted.sessions),
        most_at_a_time=40,
        refusals={},
        connections={"made": 10},
        closes={},
        audited=40,
        latencies=latencies(counted),
        throughput=throughput(counted, 10.0),
        gateway=server_use(READINGS, 100 * MIB, counted, 10),
        tool=tool_use(READINGS, Distribution()),
        broken=dict(counted.broken),
        violations=counted.violations,
        samples=samples,
    )


def printed(renderable: object) -> str:
    out = StringIO()
    Console(file=out, width=160, color_system=None).print(renderable)
    return out.getvalue()


def test_the_table_says_it_all() -> None:
    text = printed(report_table(report()))
    assert "all invariants held; 40 sessions were audited" in text
    assert re.search(r"accept +1 +1\.5 ms", text)
    assert "40 started, 30 done, 10 cancelled; at most 40 at a time" in text
    assert "50% of a core (and 5% more, had other processes not taken it); 5000.0 µs a message" in text
    assert "seq: state has 7, after 5 <s1>" in printed(report_table(report(broken=True)))


def test_the_live_table_shows_what_there_is_before_the_first_sample_and_after() -> None:
    profile, counted = Profile(), measures()
    assert "0 of 20" in printed(live_table("smoke", profile, "connecting", counted, []))
    counted.violate(Violation("seq", "s", ""))
    text = printed(live_table("smoke", profile, "running", counted, report().samples))
    assert "▁▂▃▅▆▇█" in text
    assert "broken: 1 seq" in text


def test_a_report_is_json_and_back() -> None:
    whole = report(broken=True)
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Report) == whole


def test_the_page_loads_nothing_and_escapes_everything() -> None:
    page = report_page(report(broken=True))
    assert "&lt;b&gt;bold" in page
    assert "&lt;s1&gt;" in page
    assert "<b>bold" not in page
    assert not re.search(r"""(src|href)\s*=|url\(|@import|<script|<link""", page)
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)


def test_a_curve_stays_in_its_frame_and_breaks_where_it_has_no_value() -> None:
    svg = plot("Lag", "ms", [1.0, 2.0, 3.0, 4.0], [Curve("worst", "red", [0.0, 7.5, None, 3.0])])
    path = re.search(r'<path d="([^"]*)"', svg)
    assert path is not None
    points = [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path[1])]
    assert [step[0] for step in path[1].split() if step[0] in "ML"] == ["M", "L", "M"]
    assert len(points) == 3
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert points[0][1] > points[2][1] > points[1][1]  # more is higher up
    assert "8 ms" in svg


def test_every_latency_has_its_words() -> None:
    assert all(LATENCIES.values())
    counted = Measures()
    counted.time("end", 1.0)
    assert latencies(counted) == [Latency("end", LATENCIES["end"], Quantiles(1, 1000.0, 1000.0, 1000.0, 1000.0))]
