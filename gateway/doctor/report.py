"""How the doctor's findings look: tables on a terminal, plain lines in a pipe, JSON for programs.

What comes from outside, such as a server's model names, may hold anything; none of it reaches a terminal as a command.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import Any, Final, Protocol, TextIO, TypeVar

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.display import harmless
from gateway.doctor.choices import Choice
from gateway.doctor.finding import Finding
from gateway.doctor.probe import Sight

_MARKS: Final = {"ok": ("✓", "green"), "notice": ("!", "yellow"), "problem": ("✗", "bold red")}
_STATES: Final = {"ready": "green", "to download": "yellow", "not installed": "dim", "example": "cyan"}

S = TypeVar("S", Finding, Sight, Choice)


class Report(Protocol):
    """Shows what was found, part by part."""

    def findings(self, findings: Sequence[Finding]) -> None:
        """What the doctor says."""

    def sights(self, sights: Sequence[Sight]) -> None:
        """What each reader of the probe saw."""

    def choices(self, choices: Sequence[Choice]) -> None:
        """What can be configured."""

    def waiting(self, words: str) -> AbstractContextManager[Any]:
        """Something that takes a while goes on."""


def open_report(out: TextIO, *, as_json: bool) -> Report:
    """The report that fits `out`."""
    if as_json:
        return JsonReport(out)
    return TableReport(Console(file=out)) if out.isatty() else PlainReport(out)


class JsonReport:
    """One object a line; `type` is `finding`, `sight` or `choice`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def findings(self, findings: Sequence[Finding]) -> None:
        """See Report."""
        self._write(findings)

    def sights(self, sights: Sequence[Sight]) -> None:
        """See Report."""
        self._write(sights)

    def choices(self, choices: Sequence[Choice]) -> None:
        """See Report."""
        self._write(choices)

    def waiting(self, _: str) -> AbstractContextManager[Any]:
        """See Report."""
        return nullcontext()

    def _write(self, things: Iterable[S]) -> None:
        for thing in things:
            self._out.write(msgspec.json.encode(_clean(thing)).decode() + "\n")
        self._out.flush()


class PlainReport:
    """Lines for logs and pipes; a remedy stands below its finding."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def findings(self, findings: Sequence[Finding]) -> None:
        """See Report."""
        for finding in map(_clean, findings):
            self._say(f"{finding.status:<8} {finding.subject}: {finding.found}")
            if finding.remedy:
                self._say(f"{'':<8} -> {finding.remedy}")

    def sights(self, sights: Sequence[Sight]) -> None:
        """See Report."""
        for sight in map(_clean, sights):
            byte, progress = _seconds(sight.first_byte_s), _seconds(sight.first_progress_s)
            times = f"first byte {byte}, first step {progress}, end {_seconds(sight.end_s)}"
            self._say(f"{sight.reader}: {times}; saw {_saw(sight)}")

    def choices(self, choices: Sequence[Choice]) -> None:
        """See Report."""
        for choice in map(_clean, choices):
            self._say(f"{choice.flag}  ({choice.state}: {choice.about})")

    def waiting(self, words: str) -> AbstractContextManager[Any]:
        """See Report."""
        self._say(f"{words} …")
        return nullcontext()

    def _say(self, line: str) -> None:
        self._out.write(line.replace("\n", "\n" + " " * 9) + "\n")
        self._out.flush()


class TableReport:
    """Tables for a person at a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def findings(self, findings: Sequence[Finding]) -> None:
        """See Report."""
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, min_width=len("LLM servers"))
        table.add_column(overflow="fold")
        for finding in map(_clean, findings):
            mark, style = _MARKS[finding.status]
            words = Text(finding.found)
            if finding.remedy:
                words.append(f"\n→ {finding.remedy}", style="bold")
            table.add_row(Text(mark, style=style), Text(finding.subject, style="dim"), words)
        self._console.print(table)

    def sights(self, sights: Sequence[Sight]) -> None:
        """See Report."""
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), caption="seconds since the start", caption_justify="left")
        table.add_column("read", no_wrap=True)
        for name in ("first byte", "first step", "end"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("saw", overflow="fold")
        for sight in map(_clean, sights):
            times = (_seconds(at) for at in (sight.first_byte_s, sight.first_progress_s, sight.end_s))
            style = "" if sight.first_progress_s is not None else "dim"
            table.add_row(Text(sight.reader), *times, Text(_saw(sight)), style=style)
        self._console.print(table)

    def choices(self, choices: Sequence[Choice]) -> None:
        """See Report."""
        for option, group in groupby(map(_clean, choices), key=lambda choice: choice.option):
            table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
            table.add_column(f"hatchery serve {option} …", overflow="fold")
            table.add_column(no_wrap=True)
            for choice in group:
                value = Text(choice.flag).append(f"\n  {choice.about}", style="dim")
                table.add_row(value, Text(choice.state, style=_STATES[choice.state]))
            self._console.print(table)

    def waiting(self, words: str) -> AbstractContextManager[Any]:
        """See Report."""
        return self._console.status(words)


def _clean(thing: S) -> S:
    """The same without what a terminal would obey."""
    fields: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(thing).items():
        match value:
            case str():
                fields[name] = harmless(value)
            case tuple():
                fields[name] = tuple(map(harmless, value))
    return msgspec.structs.replace(thing, **fields)


def _seconds(at_s: float | None) -> str:
    return "never" if at_s is None else f"{at_s:.2f}"


def _saw(sight: Sight) -> str:
    lines = f"{sight.lines} line{'' if sight.lines == 1 else 's'}"
    if not sight.bars:
        return f"no bar, {lines}"
    return ", ".join(sight.bars) + (f", {lines}" if sight.lines else "")
