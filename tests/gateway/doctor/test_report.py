"""What people and programs read, and that nothing in it is obeyed by a terminal."""

import io
import json

import msgspec
import pytest
from rich.console import Console

from gateway.doctor.choices import Choice
from gateway.doctor.finding import Finding, notice, ok, problem
from gateway.doctor.probe import Sight
from gateway.doctor.report import JsonReport, PlainReport, Report, TableReport, open_report

EVIL = "\x1b]0;owned\x07\x9b31m\x1b[2J\udc80"
FINDINGS = [ok("disk", "plenty"), notice("writer", "demo", "--llm URL"), problem("port", "taken", "--port 0")]
SIGHTS = [Sight("terminal", 0.1, 0.25, 1.0, ("0/2", "1/2"), 1), Sight("stdout", None, None, 1.0, (), 0)]
CHOICES = [
    Choice("--llm", "demo", "ready", "a toy"),
    Choice("--image", "mflux-generate --steps 4", "to download", "somebody/model"),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(report: Report) -> None:
    report.findings(FINDINGS)
    with report.waiting("Drawing"):
        report.sights(SIGHTS)
    report.choices(CHOICES)


def table_report(out: io.StringIO) -> TableReport:
    return TableReport(Console(file=out, width=80, force_terminal=True, color_system=None))


def reports(out: io.StringIO) -> list[Report]:
    return [JsonReport(out), PlainReport(out), table_report(out)]


def test_the_report_fits_where_it_goes() -> None:
    assert isinstance(open_report(Terminal(), as_json=True), JsonReport)
    assert isinstance(open_report(Terminal(), as_json=False), TableReport)
    assert isinstance(open_report(io.StringIO(), as_json=False), PlainReport)


def test_json_is_one_whole_object_a_line() -> None:
    out = io.StringIO()
    show(JsonReport(out))
    lines = out.getvalue().splitlines()
    decoder = msgspec.json.Decoder(Finding | Sight | Choice)
    assert [decoder.decode(line) for line in lines] == [*FINDINGS, *SIGHTS, *CHOICES]
    assert [json.loads(line)["type"] for line in lines] == [*["finding"] * 3, *["sight"] * 2, *["choice"] * 2]


def test_plain_lines() -> None:
    out = io.StringIO()
    show(PlainReport(out))
    assert out.getvalue().splitlines() == [
        "ok       disk: plenty",
        "notice   writer: demo",
        "         -> --llm URL",
        "problem  port: taken",
        "         -> --port 0",
        "Drawing …",
        "terminal: first byte 0.10, first step 0.25, end 1.00; saw 0/2, 1/2, 1 line",
        "stdout: first byte never, first step never, end 1.00; saw no bar, 0 lines",
        "--llm demo  (ready: a toy)",
        "--image 'mflux-generate --steps 4'  (to download: somebody/model)",
    ]


def test_tables_hold_it_all_within_80_columns() -> None:
    out = io.StringIO()
    report = table_report(out)
    report.findings([*FINDINGS, notice("models", "m" * 100, "r" * 100)])
    report.sights(SIGHTS)
    report.choices([*CHOICES, Choice("--image", "x" * 100, "ready", "y" * 100)])
    text = out.getvalue()
    for words in ("✗ port", "→ --port 0", "0.25", "never", "no bar", "--image 'mflux-generate --steps 4'", "somebody"):
        assert words in text
    assert (text.count("m" * 60), text.count("r" * 60)) == (1, 1)
    assert sum(line.count("x") for line in text.splitlines()) >= 100, "values to paste are whole"
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("kind", range(3))
def test_nothing_from_outside_commands_a_terminal(kind: int) -> None:
    out = io.StringIO()
    report = reports(out)[kind]
    report.findings([problem(EVIL, EVIL, EVIL + "[red]bold[/red]")])
    report.sights([Sight(EVIL, 0.1, 0.2, 0.3, (EVIL,), 0)])
    report.choices([Choice("--llm", EVIL, "ready", EVIL)])
    text = out.getvalue()
    text.encode()
    assert not [c for c in text if c != "\n" and (c < " " or "\x7f" <= c <= "\x9f")]
    assert "[red]bold[/red]" in text.replace("\n", ""), "no markup either"
